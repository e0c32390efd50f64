"""Two evaluations compared scene by scene: which differences are more than chance.

Scenes are paired by token and whole drives are resampled. The interval is that of the paired
differences, which vary far less than the two means. A difference counts as shown only if its
interval excludes 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentdrive.counting import counted
from latentdrive.errors import ConfigError
from latentdrive.evaluation.results import Results
from latentdrive.evaluation.summary import read_evaluation
from latentdrive.pdms.versions import Version
from latentdrive.statistics import Interval, bootstrap_by_drive
from latentdrive.types import FROZEN


@dataclass(**FROZEN)
class Comparison:
    """B against A on the scenes that both evaluated.

    names: of the two folders. only: how many scenes A alone, and B alone, has; they are left out.
    means: of A and B on the shared scenes, by column. differences: B minus A, by column, the total
    first.
    """

    names: tuple[str, str]
    version: Version
    scenes: int
    only: tuple[int, int]
    means: dict[str, tuple[float, float]]
    differences: dict[str, Interval]

    def sentence(self) -> str:
        """The comparison in one line."""
        total = self.differences["score"]
        differing = [
            name.replace("_", " ") for name, change in self.differences.items() if name != "score" and is_shown(change)
        ]
        text = (
            f"{self.names[1]} minus {self.names[0]}, {self.version}: {total.within('+.4f')} on "
            f"{counted(total.values, 'scene')} of {counted(total.drives, 'drive')} ({verdict(total)})"
        )
        return text + (f"; sub-scores that differ: {', '.join(differing)}" if differing else "; no sub-score differs")


def is_shown(difference: Interval) -> bool:
    """Whether the interval excludes 0. A single drive has no interval, and shows nothing."""
    return difference.low > 0 or difference.high < 0


def verdict(difference: Interval) -> str:
    """Whether a difference is shown, and if not, why."""
    if is_shown(difference):
        return "shown"
    if difference.drives == 1:
        return "not shown: one drive says nothing about others"
    return "not shown: the interval contains 0"


def short_names(folders: Sequence[Path]) -> list[str]:
    """The last part of each path, or as many parts as make all names different."""
    names = [folder.name for folder in folders]
    for parts in range(2, max(len(folder.parts) for folder in folders) + 1):
        if len(set(names)) == len(set(folders)):
            break
        names = ["/".join(folder.parts[-parts:]) for folder in folders]
    return names


def compare_folders(first: str | Path, second: str | Path) -> Comparison:
    """Compare the folders of two evaluations.

    Raises ConfigError where a folder holds no evaluation, or where the two differ in version or
    number of stages.
    """
    (a, _), (b, _) = read_evaluation(first), read_evaluation(second)
    short = short_names([Path(folder).expanduser().resolve() for folder in (first, second)])
    if (a.links is None) != (b.links is None):
        stages = ["one stage" if results.links is None else "two stages" for results in (a, b)]
        raise ConfigError(
            f"{first} was scored in {stages[0]}, {second} in {stages[1]}: their numbers can't be "
            "compared. Evaluate both on "
            "the same split"
        )
    if a.version != b.version:
        raise ConfigError(
            f"{first} was scored by {a.version}, {second} by {b.version}: numbers of two scores "
            "can't be compared. Evaluate "
            "one of them again with the other's scorer=..."
        )
    return compare(a, b, names=(short[0], short[1]))


def compare(a: Results, b: Results, *, names: tuple[str, str]) -> Comparison:
    """Compare B against A. Raises ConfigError where they share no scene, or give one scene two
    drives."""
    first, second = a.averaged(), b.averaged()
    place = {token: row for row, token in enumerate(second.tokens)}
    pairs = [(row, place[token]) for row, token in enumerate(first.tokens) if token in place]
    if not pairs:
        raise ConfigError(
            f"{names[0]} and {names[1]} share no scene: {len(a):,} and {counted(len(b), 'scene')} of two "
            "different splits. Evaluate both on the same split"
        )
    left, right = (np.array(rows, np.int64) for rows in zip(*pairs))
    drives = np.array(first.drives)[left]
    if (drives != np.array(second.drives)[right]).any():
        raise ConfigError(
            f"{names[0]} and {names[1]} assign the same token to different drives: they were evaluated on two data sets"
        )
    means, differences = {}, {}
    for name in ("score", *a.terms):
        before, after = first.columns[name][left], second.columns[name][right]
        known = ~np.isnan(before) & ~np.isnan(after)
        if known.any():
            means[name] = (float(before[known].mean()), float(after[known].mean()))
            differences[name] = bootstrap_by_drive(after[known] - before[known], drives[known].tolist())
    return Comparison(
        names=names,
        version=a.version,
        scenes=len(pairs),
        only=(len(first.tokens) - len(pairs), len(second.tokens) - len(pairs)),
        means=means,
        differences=differences,
    )
