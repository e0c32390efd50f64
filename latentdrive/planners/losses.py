"""What a planner learns from a human driver: the distance of its plan from the human's.

Beside batch.py; Transfuser and iPad have losses of their own. A loss gives weighted parts by name, whose sum is minimised, so that the
log shows what each of them adds.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from latentdrive.pdms.scorer import Scorer
from latentdrive.planners.inputs.batch import PlannerOutput, PlannerTargets
from latentdrive.types import FROZEN


def imitation(trajectory: Float[Tensor, "B P 3"], target: Float[Tensor, "B P 3"]) -> Float[Tensor, ""]:
    """Mean L1 distance, metres and radians alike."""
    return F.l1_loss(trajectory.float(), target)


@dataclass(**FROZEN)
class ImitationLoss:
    """For planners that give nothing but a plan. trajectory: weight of its distance from the human's."""

    trajectory: float

    scores: ClassVar[bool] = False  # needs no true scores

    def __call__(self, output: PlannerOutput, targets: PlannerTargets, scorer: Scorer | None) -> dict[str, Tensor]:
        """The weighted loss by name."""
        return {"trajectory": self.trajectory * imitation(output.trajectory, targets.trajectory)}
