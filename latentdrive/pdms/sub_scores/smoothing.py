"""Savitzky-Golay filters as constant matrices, and headings without jumps: what the comfort sub-scores look at.

A filter is a least-squares polynomial through `window` samples, read at the middle (or differentiated there); the first and
last half windows are read off the polynomial through the first and last full window. Over a batch that is one matrix product.
Section 6.7 of the specification; scipy makes the matrices. An even window shifts by half a sample: output i of the interior is
the fit through samples i - window/2 + 1 .. i + window/2, read at i + 1/2.
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float64
from scipy.signal import savgol_filter
from torch import Tensor

from latentdrive.errors import WrongShape
from latentdrive.pdms.scene import STEP_S

TURN = 2.0 * np.pi


@lru_cache(maxsize=64)
def smoothing_matrix(
    samples: int, window: int, order: int, derivative: int, step_s: float
) -> Float64[np.ndarray, "n n"]:
    """The filter over `samples` equidistant samples as a read-only matrix: filtered = matrix @ signal.

    order: degree of the polynomial. derivative: 0 smooths, 1 and 2 differentiate (per second, per second squared). Raises
    WrongShape where the window is longer than the signal, or too short for the polynomial.
    """
    if not order < window <= samples:
        raise WrongShape(
            f"smoothing_matrix: window {window} over {samples} samples, polynomial of degree {order}: "
            "expected degree < window <= samples"
        )
    matrix = savgol_filter(np.eye(samples), window, order, deriv=derivative, delta=step_s, axis=0, mode="interp")
    matrix.setflags(write=False)
    return matrix


def smooth(
    signals: Float64[Tensor, "*batch n"], window: int, order: int, derivative: int = 0
) -> Float64[Tensor, "*batch n"]:
    """Signals of n steps of 0.1 s in the last axis, filtered; not rounded."""
    return signals @ _transposed(signals.shape[-1], window, order, derivative, signals.device)


@lru_cache(maxsize=64)
def _transposed(samples: int, window: int, order: int, derivative: int, device: torch.device) -> Float64[Tensor, "n n"]:
    step_s = float(np.diff(np.arange(samples) * STEP_S).mean()) if samples > 1 else STEP_S  # an ulp off 0.1, as scored
    return torch.tensor(smoothing_matrix(samples, window, order, derivative, step_s).T.copy(), device=device)


def round8(signals: Float64[Tensor, "*batch"]) -> Float64[Tensor, "*batch"]:
    """To 8 decimals, half to even, so that noise of the last bits moves no bound."""
    return torch.round(signals, decimals=8)


def unwrap(headings: Float64[Tensor, "*batch n"]) -> Float64[Tensor, "*batch n"]:
    """Headings of successive steps, radians, without jumps by whole turns; a jump by exactly half a turn stays (half to even)."""
    turns = torch.round(torch.diff(headings, dim=-1, prepend=headings[..., :1]) / TURN)
    return headings - TURN * torch.cumsum(turns, -1)
