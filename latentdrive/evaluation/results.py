"""The result of an evaluation: one row a scene, as columns, and what of them is averaged.

After scoring.py, which fills it, and second_stage.py, which joins two stages; scores_file.py writes it. audit.py, summary.py and
comparison.py read it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from latentdrive.pdms.versions import Version
from latentdrive.types import FROZEN


@dataclass(**FROZEN)
class Follows:
    """How N scenes of two stages hang together. row: of the original scene that a scene follows, -1 for original ones.

    weight: of a scene among those that follow the same one, where they sum to 1; 1 for original ones.
    """

    row: Int64[np.ndarray, "N"]
    weight: Float64[np.ndarray, "N"]


@dataclass(**FROZEN)
class Counted:
    """What means are taken over, and drives are resampled of: M scenes with their columns, by the devkit's names."""

    tokens: tuple[str, ...]
    drives: tuple[str, ...]
    columns: dict[str, Float64[np.ndarray, "M"]]

    def means(self) -> dict[str, float]:
        """Mean of every column, failed scenes counted as 0; NaN where no scene has the sub-score."""
        return {name: _mean(values) for name, values in self.columns.items()}


@dataclass(**FROZEN)
class Results:
    """One trajectory in each of N scenes, in the split's order.

    terms: sub-scores by the devkit's names, NaN where a scene has none (extended comfort without a previous scene). score: the
    total. valid: False for scenes that failed; these score 0 in everything, and `failures` says why, by token. progress_m,
    reference_progress_m, collision_step, collision_track (token, empty for none), ttc_step: see PdmScores. follows: None where
    one stage was scored.
    """

    version: Version
    tokens: tuple[str, ...]
    drives: tuple[str, ...]
    terms: dict[str, Float64[np.ndarray, "N"]]
    score: Float64[np.ndarray, "N"]
    valid: Bool[np.ndarray, "N"]
    progress_m: Float64[np.ndarray, "N"]
    reference_progress_m: Float64[np.ndarray, "N"]
    collision_step: Int64[np.ndarray, "N"]
    collision_track: tuple[str, ...]
    ttc_step: Int64[np.ndarray, "N"]
    failures: dict[str, str]
    follows: Follows | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def columns(self) -> dict[str, Float64[np.ndarray, "N"]]:
        """Every sub-score and the total, by the devkit's names."""
        return {**self.terms, "score": self.score}

    def counted(self) -> Counted:
        """What the score is the mean of: every scene; of two stages every original scene, times what follows it."""
        if self.follows is None:
            return Counted(tokens=self.tokens, drives=self.drives, columns=self.columns)
        one, two = self.stages()
        return Counted(
            tokens=one.tokens,
            drives=one.drives,
            columns={name: one.columns[name] * two.columns[name] for name in one.columns},
        )

    def stages(self) -> tuple[Counted, ...]:
        """The original scenes, and in the same order the weighted means of what follows each; nothing where there is one stage."""
        if self.follows is None:
            return ()
        first, second = np.flatnonzero(self.follows.row < 0), np.flatnonzero(self.follows.row >= 0)
        after, weight = self.follows.row[second], self.follows.weight[second]
        sums = {
            name: np.bincount(after, weight * values[second], minlength=len(self))[first]
            for name, values in self.columns.items()
        }
        tokens, drives = ([names[row] for row in first] for names in (self.tokens, self.drives))
        return tuple(
            Counted(tokens=tuple(tokens), drives=tuple(drives), columns=columns)
            for columns in ({name: values[first] for name, values in self.columns.items()}, sums)
        )


def _mean(values: Float64[np.ndarray, "M"]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
