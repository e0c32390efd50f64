"""Extended comfort (v2): whether the plans for two scenes half a second apart agree where they overlap.

A planner that changes its mind from scene to scene drives jerkily, although each plan is smooth.
States are simulated ones, with columns as in scene.py. Specified in docs/pdms.md, section 6.11.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from latentdrive.counting import counted
from latentdrive.errors import WrongShape
from latentdrive.pdms.scene import AX, AY, HEADING, STEP_S
from latentdrive.pdms.sub_scores.comfort import round8, smooth, unwrap
from latentdrive.types import FROZEN

FARTHEST_S = 0.55  # scenes this far apart or farther are no pair
BOUNDS = {"acceleration": 0.7, "jerk": 0.5, "yaw_rate": 0.1, "yaw_acceleration": 0.1}  # m/s^2, m/s^3, rad/s, rad/s^2


@dataclass(**FROZEN)
class PlanDifferences:
    """Root mean squares of the differences between two plans, over their overlap.

    overlap: steps by which the earlier scene is shifted.
    """

    acceleration: Float64[Tensor, "R"]
    jerk: Float64[Tensor, "R"]
    yaw_rate: Float64[Tensor, "R"]
    yaw_acceleration: Float64[Tensor, "R"]
    overlap: Int64[Tensor, "R"]

    @property
    def comfortable(self) -> Bool[Tensor, "R"]:
        """Whether all four are within their bounds. Plans with NaN are not."""
        within = [getattr(self, name) <= bound for name, bound in BOUNDS.items()]
        return torch.stack(within).all(0)


def extended_comfort(
    now_states: Float64[Tensor, "R 41 11"],
    previous_states: Float64[Tensor, "R 41 11"],
    interval_s: Float64[Tensor, "R"],
) -> Bool[Tensor, "R"]:
    """EC of R pairs of scenes; True stands for 1.

    interval_s: by how much each scene starts after the previous one (see the function of this
    name); above 0, below 0.55 s.
    """
    return plan_differences(now_states, previous_states, interval_s).comfortable


def plan_differences(
    now_states: Float64[Tensor, "R 41 11"],
    previous_states: Float64[Tensor, "R 41 11"],
    interval_s: Float64[Tensor, "R"],
) -> PlanDifferences:
    """The differences that `extended_comfort` compares with its bounds.

    Raises WrongShape for an interval that makes no pair.
    """
    if not ((interval_s > 0.0) & (interval_s < FARTHEST_S)).all():
        raise WrongShape(
            f"extended comfort: scenes {interval_s.tolist()} s apart; expected more than 0 and less than {FARTHEST_S} s"
        )
    overlap = torch.round(interval_s / STEP_S).to(torch.int64)
    rms = now_states.new_zeros(len(BOUNDS), len(now_states))
    for shift in torch.unique(overlap).tolist():
        rows = overlap == shift
        now = _signals(now_states[rows, : now_states.shape[1] - shift])
        previous = _signals(previous_states[rows, shift:])
        rms[:, rows] = (now - previous).square().mean(-1).sqrt()
    return PlanDifferences(**dict(zip(BOUNDS, rms)), overlap=overlap)


def _signals(states: Float64[Tensor, "r n 11"]) -> Float64[Tensor, "4 r n"]:
    """The signals in the order of BOUNDS, all at the rear axle."""
    acceleration = round8(smooth(torch.hypot(states[..., AX], states[..., AY]), 8, 2))
    heading = unwrap(states[..., HEADING])
    turning = [round8(smooth(heading, 5, 2, derivative)) for derivative in (1, 2)]
    return torch.stack([acceleration, round8(smooth(acceleration, 15, 2, 1)), *turning])


def interval_s(now_us: int, previous_us: int) -> float:
    """Time between two scenes.

    A difference of seconds and not of microseconds, because the devkit rounds it that way.
    """
    return now_us * 1e-6 - previous_us * 1e-6


def pairs(drives: Sequence[str], times_us: Int64[np.ndarray, "N"]) -> list[tuple[int, int]]:
    """Pairs (previous, now) of scenes, as indices in the order of now.

    drives, times_us: of the scenes that are evaluated, in any order. previous is the latest scene
    of the drive that started before now. If it started 0.55 s before or earlier, now has no pair
    and no EC.
    """
    if len(drives) != len(times_us):
        raise WrongShape(
            f"pairs: {counted(len(drives), 'drive')} for {counted(len(times_us), 'time')}; expected one drive "
            "for each time"
        )
    before: dict[int, int] = {}
    last: dict[str, int] = {}  # by drive: the latest scene so far
    earlier: dict[str, int] = {}  # by drive: the latest scene that started before `last` did
    for now in np.lexsort((np.arange(len(times_us)), times_us)).tolist():
        drive = drives[now]
        if drive in last and times_us[last[drive]] < times_us[now]:
            earlier[drive] = last[drive]
        last[drive] = now
        if drive in earlier and interval_s(int(times_us[now]), int(times_us[earlier[drive]])) < FARTHEST_S:
            before[now] = earlier[drive]
    return [(before[now], now) for now in sorted(before)]
