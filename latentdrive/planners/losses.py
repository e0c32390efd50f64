"""The interface of a planner's loss, and the simplest loss: the distance of the plan from the human's trajectory.

Transfuser and iPad have losses of their own (transfuser/losses.py, ipad/losses.py).
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, runtime_checkable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from latentdrive.pdms.score import PdmScores
from latentdrive.planners.inputs.batch import PlannerOutput, PlannerTargets
from latentdrive.types import FROZEN


@runtime_checkable
class PlanScorer(Protocol):
    """NAVSIM's score of plans in the scenes of a batch (pdms/scorer.py)."""

    def score_poses(self, poses: Float[Tensor, "B M P 3"], *, dt_s: float, states: bool = False) -> PdmScores: ...


@runtime_checkable
class PlannerLoss(Protocol):
    """Weighted parts of a loss by name. Their sum is minimised; the log shows each of them.

    scores: whether the loss needs a scorer over the scenes of the batch; without it, `scorer` is None.
    """

    scores: bool

    def __call__(
        self, output: PlannerOutput, targets: PlannerTargets, scorer: PlanScorer | None
    ) -> dict[str, Tensor]: ...


def imitation(trajectory: Float[Tensor, "B P 3"], target: Float[Tensor, "B P 3"]) -> Float[Tensor, ""]:
    """Mean L1 distance over x, y and heading; metres and radians count alike."""
    return F.l1_loss(trajectory.float(), target)


@dataclass(**FROZEN)
class ImitationLoss:
    """The loss of planners that return a plan and nothing else. trajectory: weight of its distance from the human's."""

    trajectory: float

    scores: ClassVar[bool] = False

    def __call__(self, output: PlannerOutput, targets: PlannerTargets, scorer: PlanScorer | None) -> dict[str, Tensor]:
        """The weighted loss by name."""
        return {"trajectory": self.trajectory * imitation(output.trajectory, targets.trajectory)}


@dataclass(**FROZEN)
class AnytimeLoss:
    """The loss of a planner whose plan is refined step by step.

    own: the loss of the planner without its head; it gets the plan before any step. refined: weight of the refined
    plan's distance from the human's.
    """

    own: PlannerLoss
    refined: float

    @property
    def scores(self) -> bool:
        """Whether the planner's own loss needs a scorer."""
        return self.own.scores

    def __call__(self, output: PlannerOutput, targets: PlannerTargets, scorer: PlanScorer | None) -> dict[str, Tensor]:
        """The weighted losses by name. Raises ConfigError as `own` does."""
        parts = self.own(replace(output, trajectory=output.refinement.first), targets, scorer)
        return parts | {"refined": self.refined * imitation(output.trajectory, targets.trajectory)}
