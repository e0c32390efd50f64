"""KITTI odometry: both layouts, its axes, its calibration, and damaged files."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.data.clips.kitti import KittiOdometry
from latentdrive.errors import ConfigError, NoClips, UnreadableClip
from tests.support.data import REAL, passing, reading

P0 = "100 0 79.5 0 0 100 47.5 0 0 0 1 0"
P2 = "100 0 60.0 5 0 100 40.0 0 0 0 1 0"


def kitti(path: Path, **changed) -> KittiOdometry:
    camera = changed.pop("camera", "image_0")
    return KittiOdometry(**reading(path, **{"height": 96, "width": 160} | changed), camera=camera)


def left_arc(count: int) -> str:
    """Camera poses of a left arc of 20 m radius, 1 m an image, as KITTI writes them."""
    lines = []
    for k in range(count):
        angle = k / 20
        x, z = -20 * (1 - np.cos(angle)), 20 * np.sin(angle)
        rows = [[np.cos(angle), 0, -np.sin(angle), x], [0, 1, 0, 0], [np.sin(angle), 0, np.cos(angle), z]]
        lines.append(" ".join(f"{value:e}" for row in rows for value in row))
    return "\n".join(lines)


def write_sequence(root: Path, name: str = "03", *, count: int = 20) -> Path:
    images = root / "sequences" / name / "image_0"
    images.mkdir(parents=True)
    for k, frame in enumerate(passing(0, np.arange(count) * 6.0)):
        cv2.imwrite(str(images / f"{k:06d}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
    (images.parent / "calib.txt").write_text(f"P0: {P0}\nP1: {P0}\nP2: {P2}\nP3: {P2}\nTr: {P0}\n")
    np.savetxt(images.parent / "times.txt", np.arange(count) * 0.1036)
    (root / "poses").mkdir(exist_ok=True)
    (root / "poses" / f"{name}.txt").write_text(left_arc(count))
    return root


def test_the_odometry_layout_gives_poses_in_the_ego_frame(tmp_path: Path):
    clip = kitti(write_sequence(tmp_path), rate_hz=9.0)[0]
    angle = (clip.times_s / 0.1036) / 20
    np.testing.assert_allclose(clip.ego_poses[:, 0], 20 * np.sin(angle), atol=0.01)
    np.testing.assert_allclose(clip.ego_poses[:, 1], 20 * (1 - np.cos(angle)), atol=0.01)
    np.testing.assert_allclose(clip.ego_poses[:, 2], angle, atol=1e-3)
    np.testing.assert_allclose(clip.ego_speed_mps, 1 / 0.1036, rtol=1e-3)
    np.testing.assert_allclose(clip.intrinsics, [[100, 0, 79.5], [0, 100, 47.5], [0, 0, 1]])
    assert (clip.key, clip.drive, clip.pose_source) == ("03", "03", "recorded")


def test_no_frame_is_both_trained_on_and_held_out_unless_one_asks_for_it(tmp_path: Path):
    words = ["model=checkpoint", "data=kitti", f"data.path={write_sequence(tmp_path)}", f"paths.data={tmp_path}"]

    def times(part: str, *overrides: str) -> np.ndarray:
        cfg = compose("label", [*words, "data.rate_hz=9", *overrides])
        return build(cfg.data).open(part)[0].times_s

    train, val, everything = times("train"), times("val"), times("val", "data.val.times=all", "parts=[val]")
    assert train[-1] + 0.5 < val[0]
    assert (everything[0], everything[-1]) == (train[0], val[-1])


def test_grey_images_get_three_equal_channels(tmp_path: Path):
    clip = kitti(write_sequence(tmp_path))[0]
    assert (clip.frames[:, 0] == clip.frames[:, 1]).all() and (clip.frames[:, 0] == clip.frames[:, 2]).all()


def test_sequences_are_sorted_and_may_lack_poses(tmp_path: Path):
    write_sequence(tmp_path, "11")
    write_sequence(tmp_path, "02")
    (tmp_path / "poses" / "11.txt").unlink()
    clips = kitti(tmp_path)
    assert [clip.key for clip in clips] == ["02", "11"]
    assert clips[1].ego_poses is None and clips[1].pose_source == "none"


def test_a_flat_folder_without_times_takes_its_rate_from_the_options(tmp_path: Path):
    sequence = write_sequence(tmp_path / "made") / "sequences" / "03"
    flat = tmp_path / "flat"
    flat.mkdir()
    (sequence / "image_0").rename(flat / "image_l")
    (flat / "poses.txt").write_text(left_arc(20))
    (flat / "calib.txt").write_text(f"{P0}\n{P2}\n")
    clip = kitti(flat, images_hz=10.0)[0]
    np.testing.assert_allclose(clip.times_s, np.arange(20) / 10)
    np.testing.assert_allclose(clip.ego_speed_mps, 10.0, rtol=1e-2)
    assert clip.intrinsics[0, 2] == 79.5
    with pytest.raises(ConfigError, match="images_hz=10"):
        kitti(flat, images_hz=None)[0]


def test_poses_shorter_than_the_images_are_named(tmp_path: Path):
    root = write_sequence(tmp_path)
    (root / "poses" / "03.txt").write_text(left_arc(12))
    with pytest.raises(UnreadableClip, match=r"03\.txt: it holds 12 poses for 20 images"):
        kitti(root)[0]


def test_poses_with_nan_name_the_line(tmp_path: Path):
    root = write_sequence(tmp_path)
    (root / "poses" / "03.txt").write_text(left_arc(8) + "\nnan" + " 0" * 11 + "\n" + left_arc(11))
    with pytest.raises(UnreadableClip, match=r"line 9 must hold twelve finite numbers"):
        kitti(root)[0]


def test_times_that_do_not_fit_the_images_are_named(tmp_path: Path):
    root = write_sequence(tmp_path)
    np.savetxt(root / "sequences" / "03" / "times.txt", np.arange(7))
    with pytest.raises(UnreadableClip, match="7 times for 20 images"):
        kitti(root)[0]


def test_a_folder_without_kitti_says_what_was_looked_for(tmp_path: Path):
    with pytest.raises(NoClips, match=r"neither sequences/NN/image_0/ nor image_l/"):
        kitti(tmp_path)


@pytest.mark.skipif(not REAL.is_dir(), reason="no real data")
def test_the_real_excerpt_drives_forward_nearly_straight():
    clip = kitti(REAL / "kitti_sequence_1", images_hz=10.0)[0]
    assert clip.frames.shape == (51, 3, 96, 160)
    assert clip.ego_poses[-1, 0] > 40 and abs(clip.ego_poses[-1, 1]) < 10
    assert 5 < np.median(clip.ego_speed_mps) < 25
