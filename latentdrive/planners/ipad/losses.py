"""What iPad learns from: the human's plan for the best of its proposals, and the truth about every one of them.

Formulas and weights are those of the public code. Last step of training besides planners/training.py.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from latentdrive.errors import ConfigError
from latentdrive.pdms.scorer import Scorer
from latentdrive.planners.inputs.batch import PlannerTargets
from latentdrive.planners.ipad.heads import TOTAL
from latentdrive.planners.ipad.model import IpadOutput
from latentdrive.planners.ipad.targets import agent_targets, area_targets, score_targets
from latentdrive.planners.sampling import DT_S
from latentdrive.types import FROZEN, PdmScores


@dataclass(**FROZEN)
class IpadLoss:
    """Weights, 0 is off: trajectory (earlier passes count `previous` times as much as the next one), score: of the total, sub_scores: of all
    six, agent_class, agent_box, area. Agents and areas are taught in training mode alone, where the network tells them."""

    trajectory: float
    previous: float
    score: float
    sub_scores: float
    agent_class: float
    agent_box: float
    area: float

    @property
    def scores(self) -> bool:
        """Whether a Scorer over the batch's scenes is wanted."""
        return any((self.score, self.sub_scores, self.agent_class, self.agent_box, self.area))

    def __call__(
        self, output: IpadOutput, targets: PlannerTargets, scorer: Scorer | None
    ) -> dict[str, Float[Tensor, ""]]:
        """Weighted parts by name; their sum is the loss. Raises ConfigError without a scorer where one is needed."""
        parts = {}
        if self.trajectory:
            parts["trajectory"] = self.trajectory * chained(best_of(output.passes, targets.trajectory), self.previous)
        agents = bool(self.agent_class or self.agent_box) and output.agent_logits is not None
        area = bool(self.area) and output.area_logits is not None
        if not (self.score or self.sub_scores or agents or area):
            return parts
        if scorer is None:
            raise ConfigError(
                "IpadLoss: expected a scorer over the batch's scenes, got none; with score, sub_scores, agent_class, agent_box and area at "
                "0 none is needed"
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
    """For every pass, how far the nearest proposal lies from the trajectory: |dx| + |dy| + |dheading|, mean over poses, mean over scenes."""
    distance = (passes.float() - trajectory[:, None, None]).abs().sum(-1).mean(-1)
    return distance.amin(-1).mean(0)


def chained(by_pass: Float[Tensor, "R"], previous: float) -> Float[Tensor, ""]:
    """l = previous * l of the pass before + that of now, from the first pass to the last."""
    total = torch.zeros_like(by_pass[0])
    for now in by_pass.unbind(0):
        total = previous * total + now
    return total


def bce(logits: Float[Tensor, "*n"], target: Float[Tensor, "*n"] | Bool[Tensor, "*n"]) -> Float[Tensor, ""]:
    """Binary cross-entropy, mean over everything, in float32."""
    return F.binary_cross_entropy_with_logits(logits.float(), target.float())


def box_error(
    boxes: Float[Tensor, "*n 8"], target: Float[Tensor, "*n 8"], real: Bool[Tensor, "*n"]
) -> Float[Tensor, ""]:
    """Mean absolute error of the corners that are real, metres; 0 where none is."""
    error = (boxes.float() - target).abs().mean(-1)
    return (error * real).sum() / real.sum().clamp(min=1)
