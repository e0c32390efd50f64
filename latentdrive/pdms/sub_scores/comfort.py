"""Comfort: six smoothed signals of the simulated states, each within its bounds (6.7 in v1, 6.8 in v2).

Comfort is measured on the simulated states and not on the plan itself. v1 fits one parabola to all 41 states; v2 smooths over short
windows, puts the driver's history in front, and moves accelerations to the middle of the car.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from latentdrive.nuplan_vehicle import REAR_TO_CENTRE_M
from latentdrive.pdms.scene import AX, AY, HEADING, STEPS, YAW_ACCELERATION, YAW_RATE
from latentdrive.pdms.sub_scores.smoothing import round8, smooth, unwrap

LONGITUDINAL_MPS2, LATERAL_MPS2, JERK_MPS3, LONGITUDINAL_JERK_MPS3 = (
    (-4.05, 2.40),
    (-4.89, 4.89),
    (-8.37, 8.37),
    (-4.13, 4.13),
)
YAW_ACCELERATION_RADPS2, YAW_RATE_RADPS = (-1.93, 1.93), (-0.95, 0.95)
BOUNDS = (LONGITUDINAL_MPS2, LATERAL_MPS2, JERK_MPS3, LONGITUDINAL_JERK_MPS3, YAW_ACCELERATION_RADPS2, YAW_RATE_RADPS)
SHORT, YAW_WINDOW = 8, 5  # windows; yaw keeps 5 whatever the reference asks for
WHOLE, HISTORY_JERK = STEPS, 15  # windows of v1's accelerations and jerks, and of v2's jerks

Signals = tuple[Float64[Tensor, "*batch T"], ...]  # in the order of BOUNDS


def comfort(states: Float64[Tensor, "*batch 41 11"]) -> Float[Tensor, "*batch"]:
    """Comfort of v1: 1 where all six signals stay strictly within their bounds, else 0."""
    return within_bounds(comfort_signals(states)).all(-1).to(states.dtype)


def history_comfort(
    states: Float64[Tensor, "*batch 41 11"], history: Float64[Tensor, "*scenes h 11"]
) -> Float[Tensor, "*batch"]:
    """History comfort of v2. history: ego states before now, of axes that broadcast with those of `states`; of length 0: 1."""
    if not history.shape[-2]:
        return states.new_ones(states.shape[:-2])
    return within_bounds(history_comfort_signals(states, history)).all(-1).to(states.dtype)


def comfort_signals(states: Float64[Tensor, "*batch 41 11"]) -> Signals:
    """Accelerations (longitudinal, lateral), jerks (of the norm, longitudinal), yaw acceleration, yaw rate, as v1 smooths them."""
    ax, ay = states[..., AX], states[..., AY]
    return (
        round8(smooth(ax, WHOLE, 2)),
        round8(smooth(ay, WHOLE, 2)),
        _jerk(torch.hypot(ax, ay), WHOLE),
        _jerk(ax, WHOLE),
        *_yaw(states[..., HEADING]),
    )


def history_comfort_signals(
    states: Float64[Tensor, "*batch 41 11"], history: Float64[Tensor, "*scenes h 11"]
) -> Signals:
    """The same six with the history in front, as v2 smooths them."""

    def column(of: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.cat([of(history).expand(*states.shape[:-2], -1), of(states)], -1)

    ax, ay = column(lambda one: one[..., AX]), column(lambda one: one[..., AY])
    # The reference adds both angular terms along the car, both with a plus sign, and nothing across it.
    middle = column(
        lambda one: one[..., AX] + REAR_TO_CENTRE_M * (one[..., YAW_RATE] ** 2 + one[..., YAW_ACCELERATION])
    )
    return (
        round8(smooth(middle, SHORT, 2)),
        round8(smooth(ay, SHORT, 2)),
        _jerk(torch.hypot(ax, ay), HISTORY_JERK),
        _jerk(middle, HISTORY_JERK),
        *_yaw(column(lambda one: one[..., HEADING])),
    )


def within_bounds(signals: Signals) -> Bool[Tensor, "*batch 6"]:
    """Which of the six stay strictly within their bounds."""
    return torch.stack([(one > low).all(-1) & (one < high).all(-1) for one, (low, high) in zip(signals, BOUNDS)], -1)


def _jerk(acceleration: Float64[Tensor, "*batch T"], window: int) -> Float64[Tensor, "*batch T"]:
    return round8(smooth(round8(smooth(acceleration, SHORT, 2)), window, 2, 1))


def _yaw(heading: Float64[Tensor, "*batch T"]) -> tuple[Float64[Tensor, "*batch T"], Float64[Tensor, "*batch T"]]:
    heading = unwrap(heading)
    return round8(smooth(heading, YAW_WINDOW, 3, 2)), round8(smooth(heading, YAW_WINDOW, 2, 1))
