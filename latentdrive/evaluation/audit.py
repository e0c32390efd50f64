"""What a mean hides: how often a planner profits from the score's blind spots. Numbers and counts, no verdicts.

After scoring.py. Each line is a count of scenes, and of how many it could be asked.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from latentdrive.evaluation.results import Results
from latentdrive.pdms.scene import VX, X, Y
from latentdrive.types import FROZEN, Trajectory

REVERSING_MPS = -0.1  # simulated speed below which the car drives backwards
STANDING_M = 0.5  # way in 4 s below which the car stands
BEHIND_M = -10.0  # a trajectory whose every pose lies further back than this is in another frame than the ego's
EPSILON = 1e-9
NAMED = 10  # scenes of a finding that summary.json names


@dataclass(**FROZEN)
class Finding:
    """name: for summary.json. count: scenes, out of `of` that could be asked. says: the question in plain words. tokens: the first
    NAMED of them."""

    name: str
    count: int
    of: int
    says: str
    tokens: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Count over `of`; NaN where none could be asked."""
        return self.count / self.of if self.of else float("nan")


def audit(
    results: Results,
    states: Float64[np.ndarray, "N T 11"],
    planned: Mapping[str, Trajectory],
    human_progress: Float64[np.ndarray, "N"],
) -> list[Finding]:
    """The findings. states: simulated, NaN for scenes that were not. planned: by token. human_progress: the driver's own ego progress
    in the same scenes, NaN where unknown."""
    return list(_findings(results, states, planned, human_progress))


def _findings(
    results: Results, states: np.ndarray, planned: Mapping[str, Trajectory], human_progress: np.ndarray
) -> Iterator[Finding]:
    def finding(name: str, found: np.ndarray, asked: np.ndarray, says: str) -> Finding:
        rows = np.flatnonzero(found & asked)
        tokens = tuple(results.tokens[row] for row in rows[:NAMED])
        return Finding(name=name, count=len(rows), of=int(asked.sum()), says=says, tokens=tokens)

    valid = results.valid
    compared = valid & ~np.isnan(human_progress)
    with np.errstate(invalid="ignore"):
        faster = results.terms["ego_progress"] > human_progress + EPSILON
        backwards = (states[:, :, VX] < REVERSING_MPS).any(-1)
        way = np.hypot(states[:, -1, X] - states[:, 0, X], states[:, -1, Y] - states[:, 0, Y])
        stands = way < STANDING_M
    yield finding("progress_above_human", faster, compared, "more ego progress than the human driver")
    yield finding("reversing", backwards, valid, f"drives backwards (simulated speed below {REVERSING_MPS:g} m/s)")
    if (comfort := results.terms.get("two_frame_extended_comfort")) is not None:
        known = valid & ~np.isnan(comfort)
        says = "changes its mind from one scene to the next (extended comfort 0)"
        yield finding("extended_comfort_failed", comfort < 0.5, known, says)
    yield finding(
        "at_the_ceiling", results.score >= 1.0 - EPSILON, valid, "scores 1, where the metric can tell no more"
    )
    yield finding("standing_still", stands, valid, f"moves less than {STANDING_M:g} m in 4 s")
    stays = np.array([token in planned and _stays(planned[token]) for token in results.tokens], bool)
    placed = np.array([token in planned for token in results.tokens], bool)
    behind = np.array([token in planned and _behind(planned[token]) for token in results.tokens], bool)
    yield finding("plans_to_stand", stays, placed, f"plans to stop at once (every pose within {STANDING_M:g} m)")
    says = f"every pose lies more than {-BEHIND_M:g} m behind the car: another frame than the ego's?"
    yield finding("all_poses_behind", behind, placed, says)


def _stays(trajectory: Trajectory) -> bool:
    return bool((np.hypot(trajectory.poses[:, 0], trajectory.poses[:, 1]) < STANDING_M).all())


def _behind(trajectory: Trajectory) -> bool:
    return bool((trajectory.poses[:, 0] < BEHIND_M).all())
