"""Comfort: six smoothed signals of the simulated states, each within its bounds.

Specified in docs/pdms.md, section 6.7 for v1 and 6.8 for v2. Comfort is measured on the simulated
states and not on the plan itself. v1 fits one parabola to all 41 states. v2 smooths over short
windows, puts the driver's history in front, and moves accelerations to the centre of the car.

The filters are Savitzky-Golay filters as constant matrices, made by scipy: a least-squares
polynomial through `window` samples is read, or differentiated, at their middle. The first and last
half windows are read off the polynomial through the first and last full window. An even window
shifts by half a sample: output i of the interior is the fit through samples i - window/2 + 1 … i +
window/2, read at i + 1/2.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from scipy.signal import savgol_filter
from torch import Tensor

from latentdrive.errors import WrongShape
from latentdrive.nuplan_vehicle import REAR_TO_CENTRE_M
from latentdrive.pdms.scene import AX, AY, HEADING, STEP_S, STEPS, YAW_ACCELERATION, YAW_RATE

LONGITUDINAL_MPS2, LATERAL_MPS2 = (-4.05, 2.40), (-4.89, 4.89)
JERK_MPS3, LONGITUDINAL_JERK_MPS3 = (-8.37, 8.37), (-4.13, 4.13)
YAW_ACCELERATION_RADPS2, YAW_RATE_RADPS = (-1.93, 1.93), (-0.95, 0.95)
BOUNDS = (LONGITUDINAL_MPS2, LATERAL_MPS2, JERK_MPS3, LONGITUDINAL_JERK_MPS3, YAW_ACCELERATION_RADPS2, YAW_RATE_RADPS)
SHORT, YAW_WINDOW = 8, 5  # windows; the one of yaw stays 5 although the devkit asks for a longer one
WHOLE, HISTORY_JERK = STEPS, 15  # windows of v1's accelerations and jerks, and of v2's jerks
TURN = 2.0 * np.pi

Signals = tuple[Float64[Tensor, "*batch T"], ...]  # the signals that BOUNDS limits, in its order


def comfort(states: Float64[Tensor, "*batch 41 11"]) -> Float[Tensor, "*batch"]:
    """Comfort of v1: 1 if all six signals stay strictly within their bounds, else 0."""
    return within_bounds(comfort_signals(states)).all(-1).to(states.dtype)


def history_comfort(
    states: Float64[Tensor, "*batch 41 11"], history: Float64[Tensor, "*scenes h 11"]
) -> Float[Tensor, "*batch"]:
    """History comfort of v2; 1 without a history.

    history: ego states before now; its axes broadcast with those of `states`.
    """
    if not history.shape[-2]:
        return states.new_ones(states.shape[:-2])
    return within_bounds(history_comfort_signals(states, history)).all(-1).to(states.dtype)


def comfort_signals(states: Float64[Tensor, "*batch 41 11"]) -> Signals:
    """The six signals as v1 smooths them.

    They are longitudinal and lateral acceleration, jerk of the norm, longitudinal jerk, yaw
    acceleration and yaw rate.
    """
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
    """The same six signals with the history in front, as v2 smooths them."""

    def column(read: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.cat([read(history).expand(*states.shape[:-2], -1), read(states)], -1)

    ax, ay = column(lambda rows: rows[..., AX]), column(lambda rows: rows[..., AY])
    # The devkit adds both angular terms along the car, both with a plus sign, and nothing across it.
    centre = column(
        lambda rows: rows[..., AX] + REAR_TO_CENTRE_M * (rows[..., YAW_RATE] ** 2 + rows[..., YAW_ACCELERATION])
    )
    return (
        round8(smooth(centre, SHORT, 2)),
        round8(smooth(ay, SHORT, 2)),
        _jerk(torch.hypot(ax, ay), HISTORY_JERK),
        _jerk(centre, HISTORY_JERK),
        *_yaw(column(lambda rows: rows[..., HEADING])),
    )


def within_bounds(signals: Signals) -> Bool[Tensor, "*batch 6"]:
    """Which of the six signals stay strictly within their bounds."""
    inside = [(signal > low).all(-1) & (signal < high).all(-1) for signal, (low, high) in zip(signals, BOUNDS)]
    return torch.stack(inside, -1)


def _jerk(acceleration: Float64[Tensor, "*batch T"], window: int) -> Float64[Tensor, "*batch T"]:
    return round8(smooth(round8(smooth(acceleration, SHORT, 2)), window, 2, 1))


def _yaw(heading: Float64[Tensor, "*batch T"]) -> tuple[Float64[Tensor, "*batch T"], Float64[Tensor, "*batch T"]]:
    heading = unwrap(heading)
    return round8(smooth(heading, YAW_WINDOW, 3, 2)), round8(smooth(heading, YAW_WINDOW, 2, 1))


@lru_cache(maxsize=64)
def smoothing_matrix(
    samples: int, window: int, order: int, derivative: int, step_s: float
) -> Float64[np.ndarray, "n n"]:
    """The filter over `samples` equidistant samples as a read-only matrix: filtered = matrix @ signal.

    order: degree of the polynomial. derivative: 0 smooths; 1 and 2 differentiate (per second, per
    second squared). Raises WrongShape if the window is longer than the signal, or too short for the
    polynomial.
    """
    if not order < window <= samples:
        raise WrongShape(
            f"smoothing_matrix: window {window} over {samples} samples with a polynomial of degree {order}; "
            "expected degree < window <= samples"
        )
    matrix = savgol_filter(np.eye(samples), window, order, deriv=derivative, delta=step_s, axis=0, mode="interp")
    matrix.setflags(write=False)
    return matrix


def smooth(
    signals: Float64[Tensor, "*batch n"], window: int, order: int, derivative: int = 0
) -> Float64[Tensor, "*batch n"]:
    """Signals filtered over the last axis, whose n steps are 0.1 s apart; not rounded."""
    return signals @ _transposed(signals.shape[-1], window, order, derivative, signals.device)


@lru_cache(maxsize=64)
def _transposed(samples: int, window: int, order: int, derivative: int, device: torch.device) -> Float64[Tensor, "n n"]:
    step_s = float(np.diff(np.arange(samples) * STEP_S).mean()) if samples > 1 else STEP_S  # an ulp off 0.1, as scored
    return torch.tensor(smoothing_matrix(samples, window, order, derivative, step_s).T.copy(), device=device)


def round8(signals: Float64[Tensor, "*batch"]) -> Float64[Tensor, "*batch"]:
    """Rounded to 8 decimals, halves to even, so that noise in the last bits crosses no bound."""
    return torch.round(signals, decimals=8)


def unwrap(headings: Float64[Tensor, "*batch n"]) -> Float64[Tensor, "*batch n"]:
    """Headings of successive steps, radians, without jumps by whole turns.

    A jump by exactly half a turn stays (half to even).
    """
    turns = torch.round(torch.diff(headings, dim=-1, prepend=headings[..., :1]) / TURN)
    return headings - TURN * torch.cumsum(turns, -1)
