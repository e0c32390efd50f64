"""Which moments of a drive become scenes: those where going on as before would not do.

NAVSIM leaves out what is too easy. Until a score is at hand, a moment counts if constant velocity leaves the human's path by more
than a bound within the horizon.
"""

from collections.abc import Sequence

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


def dealt(candidates: Sequence[Sequence[str]], number: int) -> list[list[str]]:
    """`number` of the candidates, as evenly from each drive as there are, in pairs that are spread evenly inside each.

    candidates: tokens of each drive in order of time. Fewer are given where there are fewer. Pairs, because NAVSIM's extended
    comfort compares a scene with the one half a second before it.
    """
    quota = [0] * len(candidates)
    left = min(number, sum(map(len, candidates)))
    while left:
        open_ones = [index for index, tokens in enumerate(candidates) if quota[index] < len(tokens)]
        share = max(1, left // len(open_ones))
        for index in open_ones:
            given = min(share, len(candidates[index]) - quota[index], left)
            quota[index] += given
            left -= given
    return [[tokens[row] for row in _in_pairs(len(tokens), count)] for tokens, count in zip(candidates, quota)]


def _in_pairs(length: int, count: int) -> list[int]:
    """`count` of `length` rows: neighbours two by two, and one alone where count is odd, spread evenly."""
    pairs = [(start, start + 1) for start in range(0, length - 1, 2)]
    wanted = min((count + 1) // 2, len(pairs))
    picked = np.floor((np.arange(wanted) + 0.5) * len(pairs) / max(wanted, 1)).astype(int)
    rows = [row for pair in picked for row in pairs[pair]]
    return sorted((rows + [row for row in range(length) if row not in rows])[:count])
