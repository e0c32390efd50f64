"""How certain a number is: bootstrap intervals that resample whole drives, and what a sample says about the whole.

Windows of one drive look alike. To resample windows would therefore promise intervals that are far
too narrow, and drives are drawn as a whole. A drive is one recording; data may come as several
pieces of it, and `recording_of` knows which pieces belong together.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int64
from scipy.stats import t as student_t

from latentdrive.counting import counted
from latentdrive.errors import WrongShape

NORMAL_95 = 1.96  # standard errors to each side of a mean that hold 95 % of a normal distribution
# nuPlan and OpenScene cut a recording into logs: DATE_veh-NUMBER_FIRST_LAST, where the last two are seconds.
PIECE = re.compile(r"(?P<recording>.+_veh-\d+)_\d+_\d+")


def recording_of(drive: str) -> str:
    """The recording that a source's name of a drive belongs to: the logs of one nuPlan recording are one drive.

    All other names are those of recordings, and stay.
    """
    piece = PIECE.fullmatch(drive)
    return drive if piece is None else piece["recording"]


def recordings(drives: Sequence[str] | np.ndarray) -> tuple[np.ndarray, Int64[np.ndarray, "N"]]:
    """The recordings of N values, each once and in order, and for each value the place of its recording.

    drives: names, or numbers that stand for recordings.
    """
    names = np.asarray(drives)
    if names.dtype.kind in "UO":
        names = np.array([recording_of(str(name)) for name in names])
    return np.unique(names, return_inverse=True)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its interval.

    low, high: ends of the interval; NaN where there is one drive, which does not show how drives
    differ. drives: number of drives that were resampled; values: number of values they hold. unit:
    what was resampled, if no drives were.
    """

    mean: float
    low: float
    high: float
    drives: int
    values: int
    unit: str = "drive"

    def ends(self, form: str, *, between: str = "[{}, {}]") -> str:
        """Both ends in words. form: of each number. between: puts them together."""
        if self.drives == 1:
            return f"one {self.unit}: no interval"
        return between.format(format(self.low, form), format(self.high, form))

    def within(self, form: str) -> str:
        """The mean, and both ends in brackets behind it."""
        ends = self.ends(form)
        return f"{self.mean:{form}} {f'({ends})' if self.drives == 1 else ends}"

    def __str__(self) -> str:
        return f"{self.within('.4f')} ({counted(self.values, 'window')} of {counted(self.drives, self.unit)})"


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
    one. A single drive has no interval. Raises WrongShape if the two lists differ in length or are empty.
    """
    values = np.asarray(values, np.float64)
    if len(values) != len(drives) or len(values) == 0:
        raise WrongShape(
            f"bootstrap_by_drive got {counted(len(values), 'value')} and {counted(len(drives), 'drive')}: give one "
            "drive for each value"
        )
    names, group = recordings(drives)
    sums = np.bincount(group, weights=values)
    counts = np.bincount(group).astype(np.float64)
    low, high = _ends(sums, counts, samples=samples, level=level, seed=seed)
    return Interval(mean=float(values.mean()), low=low, high=high, drives=len(names), values=len(values))


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
            f"over_trainings got {counted(len(values), 'training')}, which does not show how trainings vary: give at "
            "least 2"
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
            f"ratio_by_drive got {counted(len(numerator), 'numerator')}, {counted(len(denominator), 'denominator')} "
            f"and {counted(len(drives), 'drive')}: give one of each for each value"
        )
    names, group = recordings(drives)
    above, below = np.bincount(group, weights=numerator), np.bincount(group, weights=denominator)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = above.sum() / below.sum()
        low, high = _ends(above, below, samples=samples, level=level, seed=seed)
    return Interval(mean=float(mean), low=low, high=high, drives=len(names), values=len(group))


def auroc_by_drive(
    ranks: Float[np.ndarray, "N"],
    positive: Bool[np.ndarray, "N"],
    drives: Sequence[str],
    *,
    samples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval | None:
    """Area under the ROC curve, with its percentile interval when whole drives are drawn with replacement.

    It is the probability that a positive value ranks above a negative one, ties counting half: 0.5 is chance.
    None where there are no positives, or only positives. Raises WrongShape as bootstrap_by_drive does.
    """
    if not len(ranks) == len(positive) == len(drives) or len(drives) == 0:
        raise WrongShape(
            f"auroc_by_drive got {counted(len(ranks), 'value')}, {counted(len(positive), 'label')} and "
            f"{counted(len(drives), 'drive')}: give one of each for each value"
        )
    if positive.all() or not positive.any():
        return None
    names, group = recordings(drives)
    ordered, place = np.unique(ranks, return_inverse=True)
    by_drive = np.zeros((2, len(names), len(ordered)))  # negatives and positives of each drive at each rank
    np.add.at(by_drive, (positive.astype(int), group, place), 1)
    negatives, positives = by_drive
    below = np.cumsum(negatives, 1) - negatives / 2  # negatives of each drive below a rank, ties half
    wins = positives @ below.T  # [drive of the positive, drive of the negative]
    draws = np.random.default_rng(seed).integers(0, len(names), (samples, len(names)))
    times = np.stack([np.bincount(draw, minlength=len(names)) for draw in draws]).astype(np.float64)
    with np.errstate(invalid="ignore"):
        drawn = np.einsum("sd,de,se->s", times, wins, times, optimize=True)
        drawn /= (times @ positives.sum(1)) * (times @ negatives.sum(1))
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2]) if len(names) > 1 else (math.nan, math.nan)
    mean = wins.sum() / (positives.sum() * negatives.sum())
    return Interval(mean=float(mean), low=float(low), high=float(high), drives=len(names), values=len(group))


def _ends(above: np.ndarray, below: np.ndarray, *, samples: int, level: float, seed: int) -> tuple[float, float]:
    """Percentiles of sum over sum when whole drives are drawn with replacement. above, below: sums of each drive."""
    if len(above) == 1:
        return math.nan, math.nan
    draws = np.random.default_rng(seed).integers(0, len(above), (samples, len(above)))
    low, high = np.quantile(above[draws].sum(1) / below[draws].sum(1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


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
            f"drives_needed got {counted(len(values), 'value')} and {counted(len(drives), 'drive')}: give one drive "
            "for each value"
        )
    names, group = recordings(drives)
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
