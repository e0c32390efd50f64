"""What is played: frames at the bundle's size, and motion from nothing later than the frame."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from latentdrive.errors import ConfigError, UnreadableClip
from latentdrive.playback.source import LiveCamera, RecordedSource
from tests.support.data import passing, write_poses, write_video

TIMES = np.arange(20) / 10
SIZE = (48, 96)


def recording(folder: Path, *, poses: bool = True) -> Path:
    """Two seconds at 10 Hz; the car speeds up by 2 m/s^2 from 4 m/s."""
    path = write_video(folder / "drive.mp4", passing(0, TIMES * 30, SIZE), TIMES)
    if poses:
        metres = 4 * TIMES + TIMES**2
        write_poses(folder / "drive.poses.csv", TIMES, np.stack([metres, 0 * TIMES, 0 * TIMES], -1), 4 + 2 * TIMES)
    return path


def source_of(path: Path, **changed) -> RecordedSource:
    return RecordedSource(path, **{"size": SIZE, "fit": "crop", "images_hz": None, "speed_mps": None} | changed)


def test_frames_have_the_bundles_size_and_the_recordings_times(tmp_path: Path):
    frames = list(source_of(recording(tmp_path), size=(24, 32)).frames())
    np.testing.assert_allclose([time_s for time_s, _ in frames], TIMES, atol=1e-3)
    assert {picture.shape for _, picture in frames} == {(24, 32, 3)} and frames[0][1].dtype == np.uint8


def test_motion_is_that_of_the_poses_up_to_the_frame(tmp_path: Path):
    motion = source_of(recording(tmp_path)).motion(1.04)
    assert motion.speed_mps == pytest.approx(6.0) and motion.acceleration_mps2 == pytest.approx(2.0)
    assert motion.distance_m == pytest.approx(4 * 1.0 + 1.0)


def test_what_comes_later_changes_nothing_that_is_told(tmp_path: Path):
    path = recording(tmp_path)
    before = source_of(path).motion(0.95)
    table = np.loadtxt(tmp_path / "drive.poses.csv", delimiter=",", skiprows=1)
    table[table[:, 0] > 0.95, 1:] += 100.0
    write_poses(tmp_path / "drive.poses.csv", table[:, 0], table[:, 1:4], table[:, 4])
    assert source_of(path).motion(0.95) == before


def test_before_the_first_pose_nothing_is_told(tmp_path: Path):
    path = recording(tmp_path, poses=False)
    late = TIMES[5:]
    write_poses(tmp_path / "drive.poses.csv", late, np.zeros((15, 3)), np.full(15, 3.0))
    source = source_of(path)
    assert source.motion(0.4) is None and source.motion(0.5).speed_mps == 3.0


def test_a_recording_without_poses_needs_a_speed(tmp_path: Path):
    path = recording(tmp_path, poses=False)
    with pytest.raises(ConfigError, match=r"put drive\.poses\.csv beside it, or add speed_mps=NUMBER"):
        source_of(path)
    told = source_of(path, speed_mps=12.5).motion(1.0)
    assert (told.speed_mps, told.acceleration_mps2, told.distance_m) == (12.5, 0.0, None)


def test_a_folder_of_images_is_played_at_the_told_rate(tmp_path: Path):
    folder = tmp_path / "drive"
    folder.mkdir()
    for number, picture in enumerate(passing(1, np.arange(5.0), SIZE)):
        cv2.imwrite(str(folder / f"{number:04d}.png"), picture)
    frames = list(source_of(folder, images_hz=4.0, speed_mps=1.0).frames())
    assert [time_s for time_s, _ in frames] == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_the_calibration_is_that_of_the_played_pictures(tmp_path: Path):
    path = recording(tmp_path)
    camera = {"intrinsics": [[60.0, 0, 48.0], [0, 60.0, 24.0], [0, 0, 1]], "camera_to_ego": np.eye(4).tolist()}
    (tmp_path / "drive.camera.json").write_text(json.dumps(camera))
    intrinsics, mount = source_of(path, size=(24, 48)).calibration
    assert intrinsics[0, 0] == pytest.approx(30.0) and intrinsics[1, 1] == pytest.approx(30.0)
    np.testing.assert_array_equal(mount, np.eye(4))
    (tmp_path / "drive.camera.json").unlink()
    assert source_of(path).calibration is None


def test_what_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(
        ConfigError, match="does not exist: name a video, a folder of images, camera:0 or egodriver:PORT"
    ):
        source_of(tmp_path / "nothing.mp4")
    with pytest.raises(ConfigError, match="camera:77 can't be opened"):
        LiveCamera(77, size=SIZE, fit="crop", speed_mps=0.0)
    with pytest.raises(ConfigError, match="add speed_mps=NUMBER to source=camera"):
        LiveCamera(0, size=SIZE, fit="crop", speed_mps=None)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(UnreadableClip):
        list(source_of(tmp_path / "broken.mp4", speed_mps=1.0).frames())
