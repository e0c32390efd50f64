"""Which windows are held out: all of a few clips, some of many, and always the same."""

import pytest

from latentdrive.data.batches.held_out import WINDOWS_A_CLIP, pick_windows
from latentdrive.errors import NoClips
from tests.support.windows import SPEC, DamagedTruth, FakeSource, log


def pick(source: FakeSource, most: int, **changed) -> list[tuple[int, int]]:
    options = {"unreadable": log(clips=len(source)), "watch": iter, "with_truth": True}
    return pick_windows(source, SPEC, most=most, **options | changed)


def test_few_clips_give_all_of_their_windows_mixed():
    windows = pick(FakeSource(clips=3), 1000)  # 40 frames, a window spans 10: 30 starts
    assert sorted(windows) == [(clip, start) for clip in range(3) for start in range(30)]
    assert len({clip for clip, _ in windows[:8]}) == 3
    assert windows == pick(FakeSource(clips=3), 1000)


def test_of_many_clips_no_more_are_opened_than_needed():
    source = FakeSource(clips=500)
    windows = pick(source, 40)
    assert len(windows) == 40 and len(source.opened) == 10
    by_clip = [clip for clip, _ in windows]
    assert all(by_clip.count(clip) == WINDOWS_A_CLIP for clip in by_clip)
    assert len(set(by_clip[:8])) >= 4, "clips are mixed within a batch"
    assert windows == pick(FakeSource(clips=500), 40)


def test_many_clips_of_which_most_are_unreadable_still_give_as_many_as_there_are():
    source = FakeSource(clips=20, bad=tuple(range(1, 20)))
    assert len(pick(source, 40, unreadable=log(clips=20, share=1.0))) == 30  # all of the one clip that is left


def test_a_clip_whose_truth_is_damaged_is_held_out_where_truth_is_not_needed_only():
    assert {clip for clip, _ in pick(DamagedTruth(clips=3), 1000)} == {0, 1}
    assert {clip for clip, _ in pick(DamagedTruth(clips=3), 1000, with_truth=False)} == {0, 1, 2}


def test_progress_is_shown_where_many_clips_are_opened():
    watched = []
    pick(FakeSource(clips=300), 480, watch=lambda indices: watched.append(indices) or indices)
    pick(FakeSource(clips=3), 480, watch=lambda indices: watched.append(indices) or indices)
    assert watched == [range(120)]


def test_no_window_at_all_says_what_to_change():
    with pytest.raises(NoClips, match=r"7 too short for a window.*give longer clips"):
        pick(FakeSource(frames=10), 5)
