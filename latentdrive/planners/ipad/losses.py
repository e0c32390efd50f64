"""iPad's losses: distance of the best proposal from the human, and predictions about every proposal against the truth.

Formulas and weights are those of the public code.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from latentdrive.errors import ConfigError
from latentdrive.pdms.score import PdmScores
from latentdrive.pdms.scorer import Scorer
from latentdrive.planners.inputs.batch import PlannerTargets
from latentdrive.planners.ipad.heads import TOTAL
from latentdrive.planners.ipad.model import IpadOutput
from latentdrive.planners.ipad.targets import agent_targets, area_targets, score_targets
from latentdrive.planners.sampling import DT_S
from latentdrive.types import FROZEN


@dataclass(**FROZEN)
class IpadLoss:
    """Weights of the parts; 0 switches a part off.

    trajectory: distance of the best proposal from the human. previous: weight of a pass relative to the
    next one. score: of the total score. sub_scores: of all six scores. agent_class, agent_box, area: of the
    relevant road users and areas, which the network predicts in training mode only.
    """

    trajectory: float
    previous: float
    score: float
    sub_scores: float
    agent_class: float
    agent_box: float
    area: float

    @property
    def scores(self) -> bool:
        """Whether any part needs the true scores of the proposals."""
        return any((self.score, self.sub_scores, self.agent_class, self.agent_box, self.area))

    def __call__(
        self, output: IpadOutput, targets: PlannerTargets, scorer: Scorer | None
    ) -> dict[str, Float[Tensor, ""]]:
        """The weighted parts by name. Raises ConfigError without a scorer where a part needs one."""
        parts = {}
        if self.trajectory:
            parts["trajectory"] = self.trajectory * chained(best_of(output.passes, targets.trajectory), self.previous)
        agents = bool(self.agent_class or self.agent_box) and output.agent_logits is not None
        area = bool(self.area) and output.area_logits is not None
        if not (self.score or self.sub_scores or agents or area):
            return parts
        if scorer is None:
            raise ConfigError(
                "IpadLoss: expected a scorer over the batch's scenes, got none. To train without one, set score, "
                "sub_scores, agent_class, agent_box and area of training.loss to 0"
            )
        truth = scorer.score_poses(output.proposals.detach(), dt_s=DT_S, states=area)
        if self.score or self.sub_scores:
            parts |= self._score_parts(output, truth)
        if agents:
            parts |= self._agent_parts(output, truth, scorer)
        if area:
            steps, logits = output.area_logits.shape[2], output.area_logits
            parts["area"] = self.area * bce(logits, area_targets(scorer, truth, steps, logits.device))
        return parts

    def _score_parts(self, output: IpadOutput, truth: PdmScores) -> dict[str, Tensor]:
        logits = output.score_logits
        target, parts = score_targets(truth, logits.device), {}
        if self.score:
            parts["score"] = self.score * bce(logits[..., TOTAL], target[..., TOTAL])
        if self.sub_scores:
            parts["sub_scores"] = self.sub_scores * bce(logits, target)
        return parts

    def _agent_parts(self, output: IpadOutput, truth: PdmScores, scorer: Scorer) -> dict[str, Tensor]:
        logits, parts = output.agent_logits, {}
        boxes, real = agent_targets(scorer, truth, logits.shape[2], logits.device)
        if self.agent_class:
            parts["agent_class"] = self.agent_class * bce(logits, real)
        if self.agent_box:
            parts["agent_box"] = self.agent_box * box_error(output.agent_boxes, boxes, real)
        return parts


def best_of(passes: Float[Tensor, "B R M P 3"], trajectory: Float[Tensor, "B P 3"]) -> Float[Tensor, "R"]:
    """For every pass, the distance of the nearest proposal from the trajectory, mean over scenes.

    Distance: |dx| + |dy| + |dheading|, mean over poses.
    """
    distance = (passes.float() - trajectory[:, None, None]).abs().sum(-1).mean(-1)
    return distance.amin(-1).mean(0)


def chained(by_pass: Float[Tensor, "R"], previous: float) -> Float[Tensor, ""]:
    """Sum over passes of their losses, each weighted `previous` times as much as the next pass."""
    total = torch.zeros_like(by_pass[0])
    for loss in by_pass.unbind(0):
        total = previous * total + loss
    return total


def bce(logits: Float[Tensor, "*n"], target: Float[Tensor, "*n"] | Bool[Tensor, "*n"]) -> Float[Tensor, ""]:
    """Binary cross-entropy, mean over everything, in float32."""
    return F.binary_cross_entropy_with_logits(logits.float(), target.float())


def box_error(
    boxes: Float[Tensor, "*n 8"], target: Float[Tensor, "*n 8"], real: Bool[Tensor, "*n"]
) -> Float[Tensor, ""]:
    """Mean absolute error of the corners of real boxes, in metres; 0 where no box is real."""
    error = (boxes.float() - target).abs().mean(-1)
    return (error * real).sum() / real.sum().clamp(min=1)
