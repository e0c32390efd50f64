"""Training the student: glue between model, losses, optimiser and log.

Last file of the student. A step draws no random numbers, and a batch is a function of (seed, step): a run that is killed and
resumed ends with the same weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from latentdrive.errors import StoreError
from latentdrive.schedule import CosineSchedule
from latentdrive.student import losses
from latentdrive.student.model import Student, parameter_split
from latentdrive.types import FROZEN, LatentActions, SceneBatch


@dataclass(**FROZEN)
class StudentLossWeights:
    """distillation at `temperature`; hard: of the teacher's codes as labels; features: of matching its states. 0 is off."""

    distillation: float
    temperature: float
    hard: float
    features: float


class StudentTraining(L.LightningModule):
    """Student + losses + optimiser."""

    def __init__(
        self,
        *,
        model: Student,
        optimizer: Callable[..., Optimizer],
        schedule: CosineSchedule,
        weights: StudentLossWeights,
    ) -> None:
        super().__init__()
        self.model, self.optimizer, self.schedule, self.weights = model, optimizer, schedule, weights

    def prepare(self, batches: Any, *, new: bool) -> None:
        """Before the first step: the published weights of the image encoder, for a new run; the split of parameters.

        Raises StoreError for labels of other slots.
        """
        batches.info.require_slots(self.model)
        if new:
            self.model.images.load_pretrained()
        split = parameter_split(self.model)
        print(f"student: {sum(split.values()):,} parameters: " + ", ".join(f"{v:,} {k}" for k, v in split.items()))

    def training_step(self, batch: tuple[SceneBatch, LatentActions], _: int) -> Tensor:
        """Weighted sum of the losses that have a weight."""
        scenes, teacher = batch
        parts = loss_parts(self.model, scenes, teacher, self.weights)
        loss = torch.stack(list(parts.values())).sum()
        self.log_dict({f"train/{key}": value.detach() for key, value in parts.items()}, batch_size=len(scenes))
        return loss

    def validation_step(self, batch: tuple[SceneBatch, LatentActions], _: int) -> None:
        """Held-out divergence from the teacher and agreement with it: overall, first transition, and slot by slot."""
        scenes, teacher = batch
        numbers, first = judge_scenes(self.model, scenes, teacher), self.model.codes_per_transition
        for key, value in numbers.items():
            self.log(f"held_out/{key}", value.mean(), batch_size=len(scenes))
            self.log(f"held_out/{key}_first", value[:, :first].mean(), batch_size=len(scenes))
            slots = {f"held_out/{key}_slot_{i:02d}": column.mean() for i, column in enumerate(value.unbind(1))}
            self.log_dict(slots, batch_size=len(scenes))

    def configure_optimizers(self) -> dict:
        """Trained weights only; the learning rate follows the schedule step by step."""
        optimizer = self.optimizer([p for p in self.model.parameters() if p.requires_grad])
        # A plain function: torch would pickle the attributes of anything else into the resume state.
        schedule = LambdaLR(optimizer, lambda step: self.schedule.learning_rate(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def evaluate(self, batches: Any) -> dict[str, float]:
        """The parameters by part, for the card."""
        return {f"parameters/{key}": float(value) for key, value in parameter_split(self.model).items()}


def loss_parts(
    model: Student, scenes: SceneBatch, teacher: LatentActions, weights: StudentLossWeights
) -> dict[str, Float[Tensor, ""]]:
    """The losses, weighted, by name. Raises StoreError where the store lacks what a weight asks for."""
    if teacher.logits is None or (weights.features and teacher.features is None):
        raise StoreError("the store holds no logits or no features: label again with a teacher")
    logits, features = model(scenes, teacher.codes)
    parts = {
        "distillation": weights.distillation
        * losses.distillation(logits, teacher.logits, temperature=weights.temperature)
    }
    if weights.hard:
        parts["hard"] = weights.hard * losses.hard_labels(logits, teacher.codes)
    if weights.features:
        parts["features"] = weights.features * losses.feature_error(features, teacher.features)
    return parts


@torch.no_grad()
def judge_scenes(model: Student, scenes: SceneBatch, teacher: LatentActions) -> dict[str, Float[Tensor, "B A"]]:
    """Numbers of `losses.judge` on the store's prefixes; and `decoded`: whether the student's own decoding agrees."""
    scene = model.read(scenes)
    numbers = losses.judge(model.code_out(model.slot_states(scene, teacher.codes)), teacher.logits)
    decoded = model.code_out(model.decode_states(scene)).argmax(-1)
    numbers["decoded"] = (decoded == teacher.codes).to(torch.float32)
    return numbers
