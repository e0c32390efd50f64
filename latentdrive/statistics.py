"""How certain a number is: bootstrap intervals that resample whole drives, and what a sample says about the whole.

Windows of one drive look alike. To resample windows would therefore promise intervals that are far
too narrow, and drives are drawn as a whole.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student_t

from latentdrive.errors import WrongShape

NORMAL_95 = 1.96  # standard errors to each side of a mean that hold 95 % of a normal distribution


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its interval. drives: number of drives that were resampled; values: number of values they hold."""

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

    To compare two models on the same windows, give the differences: the interval is then a paired
    one. Raises WrongShape if the two lists differ in length or are empty.
    """
    values = np.asarray(values, np.float64)
    if len(values) != len(drives) or len(values) == 0:
        raise WrongShape(
            f"bootstrap_by_drive got {len(values)} values and {len(drives)} drives: give one drive for each value"
        )
    names, group = np.unique(np.asarray(drives), return_inverse=True)
    sums = np.bincount(group, weights=values)
    counts = np.bincount(group).astype(np.float64)
    draws = np.random.default_rng(seed).integers(0, len(names), (samples, len(names)))
    means = sums[draws].sum(1) / counts[draws].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean=float(values.mean()), low=float(low), high=float(high), drives=len(names), values=len(values))


def over_trainings(
    values: Float[np.ndarray, "S N"], drives: Sequence[str], *, samples: int = 2000, level: float = 0.95, seed: int = 0
) -> Interval:
    """Mean of N values over S trainings with different seeds, and an interval for the mean over all
    such trainings and drives.

    `bootstrap_by_drive` of the means over S describes these S trainings alone. Here its half width
    and that of Student's t interval over the means of the trainings are added as independent errors
    (latentdrive default). The result is wide for few seeds: 2.5 standard deviations for three. A
    single new training varies more than that. Raises WrongShape for fewer than two trainings.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        raise WrongShape(
            f"over_trainings got {len(values)} training, which does not show how trainings vary: give at least 2"
        )
    over_drives = bootstrap_by_drive(values.mean(0), drives, samples=samples, level=level, seed=seed)
    over_seeds = values.mean(1).std(ddof=1) / math.sqrt(len(values)) * student_t.ppf((1 + level) / 2, len(values) - 1)
    half = math.hypot((over_drives.high - over_drives.low) / 2, float(over_seeds))
    return replace(over_drives, low=over_drives.mean - half, high=over_drives.mean + half)


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

    Used for shares of an error (error / copy error), for costs, and for unexplained variance
    (squared error / squared deviation). If the denominator is 0 (a target that never changes), the
    result is NaN or infinite, without a warning. Raises WrongShape as bootstrap_by_drive does.
    """
    if not len(numerator) == len(denominator) == len(drives) or len(drives) == 0:
        raise WrongShape(
            f"ratio_by_drive got {len(numerator)} numerators, {len(denominator)} denominators and {len(drives)} "
            "drives: give one of each for each value"
        )
    names, group = np.unique(np.asarray(drives), return_inverse=True)
    above, below = np.bincount(group, weights=numerator), np.bincount(group, weights=denominator)
    draws = np.random.default_rng(seed).integers(0, len(names), (samples, len(names)))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, shares = above.sum() / below.sum(), above[draws].sum(1) / below[draws].sum(1)
        low, high = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean=float(mean), low=float(low), high=float(high), drives=len(names), values=len(group))


def drives_needed(values: Float[np.ndarray, "N"], drives: Sequence[str]) -> int | None:
    """Number of drives like these at which the 95 % interval of the mean excludes 0, if the mean stays as it is.

    This is the smallest n with 1.96 · sd / √n < |mean|, so n > (1.96 · sd / mean)². sd is the
    standard deviation over the D drives (with D - 1 in the denominator) of sum_d(value - mean) / c,
    where c is the mean number of values of a drive; if all drives have equally many values, that is
    the standard deviation of the drives' means. With n drives, a true difference of this size is
    found half of the time, so plan for more. None if the mean is 0, or if there is only one drive.
    Raises WrongShape as bootstrap_by_drive does.
    """
    values = np.asarray(values, np.float64)
    if len(values) != len(drives) or len(values) == 0:
        raise WrongShape(
            f"drives_needed got {len(values)} values and {len(drives)} drives: give one drive for each value"
        )
    names, group = np.unique(np.asarray(drives), return_inverse=True)
    mean = values.mean()
    if mean == 0 or len(names) == 1:
        return None
    moves = np.bincount(group, weights=values - mean) * len(names) / len(values)
    variance = (moves**2).sum() / (len(names) - 1)
    return math.floor(NORMAL_95**2 * variance / mean**2) + 1


def upper_tail_probability(count: int, *, drawn: int, marked: int, of: int) -> float:
    """Hypergeometric probability of `count` or more marked items in a draw without replacement.

    drawn: size of the draw. marked: number of marked items among all `of` items.
    """
    ways = (math.comb(marked, i) * math.comb(of - marked, drawn - i) for i in range(count, min(marked, drawn) + 1))
    return sum(ways) / math.comb(of, drawn)


def evenly_spread(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`, evenly spread, first and last included."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist()
