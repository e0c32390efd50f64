"""Training the student: what a step minimises and what is logged.

A step draws no random numbers, and a batch is a function of seed and step: a run that is killed and
resumed ends with the same weights.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from latentdrive.data.code_baselines import agreement_baselines
from latentdrive.data.latent_store import LabelledBatches
from latentdrive.stages.training import GUESSED, Headline, Schedule, StageTraining
from latentdrive.student import losses
from latentdrive.student.model import Student, parameter_split
from latentdrive.types import LatentActions, SceneBatch


class StudentTraining(StageTraining):
    """A student that learns a teacher's stored distributions and features."""

    held_out_loss = "held_out/kl"
    headlines = (
        Headline(name="the teacher's codes named, decoding alone", metric="held_out/decoded", form=".1%"),
        *GUESSED,
        Headline(name="likeliest codes alike, given the teacher's earlier ones", metric="held_out/top1", form=".1%"),
        Headline(name="divergence from the teacher, nats a slot", metric="held_out/kl"),
        Headline(name="  in the first transition", metric="held_out/kl_first"),
    )

    def __init__(
        self, *, model: Student, loss: losses.StudentLoss, optimizer: Callable[..., Optimizer], schedule: Schedule
    ) -> None:
        super().__init__(model=model, optimizer=optimizer, schedule=schedule)
        self.loss = loss

    def prepare(self, batches: LabelledBatches, *, new: bool) -> None:
        """Load the image encoder's published weights for a new run; print the split of the parameters.

        Raises StoreError where the labels have other slots than the model, or label other data.
        """
        batches.info.require_slots(self.model)
        batches.require_labelled_data()
        if new:
            self.model.images.load_pretrained()
        split = parameter_split(self.model)
        self.say(f"student: {sum(split.values()):,} parameters: " + ", ".join(f"{v:,} {k}" for k, v in split.items()))

    def training_step(self, batch: tuple[SceneBatch, LatentActions], _: int) -> Tensor:
        """Sum of the weighted losses."""
        scenes, teacher = batch
        logits, features = self.model(scenes, teacher.codes)
        parts = self.loss(logits, features, teacher)
        self.log_dict({f"train/{key}": value.detach() for key, value in parts.items()}, batch_size=len(scenes))
        return torch.stack(list(parts.values())).sum()

    def validation_step(self, batch: tuple[SceneBatch, LatentActions], _: int) -> None:
        """Held-out means of `judge_scenes`: over all slots, over those of the first transition, and of each slot."""
        scenes, teacher = batch
        first = self.model.codes_per_transition
        for key, value in judge_scenes(self.model, scenes, teacher).items():
            self.log(f"held_out/{key}", value.mean(), batch_size=len(scenes))
            self.log(f"held_out/{key}_first", value[:, :first].mean(), batch_size=len(scenes))
            slots = {f"held_out/{key}_slot_{i:02d}": column.mean() for i, column in enumerate(value.unbind(1))}
            self.log_dict(slots, batch_size=len(scenes))

    def evaluate(self, batches: LabelledBatches) -> dict[str, float]:
        """The number of parameters by part, and what guesses at the teacher's held-out codes reach."""
        rows = batches.held_out_rows()
        guessed = agreement_baselines(batches.stores["train"], batches.stores["val"], held_out_rows=rows)
        parts = {f"parameters/{key}": float(value) for key, value in parameter_split(self.model).items()}
        return {f"held_out/baseline_{key}": value for key, value in guessed.items()} | parts


@torch.no_grad()
def judge_scenes(model: Student, scenes: SceneBatch, teacher: LatentActions) -> dict[str, Float[Tensor, "B A"]]:
    """Numbers of every slot: those of `losses.judge` on the store's prefixes, and `decoded`.

    decoded: whether the student's own greedy decoding gives the teacher's code.
    """
    scene = model.read(scenes)
    numbers = losses.judge(model.code_out(model.slot_states(scene, teacher.codes)), teacher.logits)
    decoded = model.code_out(model.decode_states(scene)).argmax(-1)
    numbers["decoded"] = (decoded == teacher.codes).to(torch.float32)
    return numbers
