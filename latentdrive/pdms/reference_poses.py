"""From a planned trajectory to the 41 poses, 0.1 s apart, that the simulated car follows: the first step of scoring.

NAVSIM computes times in floating-point seconds and truncates them to whole microseconds, so that
some knots lie a microsecond early. At 10 m/s that is 1e-5 m, and it is repeated here (docs/pdms.md,
section 2).
"""

import math

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from latentdrive.pdms.scene import STEP_S, STEPS

US = 1_000_000


def wrap_pv(angle: Tensor) -> Tensor:
    """The same angle in [-pi, pi), radians."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def to_global(now: Float64[Tensor, "B 3"], poses: Float64[Tensor, "B M P 3"]) -> Float64[Tensor, "B M P 3"]:
    """Poses given in the frame of `now`, converted to the frame of `now` itself by a product of SE(2) matrices."""
    now = now[:, None, None]
    cos, sin = now[..., 2].cos(), now[..., 2].sin()
    own_cos, own_sin = poses[..., 2].cos(), poses[..., 2].sin()
    x = cos * poses[..., 0] - sin * poses[..., 1] + now[..., 0]
    y = sin * poses[..., 0] + cos * poses[..., 1] + now[..., 1]
    return torch.stack([x, y, torch.atan2(sin * own_cos + cos * own_sin, cos * own_cos - sin * own_sin)], -1)


def reference_poses(
    now: Float64[Tensor, "B 3"], poses: Float64[Tensor, "B M P 3"], *, dt_s: float, times_us: list[int]
) -> Float64[Tensor, "B M 41 3"]:
    """The poses to follow, 0.1 s apart from now on, in the frame of `now` itself.

    A plan shorter than 4 s stays at its last pose.

    now: true pose of the rear axle. poses: planned, as seen from `now`, the first one dt_s later.
    times_us: time of now in each scene.
    """
    knots = torch.cat([now[:, None, None].expand(-1, poses.shape[1], 1, -1), to_global(now, poses)], 2)
    times = [_knots_and_queries(time, poses.shape[2], dt_s) for time in times_us]
    return interpolate(knots, [knot for knot, _ in times], [query for _, query in times])


def interpolate(
    knots: Float64[Tensor, "B M n 3"], knot_us: list[np.ndarray], query_us: list[np.ndarray]
) -> Float64[Tensor, "B M 41 3"]:
    """Poses at the query times: positions and unwrapped headings are linear in time; headings end up in [-pi, pi)."""
    below, weight = zip(*(_places(knot, query) for knot, query in zip(knot_us, query_us)))
    below = torch.from_numpy(np.stack(below)).to(knots.device)[:, None, :, None]
    weight = torch.from_numpy(np.stack(weight)).to(knots.device, knots.dtype)[:, None, :, None]
    turns = knots[..., 2:].diff(dim=2)
    unwrapped = knots[..., 2:].clone()
    unwrapped[:, :, 1:] -= 2 * math.pi * torch.round(turns / (2 * math.pi)).cumsum(2)
    knots = torch.cat([knots[..., :2], unwrapped], -1)
    rows = below.expand(-1, knots.shape[1], -1, 3)
    low, high = knots.gather(2, rows), knots.gather(2, rows + 1)
    poses = low + (high - low) * weight
    return torch.cat([poses[..., :2], wrap_pv(poses[..., 2:])], -1)


def reference_of_knots(knots: Float64[Tensor, "B 51 3"], times_us: list[int]) -> Float64[Tensor, "B 1 41 3"]:
    """PDM-Closed's trajectory, resampled as any other. Its knots lie exactly 0.1 s apart."""
    even = [time + np.arange(knots.shape[1]) * (US // 10) for time in times_us]
    queries = [np.clip(_queries(time), knot[0], knot[-1]) for time, knot in zip(times_us, even)]
    return interpolate(knots[:, None], even, queries)


def _knots_and_queries(time_us: int, poses: int, dt_s: float) -> tuple[np.ndarray, np.ndarray]:
    after = np.arange(poses) * dt_s + dt_s
    knots = np.concatenate([[time_us], np.trunc((time_us * 1e-6 + after) * 1e6).astype(np.int64)])
    return knots, np.clip(_queries(time_us), knots[0], knots[-1])


def _queries(time_us: int) -> np.ndarray:
    return np.trunc((np.arange(0.0, STEPS * STEP_S, STEP_S)[:STEPS] + time_us * 1e-6) * 1e6).astype(np.int64)


def _places(knots: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each query, the knot before it and the share of the way to the next knot."""
    below = np.clip(np.searchsorted(knots, queries, side="left") - 1, 0, len(knots) - 2)
    return below, (queries - knots[below]) / (knots[below + 1] - knots[below])
