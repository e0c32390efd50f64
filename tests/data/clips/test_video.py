"""Video as clips: presentation times, parts, sidecars, every container, and every kind of bad file."""

import errno
import gc
import os
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from latentdrive.config import compose
from latentdrive.data.picture_size import fit_picture, scaled_intrinsics
from latentdrive.errors import ConfigError, NoClips, TooManyOpenFiles, UnreadableClip
from tests.support.data import REAL, folder, passing, write_poses, write_video

TIMES = np.arange(90) / 30
DATA = ("video", "world")


def write_images(where: Path, frames: list[np.ndarray], first: int = 0) -> Path:
    where.mkdir(parents=True, exist_ok=True)
    for k, frame in enumerate(frames):
        cv2.imwrite(str(where / f"{first + k:06d}.png"), frame[..., ::-1])
    return where


def test_frames_lie_on_an_even_grid_of_presentation_times(drive: Callable[..., Path]):
    clip = folder(drive(seconds=4.0))[0]
    assert clip.frames.shape == (40, 3, 48, 80)
    np.testing.assert_allclose(clip.times_s, np.arange(40) / 10, atol=2e-3)
    assert set(clip.shots) == {0}


def test_a_rate_that_varies_is_read_by_presentation_times_and_not_by_frame_counts(tmp_path: Path):
    times = np.concatenate([np.arange(60) / 30, 2 + np.arange(30) / 15])
    offsets = 60 * times
    path = write_video(tmp_path / "v.mp4", passing(0, offsets), times)
    clip, facts = folder(path, height=96, width=160).read(0)
    assert len(clip) == 40 and facts.holes == 0
    np.testing.assert_allclose(clip.times_s, np.arange(40) / 10, atol=0.034)
    shown = np.stack(passing(0, 60 * clip.times_s.clip(0, 4))).transpose(0, 3, 1, 2)
    assert np.abs(clip.frames.astype(float) - shown).mean() < 8


def test_a_hole_in_time_begins_a_new_shot_and_is_counted(tmp_path: Path):
    times = np.concatenate([np.arange(30) / 30, 2 + np.arange(30) / 30])
    clip, facts = folder(write_video(tmp_path / "v.mp4", passing(0, 10 * times), times)).read(0)
    assert facts.holes == 1 and list(np.unique(clip.shots)) == [0, 1]
    assert len(clip) == 20


def test_a_video_slower_than_the_rate_says_which_rate_fits(drive: Callable[..., Path]):
    with pytest.raises(UnreadableClip, match=r"5 frames a second, data\.rate_hz=10 .*lower data\.rate_hz to 5"):
        folder(drive(hz=5.0))[0]


def test_recorded_poses_follow_the_frames(drive: Callable[..., Path]):
    clip = folder(drive(seconds=2.0))[0]
    np.testing.assert_allclose(clip.ego_poses[:, 0], 10 * (clip.times_s - clip.times_s[0]), atol=1e-3)
    np.testing.assert_allclose(clip.ego_speed_mps, 10.0)
    assert folder(drive(seconds=2.0), poses="none")[0].ego_poses is None


def test_the_first_part_trains_and_the_rest_tests_after_a_gap(drive: Callable[..., Path]):
    path = drive(seconds=4.0)
    whole = folder(path)[0]
    train, test = folder(path, times="train")[0], folder(path, times="test")[0]
    assert train.times_s[-1] <= 0.7 * whole.times_s[-1] + 1e-9
    assert test.times_s[0] - 0.7 * whole.times_s[-1] > 0.5
    np.testing.assert_array_equal(test.frames, whole.frames[-len(test) :])
    np.testing.assert_allclose(test.ego_poses[0], 0.0)


def test_a_clip_too_short_for_its_test_part_is_named(drive: Callable[..., Path]):
    with pytest.raises(UnreadableClip, match=r"leave no frame for data\.part\.times=test"):
        folder(drive(seconds=1.0), times="test")[0]


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("b.mkv", "libx264", "yuv420p"),
        ("c.mp4", "libx265", "yuv420p"),
        ("c.hevc", "libx265", "yuv420p"),
        ("d.gif", "gif", "rgb8"),
        ("e.avi", "mpeg4", "yuv420p"),
    ],
)
def test_every_container_gives_the_same_clip(tmp_path: Path, name: str, codec: str, pixels: str):
    frames = passing(0, 60 * TIMES)
    clip = folder(write_video(tmp_path / name, frames, TIMES, codec=codec, pixels=pixels), height=96, width=160)[0]
    assert len(clip) == 30
    np.testing.assert_allclose(clip.times_s - clip.times_s[0], np.arange(30) / 10, atol=0.011)
    assert np.abs(clip.frames[10].transpose(1, 2, 0).astype(float) - frames[30]).mean() < 20


def test_sizes_and_rates_may_be_mixed_in_one_folder(tmp_path: Path):
    write_video(tmp_path / "v" / "small.mp4", passing(0, 60 * TIMES), TIMES)
    large = [cv2.resize(frame, (640, 360)) for frame in passing(1, 60 * TIMES[:50])]
    write_video(tmp_path / "v" / "deep" / "large.mkv", large, np.arange(50) / 25)
    clips = folder(tmp_path / "v")
    assert [clip.frames.shape for clip in clips] == [(20, 3, 48, 80), (30, 3, 48, 80)]
    assert [clip.drive for clip in clips] == ["deep/large", "small"]


def test_pieces_of_one_recording_are_one_drive(tmp_path: Path):
    for name in ("trip_000.mp4", "trip_001.mp4", "trip_12.mp4", "a/trip_000.mp4", "a/other.mp4"):
        (tmp_path / "v" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "v" / name).touch()
    write_images(tmp_path / "v" / "shots_007", [np.zeros((4, 4, 3), np.uint8)])

    def drives(of: str) -> list[tuple[str, bool]]:
        clips = folder(tmp_path / "v", drives=of)
        return [(clips.drive(index), clips.is_piece(index)) for index in range(len(clips))]

    assert drives("pieces") == [
        ("a/other", False),
        ("a/trip", True),
        ("shots_007", False),  # numbered images are no piece: their folder may be named by a number
        ("trip", True),
        ("trip", True),
        ("trip_12", False),
    ]
    assert drives("folder") == [("a", True)] * 2 + [("v", True)] * 4
    assert drives("file")[3:5] == [("trip_000", False), ("trip_001", False)]
    with pytest.raises(ConfigError, match=r"data\.source\.drives must be pieces, folder or file; got clip"):
        folder(tmp_path / "v", drives="clip")


def test_pieces_are_told_apart_in_video_and_files_in_the_built_in_world():
    drives = [compose("label", [f"data={data}", "data.path=x", "model=m"]).data.source.drives for data in DATA]
    assert drives == ["pieces", "file"]


def test_numbered_images_are_a_clip_by_their_rate_or_their_times(tmp_path: Path):
    frames = passing(0, np.arange(20) * 6.0)
    where = write_images(tmp_path / "clips" / "drive_7", frames, first=100)
    clip = folder(tmp_path / "clips", images_hz=10.0, height=96, width=160)[0]
    np.testing.assert_array_equal(clip.frames[3], frames[3].transpose(2, 0, 1))
    np.testing.assert_allclose(clip.times_s, 10 + np.arange(20) / 10)
    assert (clip.key, clip.drive) == ("drive_7", "drive_7")
    np.savetxt(where / "times.txt", 0.05 * np.arange(20))
    assert len(folder(where)[0]) == 10


def test_numbered_images_without_a_rate_say_what_to_type(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"data\.options\.images_hz=10"):
        folder(write_images(tmp_path / "images", passing(0, np.arange(5))))[0]


def test_a_gap_in_the_numbers_names_the_missing_image(tmp_path: Path):
    where = write_images(tmp_path / "images", passing(0, np.arange(9)))
    (where / "000004.png").unlink()
    with pytest.raises(UnreadableClip, match=r"image 4 is missing \(1 of 9 are"):
        folder(where, images_hz=10.0)[0]


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_an_unreadable_image_is_named(tmp_path: Path, content: bytes):
    where = write_images(tmp_path / "images", passing(0, np.arange(9)))
    (where / "000004.png").write_bytes(content)
    with pytest.raises(UnreadableClip, match=r"000004\.png: not a readable image"):
        folder(where, images_hz=10.0)[0]


def test_a_text_file_lists_clips_one_a_line(drive: Callable[..., Path], tmp_path: Path):
    a, b = drive("a"), drive("b", seed=1)
    listed = tmp_path / "clips" / "all.txt"
    listed.write_text(f"b.mp4\n\n{a}\r\n", encoding="utf-8")
    clips = folder(listed)
    assert [clips.location(k) for k in range(len(clips))] == [b, a]
    assert [clip.key for clip in clips] == ["b.mp4", "a.mp4"]


@pytest.mark.parametrize("name", ["missing", "empty", "pipe"])
def test_a_path_with_no_clips_says_what_to_type(tmp_path: Path, name: str):
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NoClips, match=rf"{name}.*data\.path=FOLDER"):
        folder(tmp_path / name)


def test_an_empty_file_is_unreadable(tmp_path: Path):
    (tmp_path / "a.mp4").touch()
    with pytest.raises(UnreadableClip, match=r"empty \(0 bytes"):
        folder(tmp_path)[0]


def test_a_text_file_named_mp4_is_unreadable(tmp_path: Path):
    (tmp_path / "a.mp4").write_text("this is no video\n" * 100)
    with pytest.raises(UnreadableClip, match=r"a\.mp4: not a readable video"):
        folder(tmp_path)[0]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_truncated_video_is_unreadable(tmp_path: Path, name: str):
    times = np.arange(300) / 30
    path = write_video(tmp_path / name, passing(0, 30 * times), times)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableClip, match="truncated"):
        folder(path)[0]


def test_a_truncated_video_with_its_header_in_front_is_unreadable(tmp_path: Path):
    times = np.arange(300) / 30
    path = write_video(tmp_path / "a.mp4", passing(0, 30 * times), times, faststart=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableClip, match=r"truncated"):
        folder(path)[0]


def test_a_clip_of_5_s_cut_to_3_6_s_is_unreadable(tmp_path: Path):
    times = np.arange(150) / 30
    path = write_video(tmp_path / "a.mp4", passing(0, 30 * times), times, faststart=True)
    content = path.read_bytes()
    path.write_bytes(content[: round(0.78 * len(content))])
    with pytest.raises(UnreadableClip, match=r"header says 5\.0 s, only [34]\.\d s can be decoded"):
        folder(path)[0]


def test_a_video_of_one_frame_is_unreadable(tmp_path: Path):
    write_video(tmp_path / "a.mp4", passing(0, np.zeros(1)), np.zeros(1))
    with pytest.raises(UnreadableClip, match="single frame; an action lies between two"):
        folder(tmp_path)[0]


def test_a_file_that_vanished_is_unreadable(drive: Callable[..., Path]):
    path = drive()
    clips = folder(path)
    path.unlink()
    with pytest.raises(UnreadableClip, match="can't be opened"):
        clips[0]


def test_a_video_that_can_t_be_opened_for_want_of_files_is_not_called_unreadable(
    drive: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
):
    clips = folder(drive())

    def exhausted(*_, **__):
        raise av.error.OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(av, "open", exhausted)
    with pytest.raises(TooManyOpenFiles, match="ulimit -n"):
        clips[0]


def test_poses_with_nan_name_the_row_and_the_time(drive: Callable[..., Path]):
    path = drive(poses=False)
    track = np.zeros((120, 3))
    track[30, 1] = np.nan
    write_poses(path.with_name("a.poses.csv"), np.arange(120) / 30, track, np.zeros(120))
    with pytest.raises(UnreadableClip, match=r"a\.poses\.csv: y_m in row 31 .time 1\.000 s. is nan"):
        folder(path)[0]
    assert len(folder(path, poses="none")[0]) == 40


def test_poses_shorter_than_the_video_say_both_lengths(drive: Callable[..., Path]):
    path = drive(poses=False)
    write_poses(path.with_name("a.poses.csv"), np.arange(60) / 30, np.zeros((60, 3)), np.zeros(60))
    with pytest.raises(UnreadableClip, match=r"0\.00 to 1\.97 s do not cover the video, 0\.00 to 3\.90 s"):
        folder(path)[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t,x,y\n0,0,0\n", "first line must be time_s,x_m,y_m,heading_rad,speed_mps"),
        ("time_s,x_m,y_m,heading_rad,speed_mps\n0,0,0,zero,0\n", "does not hold five numbers"),
        ("time_s,x_m,y_m,heading_rad,speed_mps\n", "no poses below the header"),
        ("time_s,x_m,y_m,heading_rad,speed_mps\n1,0,0,0,0\n0,0,0,0,0\n", "time_s does not grow at row 2"),
    ],
)
def test_a_damaged_pose_file_says_what_is_wrong(drive: Callable[..., Path], text: str, message: str):
    path = drive(poses=False)
    path.with_name("a.poses.csv").write_text(text)
    with pytest.raises(UnreadableClip, match=message):
        folder(path)[0]


def test_intrinsics_follow_the_picture(drive: Callable[..., Path]):
    path = drive()
    path.with_name("a.camera.json").write_text('{"intrinsics": [[80, 0, 79.5], [0, 80, 47.5], [0, 0, 1]]}')
    clip = folder(path)[0]  # 160 x 96 is halved: the centre of the picture stays the centre
    np.testing.assert_allclose(clip.intrinsics, [[40, 0, 39.5], [0, 40, 23.5], [0, 0, 1]])
    path.with_name("a.camera.json").write_text('{"intrinsics": [[80, 0], [0, 80]]}')
    with pytest.raises(UnreadableClip, match=r"a\.camera\.json: not a camera"):
        folder(path)[0]


def test_a_wide_picture_is_cut_in_the_middle_and_its_intrinsics_with_it():
    fit = fit_picture((100, 400), (50, 100), "crop")
    assert (fit.scaled, fit.left, fit.view) == ((50, 200), 50, (0.25, 0.0, 0.75, 1.0))
    middle = np.array([[100, 0, 199.5], [0, 100, 49.5], [0, 0, 1.0]])
    scaled = scaled_intrinsics(middle, view=fit.view, stored=(100, 400), size=(50, 100))
    np.testing.assert_allclose(scaled, [[50, 0, 49.5], [0, 50, 24.5], [0, 0, 1]])


@pytest.mark.skipif(not REAL.is_dir(), reason="no real data")
@pytest.mark.parametrize(
    ("name", "repeated", "frames"),
    [("city_traffic", 55, 99), ("highway_white_right", 0, 89), ("freeway_dashcam", 0, 172)],
)
def test_real_video_has_the_cuts_and_repeated_frames_it_has(name: str, repeated: int, frames: int):
    clip, facts = folder(REAL / "video" / f"{name}.mp4").read(0)
    assert (facts.cuts, facts.holes, facts.repeated, len(clip)) == (0, 0, repeated, frames)


def test_no_thread_outlives_the_reading_of_a_clip(drive: Callable[..., Path]):
    """A process that forks with such threads, as loaders do, hangs once their owner is freed in the child."""
    clips, threads = folder(drive()), Path("/proc/self/task")
    clips.read(0)
    gc.collect()
    gc.disable()
    try:
        before = len(list(threads.iterdir()))
        clips.read(0)
        assert len(list(threads.iterdir())) <= before
    finally:
        gc.enable()
