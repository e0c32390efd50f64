"""The base of every stage's training: a LightningModule with optimiser and schedule, and two hooks
around the steps.

`commands/train.py` calls `prepare`, lets Lightning run the steps, and calls `evaluate`. Subclasses add
the steps.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import lightning as L
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from latentdrive.stages.batches import StageBatches


@runtime_checkable
class Schedule(Protocol):
    """How long a training runs and how fast it learns. Both depend on the step alone, so that a run can
    be resumed.
    """

    @property
    def steps(self) -> int: ...

    def learning_rate(self, step: int) -> float:
        """Factor on the optimiser's learning rate at `step`, counted from 0."""
        ...


class StageTraining(L.LightningModule):
    """A model with what trains it. optimizer: called with the parameters that are trained."""

    def __init__(self, *, model: nn.Module, optimizer: Callable[..., Optimizer], schedule: Schedule) -> None:
        super().__init__()
        self.model, self.optimizer, self.schedule = model, optimizer, schedule

    def prepare(self, batches: StageBatches, *, new: bool) -> None:
        """Called once before the first step. new: the run neither resumes nor starts from a checkpoint.

        A new run loads published weights here. Raises ConfigError or StoreError where the batches do
        not fit the model.
        """

    def evaluate(self, batches: StageBatches) -> dict[str, float]:
        """Called once after the last step. Returns numbers for the card besides those of the last validation."""
        return {}

    def configure_optimizers(self) -> dict:
        """The optimiser over all trained weights; its learning rate follows the schedule step by step."""
        optimizer = self.optimizer([p for p in self.model.parameters() if p.requires_grad])
        # A lambda, because LambdaLR would pickle the attributes of a bound method's object into the
        # resume state.
        schedule = LambdaLR(optimizer, lambda step: self.schedule.learning_rate(step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
