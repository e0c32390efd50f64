"""Decides which moments of a drive become scenes: those at which constant velocity would not do.

NAVSIM leaves out what is too easy. A moment is a candidate if constant velocity leaves the human's
path by more than a bound within the horizon; point_scores.py decides which candidates are kept.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float64

from latentdrive.geometry import relative_pose


def deviation_m(
    ego: Float64[np.ndarray, "F 3"], speed: Float64[np.ndarray, "F"], *, horizon: int, step_s: float
) -> Float64[np.ndarray, "F"]:
    """Return the largest distance (metres) of constant velocity from the true future of each pose.

    ego: poses, step_s apart. speed: m/s. horizon: number of future poses; NaN where there are
    fewer.
    """
    deviations = np.full(len(ego), np.nan)
    for now in range(len(ego) - horizon):
        future = relative_pose(np.broadcast_to(ego[now], (horizon, 3)), ego[now + 1 : now + 1 + horizon])
        straight = speed[now] * step_s * np.arange(1, horizon + 1)
        deviations[now] = np.hypot(future[:, 0] - straight, future[:, 1]).max()
    return deviations


def dealt(candidates: Sequence[Sequence[int]], number: int) -> list[list[int]]:
    """Choose `number` of the candidates, as equally from each drive as possible, in pairs spread
    evenly inside each drive.

    candidates: rows of each drive's log, in order of time. If there are fewer than `number`, all
    are chosen. A pair is two successive rows, because NAVSIM's extended comfort compares a scene
    with the one half a second before it.
    """
    quota = [0] * len(candidates)
    left = min(number, sum(map(len, candidates)))
    while left:
        unused = [index for index, rows in enumerate(candidates) if quota[index] < len(rows)]
        share = max(1, left // len(unused))
        for index in unused:
            more = min(share, len(candidates[index]) - quota[index], left)
            quota[index] += more
            left -= more
    return [_in_pairs(rows, count) for rows, count in zip(candidates, quota)]


def _in_pairs(rows: Sequence[int], count: int) -> list[int]:
    """Choose `count` of the rows: evenly spread pairs first, then single rows."""
    pairs: list[tuple[int, int]] = []
    for before, row in pairwise(rows):
        if row == before + 1 and not (pairs and pairs[-1][1] == before):
            pairs.append((before, row))
    number = min((count + 1) // 2, len(pairs))
    picked = np.floor((np.arange(number) + 0.5) * len(pairs) / max(number, 1)).astype(int)
    chosen = [row for pair in picked for row in pairs[pair]]
    return sorted((chosen + [row for row in rows if row not in chosen])[:count])
