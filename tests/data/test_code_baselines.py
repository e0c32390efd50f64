"""Baselines of code prediction, worked by hand on two codes and two slots a transition."""

import numpy as np
import pytest
import torch

from latentdrive.data.code_baselines import (
    agreement_baselines,
    frequencies,
    last_transition,
    surprise_baselines,
)
from latentdrive.data.latent_store import LatentStore, LatentWriter, Windows
from latentdrive.types import LatentActions, Origin
from tests.support.latent import make_info

INFO = {"codes": 2, "transitions": 2, "codes_per_transition": 1, "origin": Origin.INVERSE_DYNAMICS}


def make_store(folder, codes: list[list[int]], times: list[float], clips: list[int]) -> LatentStore:
    writer = LatentWriter(folder, make_info(**INFO))
    latents = LatentActions(
        codes=torch.tensor(codes),
        environment=None,
        logits=None,
        features=None,
        codebook_id="book-a",
        origin=Origin.INVERSE_DYNAMICS,
    )
    names = sorted(set(clips))
    windows = Windows(
        keys=[f"c{i}" for i in names],
        drives=[f"d{i}" for i in names],
        clip=np.array(clips),
        t0_s=np.array(times),
        latents=latents,
        known=np.ones((len(codes), 1), bool),
    )
    writer.add(windows, next_clip=1, unreadable=[])
    writer.finish()
    return LatentStore(folder)


def test_frequencies_count_every_code_once_more():
    # Slot 1: three 0 and no 1 → 4/5 and 1/5; slot 2: one 0 and two 1 → 2/5 and 3/5.
    np.testing.assert_allclose(frequencies(np.array([[0, 0], [0, 1], [0, 1]]), size=2), [[0.8, 0.2], [0.4, 0.6]])


def test_the_last_transition_is_the_window_one_transition_earlier_in_the_same_clip(tmp_path):
    store = make_store(
        tmp_path, [[0, 0], [1, 1], [0, 1], [1, 0], [1, 0]], times=[0.0, 0.48, 1.0, 1.8, 0.5], clips=[0, 0, 0, 0, 1]
    )
    # 0.48 s lies near enough to 0.5 s after 0.0. 1.8 s lies 0.8 s after 1.0, which is too late. Clip 1
    # has no earlier window.
    assert last_transition(store)[:, 0].tolist() == [-1, 0, 1, -1, -1]


def test_a_window_that_started_earlier_holds_the_last_transition_as_a_later_one(tmp_path):
    """One window a second and transitions of half a second, as in the demo: no window starts one transition earlier."""
    store = make_store(tmp_path, [[0, 1], [1, 0], [0, 0]], times=[0.0, 1.0, 2.0], clips=[0, 0, 0])
    assert last_transition(store)[:, 0].tolist() == [-1, 1, 0]
    rows = {"held_out_rows": [0, 1, 2]}
    numbers = agreement_baselines(store, store, **rows)
    # Frequent: 0 and 0. Repeated: 0 0 (unknown), 1 1, 0 0.
    assert numbers == {
        "marginal_top1": pytest.approx(4 / 6),
        "repeat_top1": pytest.approx(4 / 6),
        "repeat_known": pytest.approx(2 / 3),
    }
    assert (
        surprise_baselines(store, store, **rows)["repeat_nats"]
        != surprise_baselines(store, store, **rows)["marginal_nats"]
    )


def test_baselines_by_hand(tmp_path):
    codes, times = [[0, 0], [0, 0], [0, 0], [0, 0]], [0.0, 0.5, 1.0, 1.5]
    train = make_store(tmp_path / "train", codes, times, clips=[0, 0, 0, 0])
    held_out = make_store(tmp_path / "val", [[0, 0], [0, 1]], [0.0, 0.5], clips=[0, 0])
    rows = {"held_out_rows": [0, 1]}
    numbers = surprise_baselines(train, held_out, **rows) | agreement_baselines(train, held_out, **rows)
    likely, rare = -np.log(5 / 6), -np.log(1 / 6)
    assert numbers["marginal_nats"] == pytest.approx((3 * likely + rare) / 4)
    assert numbers["marginal_nats_first"] == pytest.approx(likely)
    # After a 0 (three times in training) a 0 has probability (4 x 5/6 + 3) / 7. The first window has no
    # last transition: (4 x 5/6 + 1) / 5.
    known, unknown = (4 * 5 / 6 + 3) / 7, (4 * 5 / 6 + 1) / 5
    assert numbers["repeat_nats"] == pytest.approx(-(2 * np.log(unknown) + np.log(known) + np.log(1 - known)) / 4)
    # A window without a last transition is given the most frequent codes, so that all windows count.
    assert numbers["repeat_top1"] == numbers["marginal_top1"] == pytest.approx(0.75)
    assert numbers["repeat_known"] == pytest.approx(0.5)


def test_where_no_past_is_known_repeating_is_naming_the_most_frequent_codes(tmp_path):
    train = make_store(tmp_path / "train", [[0, 0], [1, 1], [1, 0]], times=[0.0, 5.0, 9.0], clips=[0, 0, 0])
    numbers = agreement_baselines(train, train, held_out_rows=[0, 1, 2])
    assert numbers["repeat_known"] == 0
    assert numbers["repeat_top1"] == numbers["marginal_top1"] == pytest.approx(4 / 6)
