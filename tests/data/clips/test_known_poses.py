"""What is told as known changes with nothing after t0: for each source, with poses at any offset and rate."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest

from latentdrive.data.batches.scene_cutting import SceneSpec, cut_scene
from latentdrive.data.clips.comma2k19 import Comma2k19
from latentdrive.data.clips.kitti import KittiOdometry
from latentdrive.data.clips.sidecars import Track
from latentdrive.data.navsim.clip_source import NavsimClips
from latentdrive.types import DrivingClip, EgoHistory, Scene
from latentdrive.world.clips.files import video_bytes
from tests.support.comma import film, save, write_segment
from tests.support.data import folder, passing, reading, write_poses, write_video
from tests.support.navsim_fixture import token, write_openscene

JUMP_M = 10.0  # by which everything after t0 is moved
COLUMNS = "time_s,x_m,y_m,heading_rad,speed_mps"


def spec(rate_hz: float) -> SceneSpec:
    return SceneSpec(history_frames=1, history_step_s=1 / rate_hz, ego_frames=3, ego_hz=rate_hz)


def told(clip: DrivingClip, now: int, rate_hz: float) -> Scene:
    return cut_scene(clip, int(now), spec(rate_hz), rate_hz=rate_hz)


def assert_same(before: Scene, after: Scene, where: str) -> None:
    for field in fields(EgoHistory):
        np.testing.assert_array_equal(getattr(before.ego, field.name), getattr(after.ego, field.name), err_msg=where)
    for one, other in zip(before.cameras["front"], after.cameras["front"], strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels, err_msg=where)


def s_curve(times: np.ndarray) -> np.ndarray:
    """Poses that speed up and turn both ways."""
    return np.stack([8 * times + times**2 / 2, 2 * np.sin(times), np.arctan2(2 * np.cos(times), 8 + times)], -1)


def write_track(path: Path, times: np.ndarray, after_s: float = np.inf) -> None:
    """Poses on the s-curve; those after `after_s` are moved, turned and have another speed."""
    poses, later = s_curve(times), times > after_s
    poses[later] += [JUMP_M, -JUMP_M, 1.0]
    write_poses(path, times, poses, np.where(later, 99.0, 8 + times))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 s of numbered images at 10 Hz."""
    where = tmp_path_factory.mktemp("clips") / "drive"
    where.mkdir()
    for k, frame in enumerate(passing(0, np.arange(60) * 3.0, size=(24, 40))):
        cv2.imwrite(str(where / f"{k:06d}.png"), frame)
    return where


@pytest.mark.parametrize("rate_hz", [2.0, 5.0, 10.0])
def test_poses_beside_a_clip_at_any_offset_and_rate(images: Path, rate_hz: float):
    rng, file = np.random.default_rng(int(rate_hz)), images.with_name("drive.poses.csv")
    source, known = folder(images, images_hz=10.0, rate_hz=rate_hz, height=24, width=40), 0
    offsets = [0.0, 1e-5, 1e-4, 9e-4, -4e-4, 0.24, -0.24, 0.05, *rng.uniform(-0.5, 0.5, 6)]
    for offset in offsets:
        pose_hz = float(rng.choice([1, 2, 3.7, 10, 29.97, 100]))
        times = offset + np.arange(-round(pose_hz), round(8 * pose_hz)) / pose_hz
        write_track(file, times)
        clip = source[0]
        known += clip.poses_causal.sum() / len(clip)
        recent = np.flatnonzero(clip.poses_causal[2:]) + 2
        now = int(rng.choice(recent)) if len(recent) else 5
        write_track(file, times, clip.times_s[now])
        where = f"offset {offset}, poses at {pose_hz} Hz, frame {now}"
        assert_same(told(clip, now, rate_hz), told(source[0], now, rate_hz), where)
    assert known > len(offsets) / 4  # the rule withholds what leaks, not everything


def test_a_jump_behind_t0_changed_the_velocity_of_a_2_hz_clip_whose_poses_were_0_24_s_late(images: Path):
    file, source = images.with_name("drive.poses.csv"), folder(images, images_hz=10.0, rate_hz=2.0)
    times = 0.24 + np.arange(-1, 20) / 2
    write_track(file, times)
    assert not told(source[0], 6, 2.0).ego.velocity_known  # the last pose is 0.26 s old, more than half a step
    write_track(file, times - 0.48)
    early = told(source[0], 6, 2.0).ego
    assert early.velocity_known
    np.testing.assert_allclose(early.velocity[-1, 0], np.hypot(8 + 2.75, 2 * np.cos(2.75)), atol=0.6)


def test_dense_poses_that_never_meet_a_frame_are_carried_on_to_it(images: Path):
    write_track(images.with_name("drive.poses.csv"), 0.003 + np.arange(-20, 1000) / 100)
    clip = folder(images, images_hz=10.0)[0]
    assert clip.poses_causal.all()
    np.testing.assert_allclose(clip.known_poses, clip.ego_poses, atol=2e-3)
    velocity = told(clip, 40, 10.0).ego.velocity[-1]
    np.testing.assert_allclose(velocity[0], np.hypot(8 + 3.95, 2 * np.cos(3.95)), atol=0.05)


def test_pictures_after_t0_change_no_scene(images: Path):
    write_track(images.with_name("drive.poses.csv"), np.arange(80) / 10)
    source, now = folder(images, images_hz=10.0, height=24, width=40), 30
    before, kept = told(source[0], now, 10.0), {}
    for path in sorted(images.glob("*.png"))[now + 1 :]:
        kept[path] = path.read_bytes()
        cv2.imwrite(str(path), np.random.default_rng(len(kept)).integers(0, 255, (24, 40, 3), dtype=np.uint8))
    try:
        assert_same(before, told(source[0], now, 10.0), "noise")
    finally:
        for path, content in kept.items():
            path.write_bytes(content)


def test_a_pose_is_carried_on_by_the_motion_that_led_to_it():
    def circle(at: np.ndarray) -> np.ndarray:
        return np.stack([10 * np.sin(at), 10 * (1 - np.cos(at)), at], -1)

    times = np.arange(20) / 10
    track = Track(times_s=times, poses=circle(times), speed_mps=np.zeros(20), note="")
    at = np.array([0.0, 0.04, 0.54, 1.0, 1.9, 1.94, 2.2])
    known = track.known_at(at, recent_s=0.05)
    np.testing.assert_allclose(known[[0, 3, 4]], circle(at[[0, 3, 4]]), atol=1e-9)
    np.testing.assert_allclose(known[[2, 5]], circle(at[[2, 5]]), atol=0.02)
    assert np.isnan(known[1]).all()  # a single pose tells no motion
    assert np.isnan(known[6]).all()  # 0.3 s is not recent


def test_a_frame_is_not_known_whose_neighbour_was_drawn_towards_a_later_pose():
    track = Track(times_s=np.array([0.0, 0.1, 0.2, 0.5]), poses=np.zeros((4, 3)), speed_mps=np.zeros(4), note="")
    known = track.known_at(np.array([0.2, 0.21, 0.22]), recent_s=0.1)
    assert np.isfinite(known[:, 0]).tolist() == [True, True, False]


@pytest.mark.parametrize("offset", [0.0, 0.24, 0.26])
def test_mp4_with_poses_beside_it(tmp_path: Path, offset: float):
    video = write_video(tmp_path / "a.mp4", passing(0, np.arange(60) * 4.0), np.arange(60) / 10)
    source, times = folder(video, rate_hz=2.0), offset + np.arange(-2, 14) / 2
    write_track(tmp_path / "a.poses.csv", times)
    clip, now = source[0], 6
    write_track(tmp_path / "a.poses.csv", times, clip.times_s[now])
    assert_same(told(clip, now, 2.0), told(source[0], now, 2.0), str(offset))


def test_clips_of_the_built_in_world_know_every_pose_as_it_was_written(tmp_path: Path):
    times = np.arange(24) / 4
    (tmp_path / "a.mp4").write_bytes(video_bytes(np.stack(passing(0, np.arange(24) * 5.0)), rate_hz=4.0, crf=20))

    def write(after_s: float = np.inf) -> None:
        poses = s_curve(times) + np.where(times > after_s, JUMP_M, 0.0)[:, None]
        rows = [",".join(f"{value:.9g}" for value in (t, *pose, 8 + t)) for t, pose in zip(times, poses)]
        (tmp_path / "a.poses.csv").write_text("\n".join([COLUMNS, *rows]) + "\n", encoding="utf-8")

    write()
    clip = folder(tmp_path / "a.mp4", rate_hz=4.0)[0]
    np.testing.assert_array_equal(clip.known_poses, clip.ego_poses)
    for now in (2, 11, 22):
        write(clip.times_s[now])
        assert_same(told(clip, now, 4.0), told(folder(tmp_path / "a.mp4", rate_hz=4.0)[0], now, 4.0), str(now))


def test_kitti(tmp_path: Path):
    (tmp_path / "image_l").mkdir()
    for k, frame in enumerate(passing(0, np.arange(40) * 3.0, size=(24, 40))):
        cv2.imwrite(str(tmp_path / "image_l" / f"{k:06d}.png"), frame)
    times = np.arange(40) * 0.1036 + np.random.default_rng(0).uniform(-0.01, 0.01, 40)
    np.savetxt(tmp_path / "times.txt", times)
    source = KittiOdometry(**reading(tmp_path, rate_hz=9.0), camera="image_0")

    def write(after: int = 40) -> None:
        rows = []
        for k, (x, y, heading) in enumerate(s_curve(times)):
            jump = JUMP_M if k > after else 0.0
            cos, sin = np.cos(heading), np.sin(heading)
            rows.append([cos, 0, -sin, -y + jump, 0, 1, 0, 0, sin, 0, cos, x + jump])
        np.savetxt(tmp_path / "poses.txt", rows)

    write()
    clip = source[0]
    assert clip.poses_causal.all()
    for now in (2, 20, len(clip) - 2):
        write(int(np.searchsorted(times, clip.times_s[now] + 1e-9)) - 1)
        assert_same(told(clip, now, 9.0), told(source[0], now, 9.0), str(now))


def test_comma2k19(tmp_path: Path):
    segment = film(write_segment(tmp_path / "40"))
    poses = segment / "global_pose"
    source = Comma2k19(**reading(segment), intrinsics=None)
    clip, now = source[0], 14
    positions, can = np.load(poses / "frame_positions"), segment / "processed_log" / "CAN" / "speed"
    later = np.arange(60) > 2 * now
    save(poses / "frame_positions", positions + np.where(later, JUMP_M, 0.0)[:, None])
    clock, speed = np.load(can / "t"), np.load(can / "value")
    save(can / "value", np.where((clock > clock[0] + 0.02 + 0.1 * now)[:, None], 99.0, speed))
    assert clip.poses_causal.all() and told(clip, now, 10.0).ego.velocity_known
    assert_same(told(clip, now, 10.0), told(source[0], now, 10.0), "comma2k19")


def test_navsim_clips(tmp_path: Path):
    now = 8

    def change(frames: list[dict]) -> None:
        for frame in frames[now + 1 :]:
            frame["ego2global_translation"] = np.asarray(frame["ego2global_translation"]) + JUMP_M
            frame["ego_dynamic_state"] = [99.0] * 4
            frame["driving_command"] = np.array([1, 0, 0, 0])

    def open_clip(root: Path, alter: Callable | None) -> DrivingClip:
        write_openscene(root, change=alter)
        own = {"data_split": None, "camera": "cam_f0", "cache_folder": str(root / "cache"), "processes": 1}
        return NavsimClips(**reading(root, split="train", rate_hz=2.0), splits=str(root / "splits"), **own)[0]

    before, after = open_clip(tmp_path / "a", None), open_clip(tmp_path / "b", change)
    scene = told(before, now, 2.0)
    assert scene.ego.velocity_known and before.poses_causal.all() and token("north", now)
    assert not np.array_equal(before.ego_poses, after.ego_poses)
    assert_same(scene, told(after, now, 2.0), "NAVSIM")
