"""The result of an evaluation: one row for each scene, stored by columns, and the scenes over which
means are taken.

scoring.py fills it, second_stage.py joins two stages in it, and scores_file.py writes it. audit.py,
summary.py and comparison.py read it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from latentdrive.pdms.versions import Version
from latentdrive.types import FROZEN


@dataclass(**FROZEN)
class StageLinks:
    """How the N scenes of two stages belong together.

    original: row of the first-stage scene that a second-stage scene follows; -1 for first-stage
    scenes. weight: of a scene among those that follow the same one, where the weights sum to 1; 1
    for first-stage scenes.
    """

    original: Int64[np.ndarray, "N"]
    weight: Float64[np.ndarray, "N"]


@dataclass(**FROZEN)
class AveragedScenes:
    """The M scenes over which means are taken, and whose drives a bootstrap resamples. columns: by
    the devkit's names."""

    tokens: tuple[str, ...]
    drives: tuple[str, ...]
    columns: dict[str, Float64[np.ndarray, "M"]]

    def means(self) -> dict[str, float]:
        """Mean of every column, with failed scenes as 0; NaN for a sub-score that no scene has."""
        return {name: _mean(values) for name, values in self.columns.items()}


@dataclass(**FROZEN)
class Results:
    """One trajectory in each of N scenes, in the order of the split.

    terms: sub-scores by the devkit's names; NaN where a scene has none (extended comfort without a
    previous scene). score: the total. valid: False for scenes that failed; their sub-scores and
    score are 0, and `failures` gives the reason by token. collision_track: token of the track that
    was hit, or an empty string. progress_m, reference_progress_m, collision_step, ttc_step: see
    PdmScores. links: None where one stage was scored. steps, movement: as in types.Refined, NaN for
    scenes without a plan; None for a planner that plans at once.
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
    links: StageLinks | None = None
    steps: Float64[np.ndarray, "N"] | None = None
    movement: Float64[np.ndarray, "N"] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def columns(self) -> dict[str, Float64[np.ndarray, "N"]]:
        """Every sub-score and the total, by the devkit's names."""
        return {**self.terms, "score": self.score}

    def averaged(self) -> AveragedScenes:
        """The scenes whose mean is the score: all of them, or, of two stages, the first-stage
        scenes.

        Each value of a first-stage scene is multiplied by the weighted mean of what follows it.
        """
        if self.links is None:
            return AveragedScenes(tokens=self.tokens, drives=self.drives, columns=self.columns)
        first, second = self.stages()
        columns = {name: values * second.columns[name] for name, values in first.columns.items()}
        return AveragedScenes(tokens=first.tokens, drives=first.drives, columns=columns)

    def stages(self) -> tuple[AveragedScenes, ...]:
        """The first-stage scenes, and in the same order the weighted means of what follows each;
        empty for one stage."""
        if self.links is None:
            return ()
        first, second = np.flatnonzero(self.links.original < 0), np.flatnonzero(self.links.original >= 0)
        original, weight = self.links.original[second], self.links.weight[second]
        followers = {
            name: np.bincount(original, weight * values[second], minlength=len(self))[first]
            for name, values in self.columns.items()
        }
        originals = {name: values[first] for name, values in self.columns.items()}
        tokens, drives = (tuple(names[row] for row in first) for names in (self.tokens, self.drives))
        return tuple(
            AveragedScenes(tokens=tokens, drives=drives, columns=columns) for columns in (originals, followers)
        )


def _mean(values: Float64[np.ndarray, "M"]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
