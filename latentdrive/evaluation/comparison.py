"""Two evaluations, scene by scene: which differences are more than chance.

Beside summary.py. Scenes are paired by token, and whole drives are resampled: the interval is one of the differences, which are
far steadier than the two means. A difference counts as shown only where its interval excludes 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentdrive.errors import ConfigError
from latentdrive.evaluation.results import Results
from latentdrive.evaluation.summary import read_evaluation
from latentdrive.pdms.versions import Version
from latentdrive.statistics import Interval, bootstrap_by_drive
from latentdrive.types import FROZEN


@dataclass(**FROZEN)
class Comparison:
    """B against A on the scenes that both scored. names: of the two folders. differences: B minus A, by column, the total first.

    means: of A and B on the same scenes. only: scenes that one of the two alone has, left out.
    """

    names: tuple[str, str]
    version: Version
    scenes: int
    only: tuple[int, int]
    means: dict[str, tuple[float, float]]
    differences: dict[str, Interval]

    def sentence(self) -> str:
        """One line for the terminal."""
        total = self.differences["score"]
        verdict = "shown" if is_shown(total) else "not shown: the interval holds 0"
        other = [name.replace("_", " ") for name, one in self.differences.items() if name != "score" and is_shown(one)]
        text = (
            f"{self.names[1]} minus {self.names[0]}, {self.version}: {total.mean:+.4f} [{total.low:+.4f}, {total.high:+.4f}] on "
            f"{total.values:,} scenes of {total.drives:,} drives ({verdict})"
        )
        return text + (f"; sub-scores that differ: {', '.join(other)}" if other else "; no sub-score differs")


def is_shown(difference: Interval) -> bool:
    """Whether the interval excludes 0. One drive has no interval to speak of, and shows nothing."""
    return difference.drives > 1 and (difference.low > 0 or difference.high < 0)


def short_names(folders: Sequence[Path]) -> list[str]:
    """The last part of each path, or as many parts as tell all of them apart."""
    names = [folder.name for folder in folders]
    for parts in range(2, max(len(folder.parts) for folder in folders) + 1):
        if len(set(names)) == len(set(folders)):
            break
        names = ["/".join(folder.parts[-parts:]) for folder in folders]
    return names


def compare_folders(first: str | Path, second: str | Path) -> Comparison:
    """The comparison of two evaluations' folders. Raises ConfigError where one is none, or the scores are of two versions."""
    (a, _), (b, _) = read_evaluation(first), read_evaluation(second)
    short = short_names([Path(folder).expanduser().resolve() for folder in (first, second)])
    if (a.follows is None) != (b.follows is None):
        stages = ["one stage" if one.follows is None else "two stages" for one in (a, b)]
        raise ConfigError(
            f"{first} was scored in {stages[0]}, {second} in {stages[1]}: numbers of the two can't be compared. Evaluate both on the "
            f"same split"
        )
    if a.version != b.version:
        raise ConfigError(
            f"{first} was scored by {a.version}, {second} by {b.version}: numbers of two scores can't be compared. Evaluate one of "
            f"them again with the other's scorer=..."
        )
    return compare(a, b, names=(short[0], short[1]))


def compare(a: Results, b: Results, *, names: tuple[str, str]) -> Comparison:
    """B against A. Raises ConfigError where they share no scene, or a scene lies in two different drives."""
    one, two = a.counted(), b.counted()
    place = {token: row for row, token in enumerate(two.tokens)}
    pairs = [(row, place[token]) for row, token in enumerate(one.tokens) if token in place]
    if not pairs:
        raise ConfigError(
            f"{names[0]} and {names[1]} share no scene: {len(a):,} and {len(b):,} scenes of two different splits"
        )
    left, right = (np.array(rows, np.int64) for rows in zip(*pairs))
    drives = np.array(one.drives)[left]
    if (drives != np.array(two.drives)[right]).any():
        raise ConfigError(
            f"{names[0]} and {names[1]} say of the same token that it is of two drives: they are of two data sets"
        )
    means, differences = {}, {}
    for name in ("score", *a.terms):
        before, after = one.columns[name][left], two.columns[name][right]
        known = ~np.isnan(before) & ~np.isnan(after)
        if known.any():
            means[name] = (float(before[known].mean()), float(after[known].mean()))
            differences[name] = bootstrap_by_drive(after[known] - before[known], drives[known].tolist())
    return Comparison(
        names=names,
        version=a.version,
        scenes=len(pairs),
        only=(len(one.tokens) - len(pairs), len(two.tokens) - len(pairs)),
        means=means,
        differences=differences,
    )
