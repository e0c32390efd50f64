"""Baselines for predicted codes: the code frequencies of each slot, and the last transition repeated.

Both are counted on the training windows and judged on held-out ones, in nats a slot, and look at no
picture. The last transition is the one that ended at t0: its codes are the first slots of the window
that starts one transition earlier in the same clip.
"""

from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int64

from latentdrive.data.latent_store import LatentStore

NEAR = 0.2  # how far an earlier window may lie from one transition before t0, in transitions
PRIOR = 4.0  # pseudo-counts, drawn from the slot's frequencies, of every row of the repetition table


def code_baselines(train: LatentStore, held_out: LatentStore, *, held_out_rows: list[int]) -> dict[str, float]:
    """Numbers of both baselines on the given rows of `held_out`.

    marginal_nats: of the frequencies of each slot. repeat_nats: given the last transition. Both also
    end in `_first`, for the slots of the first transition. repeat_top1: share of slots in which the
    repeated code is the true one. repeat_known: share of rows whose last transition is in the store.
    """
    first = train.info.codes_per_transition
    codes, judged = train.codes(), held_out.codes()[held_out_rows]
    last, judged_last = last_transition(train), last_transition(held_out)[held_out_rows]
    marginal = frequencies(codes, size=train.info.codes)
    marginal_nats = -np.log(marginal[np.arange(codes.shape[1]), judged])
    repeat_nats = _repeat_nats(codes, last, judged, judged_last, marginal)
    known = judged_last[:, 0] >= 0
    repeated = np.tile(judged_last, (1, codes.shape[1] // first))
    return {
        "marginal_nats": float(marginal_nats.mean()),
        "marginal_nats_first": float(marginal_nats[:, :first].mean()),
        "repeat_nats": float(repeat_nats.mean()),
        "repeat_nats_first": float(repeat_nats[:, :first].mean()),
        "repeat_top1": float((repeated == judged)[known].mean()) if known.any() else 0.0,
        "repeat_known": float(known.mean()),
    }


def frequencies(codes: Int64[np.ndarray, "N A"], *, size: int) -> Float64[np.ndarray, "A K"]:
    """Share of each of `size` codes in each slot, with every code counted once more than it occurs."""
    counts = np.stack([np.bincount(column, minlength=size) for column in codes.T]) + 1.0
    return counts / counts.sum(1, keepdims=True)


def last_transition(store: LatentStore) -> Int64[np.ndarray, "N a"]:
    """Codes of the transition that ended at each window's t0; -1 where no window of the clip starts there."""
    first, length = store.info.codes_per_transition, store.info.transition_s
    last = np.full((len(store), first), -1, np.int64)
    codes, keys = store.codes(), np.asarray(store.keys)
    order = np.lexsort((store.t0_s, keys))
    bounds = np.flatnonzero(np.r_[True, keys[order][1:] != keys[order][:-1], True])
    for begin, end in pairwise(bounds):
        rows = order[begin:end]
        times = store.t0_s[rows]
        before = np.clip(np.searchsorted(times, times - length * (1 - NEAR)) - 1, 0, None)
        near = np.abs(times - length - times[before]) <= NEAR * length
        last[rows[near]] = codes[rows[before[near]], :first]
    return last


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
