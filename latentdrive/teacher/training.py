"""Training the teacher: glue between model, losses, optimiser and log.

Last file of the teacher. A step draws no random numbers, and a batch is a function of (seed, step): a run that is killed and
resumed ends with the same weights.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from latentdrive.data.latent_store import StoreInfo
from latentdrive.schedule import CosineSchedule
from latentdrive.teacher import losses
from latentdrive.teacher.model import Teacher
from latentdrive.types import LatentActions, SceneBatch


@runtime_checkable
class Batches(Protocol):
    """What `prepare` and `evaluate` ask of the batches. info: of the labels."""

    info: StoreInfo

    def baselines(self) -> dict[str, float]: ...


class TeacherTraining(L.LightningModule):
    """Teacher + likelihood of both ways + optimiser. The two weights are those of `losses.both_ways`."""

    def __init__(
        self,
        *,
        model: Teacher,
        optimizer: Callable[..., Optimizer],
        schedule: CosineSchedule,
        autoregressive_weight: float,
        one_pass_weight: float,
    ) -> None:
        super().__init__()
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.model.train()  # transformers loads in eval mode
        self.weights = {"autoregressive_weight": autoregressive_weight, "one_pass_weight": one_pass_weight}

    def prepare(self, batches: Batches, *, new: bool) -> None:
        """Before the first step; published weights came with the network. Raises StoreError for labels of other slots."""
        batches.info.require_slots(self.model)

    def training_step(self, batch: tuple[SceneBatch, LatentActions], _: int) -> Tensor:
        """Negative log-likelihood of the stored codes."""
        scenes, latents = batch
        logits = [self.model.code_logits(states) for states in self.model(scenes, latents.codes)]
        loss = losses.both_ways(*logits, latents.codes, **self.weights)
        self.log("train/loss", loss, batch_size=len(scenes))
        return loss

    def validation_step(self, batch: tuple[SceneBatch, LatentActions], _: int) -> None:
        """Held-out nats of both ways, their agreement, and the probability that falls outside the codes."""
        scenes, latents = batch
        numbers = judge_scenes(self.model, scenes, latents)
        self.log_dict({f"held_out/{key}": value.mean() for key, value in numbers.items()}, batch_size=len(scenes))

    def configure_optimizers(self) -> dict:
        """Trained weights only; the learning rate follows the schedule step by step."""
        optimizer = self.optimizer([p for p in self.model.parameters() if p.requires_grad])
        # A plain function: torch would pickle the attributes of anything else into the resume state.
        schedule = LambdaLR(optimizer, lambda step: self.schedule.learning_rate(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def evaluate(self, batches: Batches) -> dict[str, float]:
        """What the nats stand beside: per-slot frequencies and the last transition repeated, on the same windows."""
        return {f"held_out/baseline_{key}": value for key, value in batches.baselines().items()}


@torch.no_grad()
def judge_scenes(model: Teacher, scenes: SceneBatch, latents: LatentActions) -> dict[str, Float[Tensor, "B"]]:
    """Every number of `losses.judge`, the agreement of both ways, and the probability outside the codes, scene by scene."""
    context = model.read(scenes)
    states = model.slot_states(context, latents.codes)
    logits = [model.code_logits(way) for way in states]
    numbers = losses.judge(*logits, latents.codes, codes_per_transition=model.codes_per_transition)
    decoded = model.code_logits(model.decode_states(context)).argmax(-1)
    numbers["agreement"] = losses.agreement(decoded, logits[1].argmax(-1))
    numbers["mass_outside"] = model.mass_outside(states.autoregressive).mean(1)
    return numbers
