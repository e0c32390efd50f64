"""Which moments of a drive become scenes: those where going on as before would not do.

NAVSIM leaves out what is too easy. Until a score is at hand, a moment counts if constant velocity leaves the human's path by more
than a bound within the horizon.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float64

from latentdrive.geometry import relative_pose


def deviation_m(
    ego: Float64[np.ndarray, "F 3"], speed: Float64[np.ndarray, "F"], *, horizon: int, step_s: float
) -> Float64[np.ndarray, "F"]:
    """How far constant velocity is from each pose's true future at most, over the next `horizon` poses; NaN where they end."""
    result = np.full(len(ego), np.nan)
    for now in range(len(ego) - horizon):
        future = relative_pose(np.broadcast_to(ego[now], (horizon, 3)), ego[now + 1 : now + 1 + horizon])
        straight = speed[now] * step_s * np.arange(1, horizon + 1)
        result[now] = np.hypot(future[:, 0] - straight, future[:, 1]).max()
    return result


def dealt(candidates: Sequence[Sequence[int]], number: int) -> list[list[int]]:
    """`number` of the candidates, as evenly from each drive as there are, in pairs that are spread evenly inside each.

    candidates: rows of each drive's log, in order of time. Fewer are given where there are fewer. A pair is two rows in
    succession, because NAVSIM's extended comfort compares a scene with the one half a second before it.
    """
    quota = [0] * len(candidates)
    left = min(number, sum(map(len, candidates)))
    while left:
        open_ones = [index for index, rows in enumerate(candidates) if quota[index] < len(rows)]
        share = max(1, left // len(open_ones))
        for index in open_ones:
            given = min(share, len(candidates[index]) - quota[index], left)
            quota[index] += given
            left -= given
    return [_in_pairs(rows, count) for rows, count in zip(candidates, quota)]


def _in_pairs(rows: Sequence[int], count: int) -> list[int]:
    """`count` of the rows: pairs, spread evenly, then rows alone."""
    pairs: list[tuple[int, int]] = []
    for before, row in pairwise(rows):
        if row == before + 1 and not (pairs and pairs[-1][1] == before):
            pairs.append((before, row))
    wanted = min((count + 1) // 2, len(pairs))
    picked = np.floor((np.arange(wanted) + 0.5) * len(pairs) / max(wanted, 1)).astype(int)
    chosen = [row for pair in picked for row in pairs[pair]]
    return sorted((chosen + [row for row in rows if row not in chosen])[:count])
