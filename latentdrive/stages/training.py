"""The base of every stage's training: a LightningModule with optimiser and schedule, and two hooks
around the steps.

`commands/train.py` calls `prepare`, lets Lightning run the steps, and calls `evaluate`. Subclasses add
the steps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import lightning as L
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from latentdrive.stages.batches import StageBatches


@dataclass(frozen=True, kw_only=True)
class Headline:
    """A number that people look at first. name: in plain words. metric: its name in metrics.json. form: how
    it is written.
    """

    name: str
    metric: str
    form: str = ".3f"

    def line(self, metrics: Mapping[str, float], width: int) -> str:
        """Name, number and 95 % interval, if there is one; empty where it was not measured."""
        if self.metric not in metrics:
            return ""
        value, bounds = metrics[self.metric], [metrics.get(f"{self.metric}_{end}") for end in ("low", "high")]
        interval = "" if None in bounds else "  [{}]".format(", ".join(format(bound, self.form) for bound in bounds))
        return f"  {self.name:<{width}}  {value:{self.form}}{interval}"


def headline_lines(headlines: Sequence[Headline], metrics: Mapping[str, float]) -> list[str]:
    """A line for each of the headlines that was measured."""
    width = max((len(headline.name) for headline in headlines), default=0)
    return [line for headline in headlines if (line := headline.line(metrics, width))]


GUESSED = (  # what guesses at codes reach, below the codes that a model names when it decodes alone
    Headline(name="  always the most frequent code", metric="held_out/baseline_marginal_top1", form=".1%"),
    Headline(name="  the last transition repeated", metric="held_out/baseline_repeat_top1", form=".1%"),
    Headline(name="  windows whose last transition is known", metric="held_out/baseline_repeat_known", form=".1%"),
)


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
    """A model with what trains it. optimizer: called with the parameters that are trained.

    held_out_loss: the number of a validation by which a run keeps its best weights; None where it
    ends with those after the last step. headlines: the numbers that the terminal shows at the end. say:
    speaks to the user; the command sets it to what also logs. resumed_at: steps that an earlier process has
    done.
    """

    held_out_loss: str | None = None
    say: Callable[[str], None] = staticmethod(print)
    headlines: ClassVar[tuple[Headline, ...]] = ()
    resumed_at: int = 0

    def __init__(self, *, model: nn.Module, optimizer: Callable[..., Optimizer], schedule: Schedule) -> None:
        super().__init__()
        self.model, self.optimizer, self.schedule = model, optimizer, schedule

    @property
    def steps_done(self) -> int:
        """Steps behind the present weights. Lightning's global_step is 0 where a finished training is only judged."""
        return max(self.global_step, self.resumed_at)

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
