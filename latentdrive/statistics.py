"""How sure a number is: bootstrap intervals that resample whole drives, and what a sample says of the whole.

Beside geometry.py at the bottom of the import order. Windows of one drive look alike, so resampling windows would promise far
too much; a drive is drawn or not drawn as a whole.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student_t

from latentdrive.errors import WrongShape

SURE = 1.96  # standard errors to each side of a mean that hold 95 %


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its bootstrap interval. drives: how many were resampled; values: how many numbers they hold."""

    mean: float
    low: float
    high: float
    drives: int
    values: int

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}] ({self.values} windows of {self.drives} drives)"


def bootstrap_by_drive(
    values: Float[np.ndarray, "N"],
    drives: Sequence[str],
    *,
    samples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Mean of `values` and its percentile interval when whole drives are drawn with replacement.

    For two models on the same windows give the differences: the interval is then a paired one. Raises WrongShape where
    the two lists differ in length or are empty.
    """
    values = np.asarray(values, np.float64)
    if len(values) != len(drives) or len(values) == 0:
        raise WrongShape(f"bootstrap_by_drive: {len(values)} values for {len(drives)} drives; one drive a value")
    names, which = np.unique(np.asarray(drives), return_inverse=True)
    sums = np.bincount(which, weights=values)
    counts = np.bincount(which).astype(np.float64)
    draws = np.random.default_rng(seed).integers(0, len(names), (samples, len(names)))
    means = sums[draws].sum(1) / counts[draws].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean=float(values.mean()), low=float(low), high=float(high), drives=len(names), values=len(values))


def over_trainings(
    values: Float[np.ndarray, "S N"], drives: Sequence[str], *, samples: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Mean of N values over S trainings of different seeds, with an interval for the mean over all trainings like these, on all drives.

    `bootstrap_by_drive` of the means over S speaks of these S trainings alone. Here its half width and that of Student's t interval over the
    means of the trainings are added as independent errors (latentdrive default): wide for few seeds, for three it is 2.5 deviations. A single
    new training varies more than that. Raises WrongShape for fewer than two trainings.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        raise WrongShape(
            f"over_trainings: {len(values)} training says nothing of how far trainings lie apart; give at least 2"
        )
    found = bootstrap_by_drive(values.mean(0), drives, samples=samples, level=level, seed=seed)
    apart = values.mean(1).std(ddof=1) / math.sqrt(len(values)) * student_t.ppf((1 + level) / 2, len(values) - 1)
    half = math.hypot((found.high - found.low) / 2, float(apart))
    return replace(found, low=found.mean - half, high=found.mean + half)


def ratio_by_drive(
    numerator: Float[np.ndarray, "N"],
    denominator: Float[np.ndarray, "N"],
    drives: Sequence[str] | np.ndarray,
    *,
    samples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Sum of `numerator` over sum of `denominator`, with its percentile interval when whole drives are drawn.

    Serves shares of an error (error / copy error), costs, and unexplained variance (squared error / squared deviation).
    Over nothing (a target that never changes) it is NaN or infinite, without a warning.
    """
    if not len(numerator) == len(denominator) == len(drives) or len(drives) == 0:
        raise WrongShape(f"ratio_by_drive: {len(numerator)} over {len(denominator)} values for {len(drives)} drives")
    names, which = np.unique(np.asarray(drives), return_inverse=True)
    above, below = np.bincount(which, weights=numerator), np.bincount(which, weights=denominator)
    draws = np.random.default_rng(seed).integers(0, len(names), (samples, len(names)))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, shares = above.sum() / below.sum(), above[draws].sum(1) / below[draws].sum(1)
        low, high = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean=float(mean), low=float(low), high=float(high), drives=len(names), values=len(which))


def drives_needed(values: Float[np.ndarray, "N"], drives: Sequence[str]) -> int | None:
    """How many drives like these it would take until the 95 % interval of the mean excludes 0, if the mean stays as it is.

    The smallest n with 1.96 · sd / √n < |mean|, so n > (1.96 · sd / mean)². sd is what one drive more or less moves the mean by: the
    deviation over drives (D - 1 below) of sum_d(value - mean) / c, where c is the mean number of values a drive; with equally many a drive
    that is the deviation of the drives' means. At this n a true difference of the size is found half of the time: plan for more.
    None where the mean is 0, or there is one drive, which says nothing of others. Raises WrongShape as bootstrap_by_drive does.
    """
    values = np.asarray(values, np.float64)
    if len(values) != len(drives) or len(values) == 0:
        raise WrongShape(f"drives_needed: {len(values)} values for {len(drives)} drives; one drive a value")
    names, which = np.unique(np.asarray(drives), return_inverse=True)
    mean = values.mean()
    if mean == 0 or len(names) == 1:
        return None
    moves = np.bincount(which, weights=values - mean) * len(names) / len(values)
    variance = (moves**2).sum() / (len(names) - 1)
    return math.floor(SURE**2 * variance / mean**2) + 1


def chance_of_as_many(found: int, *, drawn: int, marked: int, of: int) -> float:
    """How likely at least `found` marked ones are among `drawn` of `of` things where `marked` of these are marked."""
    ways = (math.comb(marked, i) * math.comb(of - marked, drawn - i) for i in range(found, min(marked, drawn) + 1))
    return sum(ways) / math.comb(of, drawn)
