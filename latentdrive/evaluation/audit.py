"""Audit of what a mean score hides: how often a planner profits from blind spots of the score.

It gives counts only, no verdicts.
Each finding counts scenes, out of those in which it could be examined.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from latentdrive.evaluation.results import Results
from latentdrive.pdms.scene import VX, X, Y
from latentdrive.pdms.score import EC, EP
from latentdrive.types import FROZEN, Trajectory

REVERSING_MPS = -0.1  # a car with a lower simulated speed drives backwards
STANDING_M = 0.5  # a car that moves less in 4 s stands still
BEHIND_M = -10.0  # a plan that lies behind this x with every pose is not in the ego frame
EPSILON = 1e-9
LISTED = 10  # scenes of a finding that summary.json lists

# By the name of the finding, in the order in which they are printed.
MEANINGS = {
    "progress_above_human": "more ego progress than the human driver",
    "reversing": f"drives backwards (simulated speed below {REVERSING_MPS:g} m/s)",
    "extended_comfort_failed": "changes its plan from one scene to the next (extended comfort 0)",
    "at_the_ceiling": "scores 1, above which the score cannot tell plans apart",
    "standing_still": f"moves less than {STANDING_M:g} m in 4 s",
    "plans_to_stand": f"plans to stop at once (every pose within {STANDING_M:g} m)",
    "all_poses_behind": f"every pose lies more than {-BEHIND_M:g} m behind the car: not in the ego frame?",
}


@dataclass(**FROZEN)
class AuditFinding:
    """name: in summary.json. count: scenes found, out of `of` examined. meaning: in plain words.
    tokens: the first LISTED."""

    name: str
    count: int
    of: int
    meaning: str
    tokens: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Count over `of`; NaN where no scene could be examined."""
        return self.count / self.of if self.of else float("nan")


def audit(
    results: Results,
    states: Float64[np.ndarray, "N T 11"],
    planned: Mapping[str, Trajectory],
    human_progress: Float64[np.ndarray, "N"],
) -> list[AuditFinding]:
    """All findings, in the order of MEANINGS.

    states: simulated, NaN for scenes that failed. planned: trajectories by token. human_progress:
    ego progress of the human driver in the same scenes, NaN where unknown.
    """

    def finding(name: str, hit: Bool[np.ndarray, "N"], examined: Bool[np.ndarray, "N"]) -> AuditFinding:
        rows = np.flatnonzero(hit & examined)
        tokens = tuple(results.tokens[row] for row in rows[:LISTED])
        return AuditFinding(name=name, count=len(rows), of=int(examined.sum()), meaning=MEANINGS[name], tokens=tokens)

    def of_plans(holds: Callable[[Trajectory], bool]) -> Bool[np.ndarray, "N"]:
        return np.array([token in planned and holds(planned[token]) for token in results.tokens], bool)

    valid, comfort = results.valid, results.terms.get(EC)
    has_plan = of_plans(lambda trajectory: True)
    with np.errstate(invalid="ignore"):
        faster = results.terms[EP] > human_progress + EPSILON
        backwards = (states[:, :, VX] < REVERSING_MPS).any(-1)
        stands = np.hypot(states[:, -1, X] - states[:, 0, X], states[:, -1, Y] - states[:, 0, Y]) < STANDING_M
    hits = {
        "progress_above_human": (faster, valid & ~np.isnan(human_progress)),
        "reversing": (backwards, valid),
        **({} if comfort is None else {"extended_comfort_failed": (comfort < 0.5, valid & ~np.isnan(comfort))}),
        "at_the_ceiling": (results.score >= 1.0 - EPSILON, valid),
        "standing_still": (stands, valid),
        "plans_to_stand": (of_plans(_stays), has_plan),
        "all_poses_behind": (of_plans(_lies_behind), has_plan),
    }
    return [finding(name, hit, examined) for name, (hit, examined) in hits.items()]


def _stays(trajectory: Trajectory) -> bool:
    return bool((np.hypot(trajectory.poses[:, 0], trajectory.poses[:, 1]) < STANDING_M).all())


def _lies_behind(trajectory: Trajectory) -> bool:
    return bool((trajectory.poses[:, 0] < BEHIND_M).all())
