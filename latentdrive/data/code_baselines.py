"""Baselines for predicted codes: the code frequencies of each slot, and the last transition repeated.

Both are counted on the training windows and judged on held-out ones, and look at no picture. The last
transition is the one that ended at t0; an earlier window of the same clip holds its codes. Those of a
codebook come from frames up to t0 alone, because its inverse dynamics is causal over the transitions.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float64, Int64

from latentdrive.data.latent_store import LatentStore
from latentdrive.types import FROZEN

NEAR = 0.2  # how far an earlier window may lie from one transition before t0, in transitions
PRIOR = 4.0  # pseudo-counts, drawn from the slot's frequencies, of every row of the repetition table


@dataclass(**FROZEN)
class Guesses:
    """Codes that are guessed without looking at a picture.

    frequent: the most frequent code of each slot. repeated: the last transition, repeated for every
    transition of the window; the most frequent codes where it is unknown. known: windows whose last
    transition is known.
    """

    frequent: Int64[np.ndarray, "A"]
    repeated: Int64[np.ndarray, "N A"]
    known: Bool[np.ndarray, "N"]


def guess(store: LatentStore, *, codes: Int64[np.ndarray, "M A"]) -> Guesses:
    """Guesses for every window of `store`. codes: those of which the most frequent ones are named."""
    last = last_transition(store)
    known = last[:, 0] >= 0
    frequent = frequencies(codes, size=store.info.codes).argmax(1)
    repeated = np.tile(last, (1, store.info.transitions))
    return Guesses(frequent=frequent, repeated=np.where(known[:, None], repeated, frequent), known=known)


def agreement_baselines(train: LatentStore, held_out: LatentStore, *, held_out_rows: list[int]) -> dict[str, float]:
    """What guesses reach on the given rows of `held_out`, as shares of the slots.

    marginal_top1: the most frequent code of each slot in `train`. repeat_top1: the last transition
    repeated, and the most frequent code where it is unknown. repeat_known: share of rows whose last
    transition is known; at 0 both guesses are the same.
    """
    guesses, judged = guess(held_out, codes=train.codes()), held_out.codes()[held_out_rows]
    return {
        "marginal_top1": float((guesses.frequent == judged).mean()),
        "repeat_top1": float((guesses.repeated[held_out_rows] == judged).mean()),
        "repeat_known": float(guesses.known[held_out_rows].mean()),
    }


def surprise_baselines(train: LatentStore, held_out: LatentStore, *, held_out_rows: list[int]) -> dict[str, float]:
    """Surprise of both baselines by the given rows of `held_out`, in nats a slot.

    marginal_nats: of the frequencies of each slot. repeat_nats: given the last transition. Both also
    end in `_first`, for the slots of the first transition.
    """
    first = train.info.codes_per_transition
    codes, judged = train.codes(), held_out.codes()[held_out_rows]
    last, judged_last = last_transition(train), last_transition(held_out)[held_out_rows]
    marginal = frequencies(codes, size=train.info.codes)
    marginal_nats = -np.log(marginal[np.arange(codes.shape[1]), judged])
    repeat_nats = _repeat_nats(codes, last, judged, judged_last, marginal)
    return {
        "marginal_nats": float(marginal_nats.mean()),
        "marginal_nats_first": float(marginal_nats[:, :first].mean()),
        "repeat_nats": float(repeat_nats.mean()),
        "repeat_nats_first": float(repeat_nats[:, :first].mean()),
    }


def frequencies(codes: Int64[np.ndarray, "N A"], *, size: int) -> Float64[np.ndarray, "A K"]:
    """Share of each of `size` codes in each slot, with every code counted once more than it occurs."""
    counts = np.stack([np.bincount(column, minlength=size) for column in codes.T]) + 1.0
    return counts / counts.sum(1, keepdims=True)


def last_transition(store: LatentStore) -> Int64[np.ndarray, "N a"]:
    """Codes of the transition that ended at each window's t0; -1 where no window of the clip holds it.

    A window that starts k transitions earlier holds it as its k-th. The nearest such window counts.
    """
    first = store.info.codes_per_transition
    last, codes, keys = np.full((len(store), first), -1, np.int64), store.codes(), np.asarray(store.keys)
    order = np.lexsort((store.t0_s, keys))
    bounds = np.flatnonzero(np.r_[True, keys[order][1:] != keys[order][:-1], True])
    for begin, end in pairwise(bounds):
        rows = order[begin:end]
        for back in range(1, store.info.transitions + 1):
            before, near = _earlier(store.t0_s[rows], back, store.info.transition_s)
            near &= last[rows, 0] < 0
            last[rows[near]] = codes[rows[before[near]], (back - 1) * first : back * first]
    return last


def _earlier(
    times: Float64[np.ndarray, "N"], back: int, transition_s: float
) -> tuple[Int64[np.ndarray, "N"], Bool[np.ndarray, "N"]]:
    """For each of a clip's rising times, the place of the time `back` transitions before, and whether there is one."""
    before = np.clip(np.searchsorted(times, times - transition_s * (back - NEAR)) - 1, 0, None)
    return before, np.abs(times - back * transition_s - times[before]) <= NEAR * transition_s


def _repeat_nats(
    codes: Int64[np.ndarray, "N A"],
    last: Int64[np.ndarray, "N a"],
    judged: Int64[np.ndarray, "M A"],
    judged_last: Int64[np.ndarray, "M a"],
    marginal: Float64[np.ndarray, "A K"],
) -> Float64[np.ndarray, "M A"]:
    """-log p(code | code at the same place of the last transition), from one table a slot; its last row
    means unknown.
    """
    slots, size = marginal.shape
    nats = np.zeros(judged.shape)
    for slot in range(slots):
        place = slot % last.shape[1]
        table = np.tile(PRIOR * marginal[slot], (size + 1, 1))
        np.add.at(table, (last[:, place], codes[:, slot]), 1.0)  # an unknown code is -1, the last row
        table /= table.sum(1, keepdims=True)
        nats[:, slot] = -np.log(table[judged_last[:, place], judged[:, slot]])
    return nats
