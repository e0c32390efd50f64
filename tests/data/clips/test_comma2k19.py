"""comma2k19: ECEF to planar poses, frames at their recorded times, segments wherever they lie, and damaged files."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.data.batches.windows import open_clip
from latentdrive.data.clips.comma2k19 import Comma2k19, find_segments, read_poses
from latentdrive.data.clips.frame_cache import CachedClips
from latentdrive.errors import ConfigError, NoClips, UnreadableClip
from tests.support.comma import STARTED_S, STEP_S, film, save, write_segment
from tests.support.data import REAL, passing, reading

SAMPLE = REAL / "comma2k19_segment_40"
INTRINSICS = [80.0, 80.0, 79.5, 47.5]


def comma(path: Path, **changed) -> Comma2k19:
    intrinsics = changed.pop("intrinsics", INTRINSICS)
    return Comma2k19(**reading(path, **{"height": 96, "width": 160} | changed), intrinsics=intrinsics)


def test_poses_are_planar_metres_ahead_and_left_of_the_first_frame(tmp_path: Path):
    track = read_poses(write_segment(tmp_path / "40"))
    angle = 0.2 * np.arange(60) * STEP_S
    np.testing.assert_allclose(track.times_s, np.arange(60) * STEP_S, atol=1e-9)
    np.testing.assert_allclose(track.poses[:, 0], 100 * np.sin(angle), atol=1e-4)
    np.testing.assert_allclose(track.poses[:, 1], 100 * (1 - np.cos(angle)), atol=1e-4)
    np.testing.assert_allclose(track.poses[:, 2], angle, atol=1e-6)
    np.testing.assert_allclose(track.speed_mps, 20.5)
    assert "CAN/speed" in track.note and "of the camera" in track.note


def test_without_the_cars_speed_that_of_the_poses_is_taken(tmp_path: Path):
    segment = write_segment(tmp_path / "40")
    shutil.rmtree(segment / "processed_log")
    track = read_poses(segment)
    np.testing.assert_allclose(track.speed_mps, 20.0, rtol=1e-6)
    assert "frame_velocities" in track.note


def test_the_whole_segment_is_a_clip_whose_frames_have_the_recorded_times(tmp_path: Path):
    clip = comma(film(write_segment(tmp_path / "chunk" / "car|day" / "3")).parents[1])[0]
    assert clip.frames.shape == (30, 3, 96, 160) and clip.pose_source == "recorded"
    np.testing.assert_allclose(clip.times_s, np.arange(30) * 0.1, atol=1e-6)
    np.testing.assert_allclose(clip.ego_poses[:, 2], 0.2 * clip.times_s, atol=1e-5)
    np.testing.assert_allclose(clip.ego_speed_mps, 20.5, rtol=1e-6)
    np.testing.assert_allclose(clip.intrinsics, [[80, 0, 79.5], [0, 80, 47.5], [0, 0, 1]])
    assert clip.poses_causal.all()
    assert (clip.key, clip.drive) == ("car|day/3", "car|day")


def test_pictures_are_those_of_their_times_where_frames_come_unevenly(tmp_path: Path):
    segment = film(write_segment(tmp_path / "40"))
    times = STARTED_S + np.cumsum(np.full(60, STEP_S)) - STEP_S
    times[30:] += 0.8  # the camera paused
    save(segment / "global_pose" / "frame_times", times)
    frames = list(comma(segment).frames(0, (96, 160), "crop"))
    assert len(frames) == 60
    np.testing.assert_allclose([time for time, _, _ in frames], times - times[0], atol=1e-9)
    filmed = np.stack(passing(0, np.arange(60) * 3.0)).astype(float)
    for k in (0, 29, 31, 59):
        assert np.abs(filmed - frames[k][1]).mean((1, 2, 3)).argmin() == k


def test_segments_are_found_at_any_depth_in_the_order_they_were_driven(tmp_path: Path):
    for name in ("one/r2/4", "one/r1/10", "one/r1/9"):
        write_segment(tmp_path / name)
    clips = comma(tmp_path)
    assert [clips.key(k) for k in range(3)] == ["one/r1/9", "one/r1/10", "one/r2/4"]
    assert [clips.drive(k) for k in range(3)] == ["one/r1", "one/r1", "one/r2"]
    route = comma(tmp_path / "one" / "r1")
    assert [(route.key(k), route.drive(k)) for k in range(2)] == [("9", "r1"), ("10", "r1")]
    segment = comma(tmp_path / "one" / "r1" / "9")
    assert (segment.key(0), segment.drive(0)) == ("r1/9", "r1")
    assert clips.header_duration_s(0) == pytest.approx(59 * STEP_S)


def test_a_folder_without_segments_says_what_was_looked_for(tmp_path: Path):
    with pytest.raises(NoClips, match=r"holds no segment \(CHUNK/ROUTE/SEGMENT with video\.hevc"):
        find_segments(tmp_path)


def test_a_segment_of_logs_alone_names_the_missing_video(tmp_path: Path):
    clips = comma(write_segment(tmp_path / "40"))
    for use in (clips.identity, clips.read, lambda index: clips[index]):
        with pytest.raises(UnreadableClip, match=r"40/video\.hevc: the segment has no video\.hevc, only logs"):
            use(0)


@pytest.mark.parametrize("count", [59, 61])
def test_a_video_with_other_frames_than_times_is_refused(tmp_path: Path, count: int):
    clips = comma(film(write_segment(tmp_path / "40"), count=count))
    with pytest.raises(UnreadableClip, match=rf"it holds {count} frames for 60 frame_times"):
        clips[0]


def damage(segment: Path, name: str, change) -> None:
    path = segment / name
    save(path, change(np.load(path)))


def spoiled(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[7] = np.nan
    return array


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("frame_times", lambda rows: rows[::-1], "time does not grow at row 1"),
        ("frame_times", lambda rows: rows[:1], r"shape \(1,\), expected the times of two frames or more"),
        ("frame_times", spoiled, "row 7 holds nan"),
        ("frame_positions", lambda rows: rows[:-1], r"shape \(59, 3\), expected \(60, 3\)"),
        ("frame_positions", spoiled, "row 7 holds nan"),
        ("frame_positions", lambda rows: rows - rows[0], "expected ECEF metres near the Earth's surface"),
        ("frame_positions", lambda array: array.astype(str), "not an array of numbers"),
        ("frame_orientations", lambda rows: rows[:, :3], r"shape \(60, 3\), expected \(60, 4\)"),
        ("frame_orientations", lambda rows: rows * 2, "has length 2.0000"),
        ("frame_orientations", lambda rows: rows[:, [1, 2, 3, 0]], "expected quaternions w, x, y, z"),
        ("frame_velocities", spoiled, "row 7 holds nan"),
    ],
)
def test_damaged_poses_are_named(tmp_path: Path, name: str, change, words: str):
    segment = write_segment(tmp_path / "40")
    damage(segment / "global_pose", name, change)
    with pytest.raises(UnreadableClip, match=rf"{name}: .*{words}"):
        read_poses(segment)


@pytest.mark.parametrize("name", ["frame_times", "frame_positions", "frame_orientations", "frame_velocities"])
def test_a_missing_file_is_named(tmp_path: Path, name: str):
    segment = film(write_segment(tmp_path / "40"), count=60)
    (segment / "global_pose" / name).unlink()
    with pytest.raises(UnreadableClip, match=rf"{name}: the file is missing"):
        comma(segment)[0]


def test_a_file_that_is_no_array_is_named(tmp_path: Path):
    segment = write_segment(tmp_path / "40")
    (segment / "global_pose" / "frame_positions").write_bytes(b"\x93NUMPY\x01")
    with pytest.raises(UnreadableClip, match=r"frame_positions: not an array of numbers in npy form"):
        read_poses(segment)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("value", lambda rows: rows[:-3], "expected one value each"),
        ("t", lambda rows: rows[::-1], "time goes back at row 1"),
        ("t", lambda rows: rows + 30, "do not cover the frames"),
        ("value", spoiled, "row 7 holds nan"),
    ],
)
def test_a_damaged_speed_is_named(tmp_path: Path, name: str, change, words: str):
    segment = write_segment(tmp_path / "40")
    damage(segment / "processed_log" / "CAN" / "speed", name, change)
    with pytest.raises(UnreadableClip, match=rf"speed/{name}: .*{words}"):
        read_poses(segment)


def test_intrinsics_are_four_numbers_or_none(tmp_path: Path):
    write_segment(tmp_path / "40")
    assert comma(tmp_path, intrinsics=None).camera(0) is None
    with pytest.raises(ConfigError, match="fx, fy, cx, cy"):
        comma(tmp_path, intrinsics=[910.0])


def test_the_configuration_opens_both_parts_of_every_segment(tmp_path: Path):
    film(write_segment(tmp_path / "chunk" / "route" / "0"))
    words = ["data=comma2k19", f"data.path={tmp_path / 'chunk'}", f"paths.data={tmp_path / 'data'}"]
    cfg = compose("train_codebook", words)
    for codebook in ("tiny", "twelve_by_one"):
        model = compose("train_codebook", [*words, f"codebook={codebook}"]).model
        assert cfg.data.part.gap_s >= model.transitions * model.transition_s
    data = build(compose("train_codebook", [*words, "data.part.gap_s=0.5"]).data)  # this segment has 3 s
    train, val = data.open("train")[0], data.open("val")[0]
    assert train.key == val.key == "route/0" and train.times_s[-1] + 0.5 < val.times_s[0]
    np.testing.assert_allclose(train.intrinsics[0, 0], 910.0)


def test_between_what_tests_and_the_next_segment_that_trains_lies_a_gap(tmp_path: Path):
    for name in ("r1/9", "r1/10", "r2/4"):
        film(write_segment(tmp_path / name))
    whole, test = comma(tmp_path), comma(tmp_path, times="test", gap_s=0.3)
    ends = [test[k].times_s[-1] for k in range(3)]
    end_s = whole[0].times_s[-1]
    assert ends[0] == ends[1] < end_s - 0.3 + 1e-6 and ends[2] == end_s  # r2 has one segment: nothing follows it
    assert [whole.is_piece(k) for k in range(3)] == [True, True, False]
    train = comma(tmp_path, times="train", gap_s=0.3)
    assert len(train[0]) == len(train[2])  # the beginning of a segment trains as before
    cached = CachedClips(
        source=test,
        folder=tmp_path / "cache",
        cache="features",
        cache_gb=1.0,
        features=lambda frames: frames[:, :1, :2, :2].astype(np.float16),
        features_id="corner",
    )
    assert len(cached.features(0)) == len(cached[0]) == len(test[0]) == len(test[2]) - 3
    assert len(open_clip(cached, 0).clip) == len(test[0])


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="no real data")
def test_the_real_segment_drives_1012_m_along_its_own_heading():
    track = read_poses(SAMPLE)
    step = np.diff(track.poses, axis=0)
    assert len(track.times_s) == 1200 and track.times_s[-1] == pytest.approx(60, abs=0.1)
    assert np.linalg.norm(step[:, :2], axis=1).sum() == pytest.approx(1012, abs=3)
    moved = np.arctan2(step[:, 1], step[:, 0])
    assert np.abs(np.degrees(moved - track.poses[1:, 2])).max() < 2
    np.testing.assert_allclose(np.hypot(step[:, 0], step[:, 1]) / np.diff(track.times_s), track.speed_mps[1:], atol=0.6)
    assert np.isfinite(track.poses).all() and np.abs(track.poses[0]).max() < 1e-9
    with pytest.raises(UnreadableClip, match="only logs"):
        comma(SAMPLE)[0]
