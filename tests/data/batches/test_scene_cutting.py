"""Scenes: what they hold, by hand-worked numbers, and that they hold nothing later than t0."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latentdrive.data.batches.scene_cutting import SceneSpec, cut_scene, ego_history, scene_batch
from latentdrive.data.clips.frame_cache import CachedClips
from latentdrive.errors import ConfigError, WrongShape
from latentdrive.types import Command, DrivingClip, EgoHistory, PoseSource
from tests.support.data import folder, write_poses

SPEC = SceneSpec(history_frames=2, history_step_s=0.5, ego_frames=4, ego_hz=2.0)


def clip(frames: int = 60, *, acceleration: float = 0.0, turn: float = 0.0, cut: int | None = None) -> DrivingClip:
    """10 Hz; 10 m/s at the start, along a straight or a circle (`turn` in 1/m)."""
    rng = np.random.default_rng(0)
    times = np.arange(frames) / 10
    way = 10 * times + acceleration * times**2 / 2
    angle = turn * way
    x, y = (np.sin(angle) / turn, (1 - np.cos(angle)) / turn) if turn else (way, 0 * way)
    return DrivingClip(
        frames=rng.integers(0, 255, (frames, 3, 12, 20), dtype=np.uint8),
        times_s=times,
        shots=(np.arange(frames) >= (frames if cut is None else cut)).astype(np.int64),
        ego_poses=np.stack([x, y, angle], -1).astype(np.float32),
        ego_speed_mps=(10 + acceleration * times).astype(np.float32),
        pose_source=PoseSource.RECORDED,
        intrinsics=None,
        key="a.mp4",
        drive="a",
    )


def batch_of(source: DrivingClip, now: int = 30, spec: SceneSpec = SPEC):
    return scene_batch([cut_scene(source, now, spec, rate_hz=10.0)], height=12, width=20)


def test_a_scene_holds_the_image_now_and_earlier_ones_oldest_first():
    source = clip()
    scene = cut_scene(source, 30, SPEC, rate_hz=10.0)
    np.testing.assert_array_equal([image.pixels for image in scene.cameras["front"]], source.frames[[20, 25, 30]])
    assert (scene.token, scene.drive) == ("a.mp4@3.000", "a")


def test_without_history_a_scene_is_one_image():
    spec = replace(SPEC, history_frames=0)
    assert spec.starts(clip(), 10.0).tolist() == list(range(60))
    assert batch_of(clip(), 0, spec).images.shape == (1, 1, 3, 12, 20)


def test_noise_after_t0_leaves_the_batch_bit_identical():
    source, now = clip(acceleration=1.0, turn=0.01), 30
    rng = np.random.default_rng(1)
    frames, poses, speed = source.frames.copy(), source.ego_poses.copy(), source.ego_speed_mps.copy()
    frames[now + 1 :] = rng.integers(0, 255, frames[now + 1 :].shape)
    poses[now + 1 :] = rng.normal(size=poses[now + 1 :].shape)
    speed[now + 1 :] = np.nan
    other = replace(source, frames=frames, ego_poses=poses, ego_speed_mps=speed)
    for before, after in [(batch_of(source, now), batch_of(other, now))]:
        for field in fields(before):
            assert torch.equal(getattr(before, field.name), getattr(after, field.name)), field.name
    np.testing.assert_array_equal(ego_history(source, now, SPEC).poses, ego_history(other, now, SPEC).poses)


@pytest.mark.parametrize("early_s", [0.0, 4e-4])
def test_a_pose_after_t0_changes_no_scene_where_poses_are_sparser_than_frames(drive, tmp_path: Path, early_s: float):
    path, times = drive(seconds=5.0), np.arange(6) - early_s

    def scenes(x_at_4_s: float) -> list[EgoHistory]:
        """The ego of every scene before 4 s, by way of the cache."""
        way = np.array([0.0, 10.0, 20.0, 30.0, x_at_4_s, 50.0])
        write_poses(path.with_name("a.poses.csv"), times, np.stack([way, 0 * way, 0 * way], -1), np.full(6, 10.0))
        options = {"cache": "frames", "cache_gb": 1.0, "features": None, "features_id": None}
        clips = CachedClips(source=folder(path), folder=tmp_path / "cache", **options)
        return [ego_history(clips[0], now, SPEC) for now in range(40)]

    for now, (before, after) in enumerate(zip(scenes(40.0), scenes(41.0))):
        for field in fields(before):
            np.testing.assert_array_equal(getattr(before, field.name), getattr(after, field.name), str(now))
    known = [now for now, ego in enumerate(scenes(40.0)) if ego.velocity_known]
    assert known == [10, 20, 30]  # where the pose is that of the frame itself
    np.testing.assert_allclose(scenes(40.0)[30].velocity[-1], [10.0, 0.0], atol=0.05)


def test_poses_denser_than_frames_are_used_at_every_frame(drive):
    assert folder(drive())[0].poses_causal.all()


def test_ten_metres_a_second_straight_on():
    ego = ego_history(clip(), 30, SPEC)
    np.testing.assert_allclose(ego.times_s, [-1.5, -1.0, -0.5, 0.0])
    np.testing.assert_allclose(ego.poses, [[-15, 0, 0], [-10, 0, 0], [-5, 0, 0], [0, 0, 0]], atol=1e-4)
    np.testing.assert_allclose(ego.velocity, [[10, 0]] * 4, atol=1e-4)
    np.testing.assert_allclose(ego.acceleration, 0.0, atol=1e-3)
    assert ego.poses_known and ego.velocity_known and ego.acceleration_known


def test_speeding_up_by_two_metres_a_second_each_second():
    ego = ego_history(clip(acceleration=2.0), 30, SPEC)
    # Over the last 0.1 s the mean speed is that of 0.05 s ago.
    np.testing.assert_allclose(ego.velocity[-1], [16 - 0.1, 0], atol=1e-3)
    np.testing.assert_allclose(ego.acceleration[-1], [2.0, 0], atol=1e-2)


def test_on_a_left_circle_the_past_lies_behind_and_to_the_left():
    ego = ego_history(clip(turn=0.02), 30, SPEC)
    assert ego.poses[0, 0] < -14 and ego.poses[0, 1] > 0.5 and ego.poses[0, 2] < 0
    np.testing.assert_allclose(np.linalg.norm(ego.velocity, axis=1), 10.0, rtol=1e-3)


def test_what_the_shot_is_too_short_for_is_unknown():
    source = clip(cut=28)
    ego = ego_history(source, 30, SPEC)
    assert (ego.poses_known, ego.velocity_known, ego.acceleration_known) == (False, True, False)
    np.testing.assert_allclose(ego.velocity[-1], [10, 0], atol=1e-4)
    assert not ego.poses.any() and not ego.acceleration.any()
    first = ego_history(source, 28, SPEC)
    assert not first.velocity_known and not first.velocity.any()


def test_poses_of_visual_odometry_and_no_poses_are_unknown():
    for other in (
        replace(clip(), pose_source=PoseSource.VISUAL_ODOMETRY),
        replace(clip(), pose_source=PoseSource.NONE, ego_poses=None, ego_speed_mps=None),
    ):
        batch = batch_of(other)
        assert not batch.velocity_known.any() and not batch.velocity.any() and not batch.acceleration_known.any()


def test_the_command_of_plain_video_is_unknown():
    batch = batch_of(clip())
    assert batch.command.tolist() == [Command.UNKNOWN] and not batch.command_known.any()


def test_no_scene_reaches_across_a_cut():
    source = clip(cut=25)
    assert SPEC.starts(source, 10.0).tolist() == [*range(10, 25), *range(35, 60)]
    with pytest.raises(WrongShape, match="no scene at frame 30: it needs 10 frames before it"):
        cut_scene(source, 30, SPEC, rate_hz=10.0)


def test_images_are_resized_to_what_the_network_takes():
    batch = scene_batch([cut_scene(clip(), 30, SPEC, rate_hz=10.0)] * 2, height=6, width=10)
    assert batch.images.shape == (2, 3, 3, 6, 10) and batch.images.dtype == torch.uint8 and len(batch) == 2


def test_a_history_step_that_is_no_whole_number_of_frames_is_refused():
    with pytest.raises(ConfigError, match=r"2\.5 frames"):
        cut_scene(clip(), 30, replace(SPEC, history_step_s=0.25), rate_hz=10.0)


def test_what_the_car_recorded_goes_before_differences_of_poses_and_nothing_of_it_is_later():
    source = clip(acceleration=1.0)
    motion = np.stack([np.arange(60) + part / 10 for part in range(4)], -1).astype(np.float32)
    recorded = replace(source, ego_motion=motion, commands=np.arange(60) % 4)
    ego = ego_history(recorded, 30, SPEC)
    np.testing.assert_allclose(ego.velocity, [[15, 15.1], [20, 20.1], [25, 25.1], [30, 30.1]], rtol=1e-6)
    np.testing.assert_allclose(ego.acceleration[-1], [30.2, 30.3], rtol=1e-6)
    assert ego.velocity_known and ego.acceleration_known and ego.command_known and ego.command == Command(30 % 4)
    later = replace(recorded, ego_motion=np.where(np.arange(60)[:, None] > 30, 99, motion).astype(np.float32))
    np.testing.assert_array_equal(ego_history(later, 30, SPEC).velocity, ego.velocity)
