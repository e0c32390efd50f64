"""Transfuser's losses: distance from the human's trajectory, vehicles around, and the semantic bird's-eye view.

Every vehicle is assigned to one of the network's boxes so that the sum of costs is smallest (Hungarian
matching, as in DETR, arXiv:2005.12872). Weights and normalisation are NAVSIM's.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from latentdrive.errors import ConfigError
from latentdrive.planners.inputs.batch import PlannerTargets
from latentdrive.planners.losses import PlanScorer, imitation
from latentdrive.planners.transfuser.model import TransfuserOutput
from latentdrive.types import FROZEN


@dataclass(**FROZEN)
class TransfuserLoss:
    """Weights of the parts. agent_class and agent_box are also the weights of the two costs of the matching."""

    trajectory: float
    agent_class: float
    agent_box: float
    semantics: float

    scores: ClassVar[bool] = False

    def __call__(
        self, output: TransfuserOutput, targets: PlannerTargets, scorer: PlanScorer | None
    ) -> dict[str, Tensor]:
        """The weighted losses by name. Raises ConfigError where the targets lack agents or semantics."""
        if targets.agents is None or targets.agents_real is None or targets.semantics is None:
            raise ConfigError(
                "TransfuserLoss needs agents and semantics: set batches.targets.agents and batches.targets.semantics"
            )
        boxes, logits = output.agents.float(), output.agent_logits.float()
        rows = match(
            boxes, logits, targets.agents, targets.agents_real, class_weight=self.agent_class, box_weight=self.agent_box
        )
        real = targets.agents_real.gather(1, rows)
        vehicles = targets.agents.gather(1, rows[..., None].expand_as(boxes))
        semantics = F.cross_entropy(output.semantics.float(), targets.semantics.long())
        return {
            "trajectory": self.trajectory * imitation(output.trajectory, targets.trajectory),
            "agent_class": self.agent_class * F.binary_cross_entropy_with_logits(logits, real.float()),
            "agent_box": self.agent_box * box_distance(boxes, vehicles, real),
            "semantics": self.semantics * semantics,
        }


def box_distance(
    boxes: Float[Tensor, "B N 5"], vehicles: Float[Tensor, "B N 5"], real: Bool[Tensor, "B N"]
) -> Float[Tensor, ""]:
    """L1 distance between boxes and their vehicles: sum over the five numbers, mean over real vehicles."""
    distance = (boxes - vehicles).abs().sum(-1)
    return (distance * real).sum() / real.sum().clamp_min(1)


@torch.no_grad()
def match(
    boxes: Float[Tensor, "B N 5"],
    logits: Float[Tensor, "B N"],
    agents: Float[Tensor, "B N 5"],
    real: Bool[Tensor, "B N"],
    *,
    class_weight: float,
    box_weight: float,
) -> Int64[Tensor, "B N"]:
    """The row of `agents` that each box is assigned to: the permutation with the smallest sum of costs.

    Cost of a pair: class_weight x binary cross-entropy of the box's logit + box_weight x L1 distance in x
    and y, which is 0 for rows that are not real.
    """
    as_real, as_empty = F.softplus(-logits)[..., None], F.softplus(logits)[..., None]
    classes = torch.where(real[:, None], as_real, as_empty)
    distance = (boxes[:, :, None, :2] - agents[:, None, :, :2]).abs().sum(-1) * real[:, None]
    costs = (class_weight * classes + box_weight * distance).cpu().numpy()
    rows = np.stack([linear_sum_assignment(cost)[1] for cost in costs])
    return torch.from_numpy(rows).to(boxes.device)
