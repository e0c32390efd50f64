"""Windows and batches: what they hold, and that a batch is a function of (seed, step)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from latentdrive.data.batches.augmentation import NO_AUGMENTATION, Augmentation
from latentdrive.data.batches.streams import shuffled
from latentdrive.data.batches.transition_stream import TransitionStream, loader
from latentdrive.data.batches.transitions import WindowSpec
from latentdrive.data.batches.windows import make_batch
from latentdrive.data.unreadable import read_unreadable
from latentdrive.errors import ConfigError, NoClips, TooManyUnreadable
from tests.support.windows import SPEC, DamagedTruth, FakeSource, log


def stream(source=None, **changed) -> TransitionStream:
    options = {
        "source": source or FakeSource(),
        "spec": SPEC,
        "batch_size": 6,
        "pairs_per_clip": 2,
        "seed": 0,
        "start_step": 0,
        "steps": 20,
        "take": "frames",
        "patch_grid": None,
        "augmentation": NO_AUGMENTATION,
        "unreadable": log(),
    }
    return TransitionStream(**(options | changed))


def same(a, b) -> bool:
    return torch.equal(a.frames, b.frames) and torch.equal(a.motion, b.motion) and torch.equal(a.start, b.start)


def test_frames_of_a_window_are_half_a_second_apart():
    batch = make_batch(FakeSource(), [(3, 7)], SPEC, take="frames", patch_grid=None)
    assert batch.frames[0, :, 0, 0, 1].tolist() == [7, 12, 17]
    assert (batch.clip.item(), batch.start.item()) == (3, 7)


def test_motion_on_a_left_circle_is_forward_and_to_the_left():
    batch = make_batch(FakeSource(), [(0, 0)], SPEC, take="frames", patch_grid=None)
    # 5 m of a circle of 100 m radius: the chord is 5 m, 0.125 m to the left, and the car turns by 0.05 rad.
    expected = [100 * np.sin(0.05), 100 * (1 - np.cos(0.05)), 0.05, 10.0]
    np.testing.assert_allclose(batch.motion[0].numpy(), [expected, expected], atol=1e-4)
    assert batch.motion_known.tolist() == [True]


def test_no_window_spans_a_cut():
    assert SPEC.starts(FakeSource(clips=1, cut=15)[0]).tolist() == [0, 1, 2, 3, 4, *range(15, 30)]


def test_a_batch_is_a_function_of_seed_and_step():
    first, again = stream(), stream(start_step=9)
    for _ in range(3):
        first.batch(0)  # what was drawn before doesn't matter
    assert same(first.batch(9), again.batch(9))
    assert not same(first.batch(9), stream(seed=1).batch(9))
    assert not same(first.batch(9), first.batch(10))


def test_workers_give_the_same_batches_in_the_same_order_as_none():
    alone = list(loader(stream(steps=5), workers=0, pin_memory=False))
    two = list(loader(stream(steps=5), workers=2, pin_memory=False))
    assert len(alone) == len(two) == 5
    assert all(same(a, b) for a, b in zip(alone, two))


def test_resuming_at_a_step_continues_where_it_was():
    whole = list(stream(steps=6))
    rest = list(stream(steps=6, start_step=4))
    assert len(rest) == 2 and all(same(a, b) for a, b in zip(whole[4:], rest))


def test_ranks_read_disjoint_clips_and_together_every_clip_once_an_epoch():
    source = FakeSource(clips=12)
    ranks = [stream(source, rank=rank, ranks=2) for rank in range(2)]
    seen = [np.unique(each.batch(step).clip) for step in range(2) for each in ranks]
    assert sorted(np.concatenate(seen).tolist()) == list(range(12))


@pytest.mark.parametrize("count", [1, 2, 7, 64, 1000])
def test_the_keyed_shuffle_is_a_permutation(count: int):
    places = [shuffled(place, count, key=(3, 0)) for place in range(count)]
    assert sorted(places) == list(range(count))
    if count > 2:
        assert places != [shuffled(place, count, key=(3, 1)) for place in range(count)]


def test_an_unreadable_clip_is_skipped_the_same_way_each_time_counted_and_named(tmp_path):
    file = tmp_path / "unreadable.csv"
    unreadable = log(file=file)
    source = FakeSource(bad=(2, 5))
    batches = list(stream(source, unreadable=unreadable))
    assert all(same(a, b) for a, b in zip(batches, stream(FakeSource(bad=(2, 5)))))
    assert not {2, 5} & {int(clip) for batch in batches for clip in batch.clip}
    assert len(unreadable) == 2
    assert sorted(read_unreadable(file)) == [("clip_2.mp4", "made unreadable"), ("clip_5.mp4", "made unreadable")]
    assert source.opened.count(2) == 1, "a clip that failed is not tried again"
    assert "2 of 7 clips unreadable (28.57%, limit 50.00%)" in unreadable.summary()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_clip_whose_truth_is_damaged_is_skipped_counted_and_named(tmp_path: Path, workers: int):
    file = tmp_path / "unreadable.csv"
    damaged = stream(DamagedTruth(), patch_grid=(2, 2), unreadable=log(file=file))
    batches = list(loader(damaged, workers=workers, pin_memory=False))
    assert len(batches) == 20 and 2 not in torch.cat([batch.clip for batch in batches])
    assert read_unreadable(file) == [("clip_2.truth.npz", "made unreadable")]
    without = stream(DamagedTruth(), unreadable=log(share=0.0))  # where no truth is asked for, none is missed
    assert 2 in torch.cat([batch.clip for batch in without])


def test_too_many_unreadable_clips_end_the_run_with_the_last_reason():
    with pytest.raises(TooManyUnreadable, match=r"1 of 7 .*allows 1\.00%.*made unreadable.*max_unreadable"):
        list(stream(FakeSource(bad=(2,)), unreadable=log(share=0.01)))


def test_a_clip_shorter_than_a_window_says_how_short_and_is_not_unreadable(tmp_path):
    unreadable = log(share=0.0, file=tmp_path / "unreadable.csv")
    with pytest.raises(NoClips, match="longest shot has 10 frames at 10 Hz, a window needs 11"):
        stream(FakeSource(frames=10), unreadable=unreadable).batch(0)
    assert unreadable.summary().startswith("0 of 7 clips unreadable (0.00%, limit 0.00%); 7 too short for a window: ")
    assert len(read_unreadable(tmp_path / "too_short.csv")) == 7 and not (tmp_path / "unreadable.csv").exists()


def test_a_clip_that_is_not_cached_is_decoded_once_a_batch():
    source = FakeSource()
    stream(source, patch_grid=(2, 2)).batch(0)
    assert len(source.opened) == len(set(source.opened)) == 3


def test_a_transition_that_is_no_whole_number_of_frames_is_refused_with_rates_that_fit():
    with pytest.raises(ConfigError, match=r"2\.5 frames at data\.rate_hz=10.*one of 8, 12"):
        WindowSpec(transitions=1, transition_s=0.25, rate_hz=10.0)


def test_mirrored_windows_turn_the_other_way():
    flip = Augmentation(flip=True, crop_share=1.0)
    draws = np.array([[0.1, 0, 0, 0], [0.9, 0, 0, 0]], np.float32)
    batch = make_batch(
        FakeSource(), [(1, 8), (1, 8)], SPEC, take="frames", patch_grid=(2, 2), augmentation=flip, draws=draws
    )
    mirrored, kept = batch.frames
    assert torch.equal(mirrored, kept.flip(-1)) and kept[0, 0, 0, 0] == 201
    torch.testing.assert_close(batch.motion[0], batch.motion[1] * torch.tensor([1.0, -1, -1, 1]))
    assert batch.moving[1, 0].tolist() == [[1, 0], [0, 0]] and batch.moving[0, 0].tolist() == [[0, 1], [0, 0]]


def test_a_patch_counts_as_moving_if_a_box_covers_it_at_either_end():
    batch = make_batch(FakeSource(), [(0, 0), (0, 5)], SPEC, take="frames", patch_grid=(4, 2))
    upper_left = [[1, 0], [1, 0], [0, 0], [0, 0]]
    assert batch.moving[0].sum() == 2  # frames 0, 5, 10: only the second transition ends with the agent in view
    assert batch.moving[0, 1].tolist() == batch.moving[1, 0].tolist() == upper_left


def test_a_crop_keeps_the_size_and_moves_the_boxes_along():
    crop = Augmentation(flip=False, crop_share=0.5)
    draws = np.zeros((1, 4), np.float32)  # the smallest crop, in the upper left corner: all under the agent's box
    batch = make_batch(FakeSource(), [(0, 20)], SPEC, take="frames", patch_grid=(2, 2), augmentation=crop, draws=draws)
    assert batch.frames.shape == (1, 3, 3, 4, 6)
    assert batch.moving.min() == 1


def test_stored_features_are_not_augmented_in_silence():
    with pytest.raises(ConfigError, match=r"data\.cache=frames"):
        make_batch(
            FakeSource(),
            [(0, 0)],
            SPEC,
            take="features",
            patch_grid=None,
            augmentation=Augmentation(flip=True, crop_share=1.0),
        )


def test_a_batch_moves_as_one():
    batch = make_batch(FakeSource(), [(0, 0)], SPEC, take="frames", patch_grid=None).to("cpu")
    assert batch.frames.dtype == torch.uint8 and batch.features is None
