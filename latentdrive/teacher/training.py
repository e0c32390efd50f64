"""Training the teacher: what a step minimises, what is logged, and the baselines to compare with.

A step draws no random numbers, and a batch is a function of seed and step: a run that is killed and
resumed ends with the same weights.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from latentdrive.data.code_baselines import agreement_baselines, surprise_baselines
from latentdrive.data.latent_store import LabelledBatches
from latentdrive.stages.training import GUESSED, Headline, Schedule, StageTraining
from latentdrive.teacher import losses
from latentdrive.teacher.model import Teacher
from latentdrive.types import LatentActions, SceneBatch

HELD_OUT_LOSS = {"autoregressive": "held_out/nats", "one_pass": "held_out/one_pass_nats"}  # by the way of decoding


class TeacherTraining(StageTraining):
    """A teacher that learns the stored codes by both of its ways of predicting them.

    Its held-out loss is the surprise of the way by which it labels.
    """

    headlines = (
        Headline(name="surprise by the true codes, nats a slot", metric="held_out/nats"),
        Headline(name="  knowing only how often each code occurs", metric="held_out/baseline_marginal_nats"),
        Headline(name="  knowing the last transition", metric="held_out/baseline_repeat_nats"),
        Headline(name="surprise in one pass, nats a slot", metric="held_out/one_pass_nats"),
        Headline(name="true codes named, decoding alone", metric="held_out/decoded", form=".1%"),
        *GUESSED,
        Headline(name="true codes named, given the true earlier ones", metric="held_out/top1", form=".1%"),
        Headline(name="codes in which both ways of decoding agree", metric="held_out/agreement", form=".1%"),
    )

    def __init__(
        self, *, model: Teacher, loss: losses.TeacherLoss, optimizer: Callable[..., Optimizer], schedule: Schedule
    ) -> None:
        super().__init__(model=model, optimizer=optimizer, schedule=schedule)
        self.loss, self.held_out_loss = loss, HELD_OUT_LOSS[model.decode]
        self.model.train()  # transformers loads networks in evaluation mode

    def prepare(self, batches: LabelledBatches, *, new: bool) -> None:
        """Raise StoreError where the labels have other slots than the model, or label other data;
        published weights came with the network.
        """
        batches.info.require_slots(self.model)
        batches.require_labelled_data()

    def training_step(self, batch: tuple[SceneBatch, LatentActions], _: int) -> Tensor:
        """Negative log-likelihood of the stored codes."""
        scenes, latents = batch
        logits = [self.model.code_logits(states) for states in self.model(scenes, latents.codes)]
        loss = sum(self.loss(*logits, latents.codes).values())
        self.log("train/loss", loss, batch_size=len(scenes))
        return loss

    def validation_step(self, batch: tuple[SceneBatch, LatentActions], _: int) -> None:
        """The held-out means of `judge_scenes`."""
        scenes, latents = batch
        numbers = judge_scenes(self.model, scenes, latents)
        self.log_dict({f"held_out/{key}": value.mean() for key, value in numbers.items()}, batch_size=len(scenes))

    def evaluate(self, batches: LabelledBatches) -> dict[str, float]:
        """What code frequencies and the last transition repeated reach on the same held-out windows."""
        stores, rows = (batches.stores["train"], batches.stores["val"]), batches.held_out_rows()
        numbers = surprise_baselines(*stores, held_out_rows=rows) | agreement_baselines(*stores, held_out_rows=rows)
        return {f"held_out/baseline_{key}": value for key, value in numbers.items()}


@torch.no_grad()
def judge_scenes(model: Teacher, scenes: SceneBatch, latents: LatentActions) -> dict[str, Float[Tensor, "B"]]:
    """Numbers of every scene: those of `losses.judge`, and what comes of decoding alone.

    decoded: share of slots in which ordinary decoding, given its own earlier codes, names the true
    code. agreement: share in which it names the code of the one pass. mass_outside: probability of
    tokens that are no codes.
    """
    context = model.read(scenes)
    states = model.slot_states(context, latents.codes)
    logits = [model.code_logits(way) for way in states]
    numbers = losses.judge(*logits, latents.codes, codes_per_transition=model.codes_per_transition)
    decoded = model.code_logits(model.decode_states(context)).argmax(-1)
    numbers["decoded"] = losses.agreement(decoded, latents.codes)
    numbers["agreement"] = losses.agreement(decoded, logits[1].argmax(-1))
    numbers["mass_outside"] = model.mass_outside(states.autoregressive).mean(1)
    return numbers
