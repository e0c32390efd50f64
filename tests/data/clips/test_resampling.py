"""Cuts, repeated frames, standstill and the grid of times, on joins of made-up scenes and of real clips."""

import itertools
from pathlib import Path

import av
import numpy as np
import pytest

from latentdrive.data.clips import resampling
from latentdrive.data.clips.resampling import Changes, Grid, Resampler, change, judge, small_grey
from tests.support.data import REAL, folder, passing, write_video


def resample(frames: list[np.ndarray], times: np.ndarray, rate_hz: float = 10.0):
    resampler = Resampler(rate_hz=rate_hz)
    for time, frame in zip(times, frames):
        resampler.add(float(time), frame)
    return resampler.finish(Path("made_up"))


def test_a_join_of_two_scenes_is_one_cut_and_begins_a_shot(tmp_path: Path):
    times = np.arange(120) / 30
    frames = passing(0, np.arange(60) * 3) + passing(1, np.arange(60) * 3)
    clip, facts = folder(write_video(tmp_path / "a.mp4", frames, times)).read(0)
    assert facts.cuts == 1
    np.testing.assert_array_equal(clip.shots, np.repeat([0, 1], 20))


def test_a_cut_between_grid_times_starts_the_grid_anew():
    frames = passing(0, np.arange(40) * 3) + passing(1, np.arange(40) * 3)
    clip = resample(frames, np.arange(80) / 30)
    assert clip.cuts == 1
    times = clip.times_s[clip.shots == 1]
    assert times[0] == pytest.approx(40 / 30) and np.diff(times) == pytest.approx(0.1)


def test_a_fast_turn_is_no_cut():
    speed = np.concatenate(
        [np.zeros(30), np.linspace(0, 30, 15), np.full(30, 30.0), np.linspace(30, 0, 15), np.zeros(30)]
    )
    clip = resample(passing(0, np.cumsum(speed)), np.arange(120) / 30)
    assert clip.cuts == 0


def test_a_sudden_change_of_light_is_no_cut():
    frames = [
        frame if k < 45 else (frame * 0.5).astype(np.uint8) for k, frame in enumerate(passing(0, np.arange(90) * 3))
    ]
    assert resample(frames, np.arange(90) / 30).cuts == 0


def test_isolated_repeated_frames_are_dropped_and_the_rest_keep_their_times():
    frames = passing(0, np.arange(90) * 3)
    rng = np.random.default_rng(0)
    for k in range(4, 90, 5):  # every fifth frame repeats its predecessor, with coding noise
        frames[k] = np.clip(np.rint(frames[k - 1] + rng.normal(0, 1, frames[k].shape)), 0, 255).astype(np.uint8)
    clip = resample(frames, np.arange(90) / 30)
    assert (clip.repeated, clip.cuts, clip.standstill_s) == (18, 0, 0)
    assert not np.isclose(clip.times_s[:, None] * 30, np.arange(4, 90, 5)).any()
    assert clip.source_hz == pytest.approx(30)


def test_standstill_stays_and_is_counted():
    offsets = np.concatenate([np.arange(30) * 3, np.full(30, 87), 87 + np.arange(30) * 3])
    clip = resample(passing(0, offsets), np.arange(90) / 30)
    assert clip.repeated == 0 and len(clip.frames) == 30
    assert clip.standstill_s == pytest.approx(31 / 30, abs=0.02)


def test_a_still_run_of_a_third_of_a_second_is_standstill_and_a_shorter_one_is_not():
    times = np.arange(40) / 30
    changes = np.full(40, 5.0)
    changes[10:15] = 0.0  # 5 frames after the one before: 0.17 s
    changes[20:30] = 0.0  # 10 frames: 0.33 s
    verdict = judge(times, Changes(mean=changes, peak=changes, novelty=np.zeros(40)))
    assert np.flatnonzero(verdict.repeated).tolist() == list(range(10, 15))
    assert np.flatnonzero(verdict.still).tolist() == list(range(20, 30))


@pytest.mark.parametrize("block", [7, 64])
def test_what_is_found_does_not_depend_on_the_block_length(block: int, monkeypatch: pytest.MonkeyPatch):
    offsets = np.concatenate([np.arange(50) * 3, np.full(40, 147), 147 + np.arange(30) * 3])
    frames = passing(0, offsets) + passing(1, np.arange(40) * 3)
    for k in range(4, 50, 5):
        frames[k] = frames[k - 1]
    times = np.arange(160) / 30
    whole = resample(frames, times)
    monkeypatch.setattr(resampling, "BLOCK", block)
    blocks = resample(frames, times)
    np.testing.assert_array_equal(blocks.times_s, whole.times_s)
    np.testing.assert_array_equal(blocks.shots, whole.shots)
    assert (blocks.repeated, blocks.cuts, blocks.standstill_s) == (whole.repeated, whole.cuts, whole.standstill_s)


def test_novelty_ignores_a_shift_and_light_but_not_another_place():
    first, shifted, elsewhere = (
        small_grey(frame) for frame in [*passing(0, np.array([0, 12])), passing(1, np.zeros(1))[0]]
    )
    assert change(first, shifted)[2] < 0.1
    assert change(first, first * 0.6 + 20)[2] < 0.01
    assert change(first, elsewhere)[2] > 0.3


def test_the_grid_takes_the_nearest_frame_and_none_twice():
    grid, picked = Grid(rate_hz=10.0), []
    for number, time in enumerate([0.0, 0.04, 0.09, 0.13, 0.17, 0.21, 0.26, 0.31]):
        picked += grid.offer(number, time, False)
    assert [number for number, _ in picked] == [0, 2, 5, 7] and grid.holes == 0


def real_frames(path: Path, first: int, count: int) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        pictures = itertools.islice(container.decode(video=0), first, first + count)
        return [picture.reformat(160, 96, "rgb24", interpolation="AREA").to_ndarray() for picture in pictures]


@pytest.mark.skipif(not REAL.is_dir(), reason="no real data")
@pytest.mark.parametrize("hz", [30, 10])
def test_joins_of_real_clips_are_found_and_nothing_else(hz: int):
    step = 30 // hz
    pieces = [real_frames(path, 60, 60)[::step] for path in sorted((REAL / "video").glob("*.mp4"))]
    order = [0, 1, 2, 3, 4, 2, 0, 3, 1, 4, 0]
    frames = [frame for piece in order for frame in pieces[piece]]
    clip = resample(frames, np.arange(len(frames)) / hz, rate_hz=min(10.0, hz))
    assert clip.cuts == len(order) - 1
