"""The best weights of a run: those of the validation with the lowest held-out loss.

A stage whose training names a held-out loss ends with them, if the loss rose after that validation. They
lie beside the resume state. A resumed run finds them there, and repeats each validation that came after
the state: it ends with the weights of a run that was never interrupted.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from latentdrive.files import DAMAGE
from latentdrive.run_folder import RESUME
from latentdrive.stages.saved import load_saved, unreadable
from latentdrive.types import FROZEN

BEST = "best.ckpt"  # file in the folder RESUME
MODEL = "model."  # prefix of the model's weights in a training
HELD_OUT = "held_out/"  # prefix of the numbers of a validation
KEPT_STEP, KEPT_LOSS, LAST_LOSS = "kept/step", "kept/loss", "kept/loss_after_the_last_step"


@dataclass(**FROZEN)
class Best:
    """The validation with the lowest loss so far. metrics: all its numbers. weights: of the model."""

    step: int
    loss: float
    metrics: dict[str, float]
    weights: dict[str, Tensor]


def read_best(run: Path) -> Best | None:
    """The best weights that a run has kept; None where it has none. Raises CheckpointError for a damaged file."""
    file = run / RESUME / BEST
    if not file.is_file():
        return None
    try:
        return Best(**load_saved(file))
    except DAMAGE as error:
        raise unreadable(file, error) from None


def forget_best(run: Path) -> None:
    """Remove what an earlier run in this folder kept."""
    (run / RESUME / BEST).unlink(missing_ok=True)


def take_best(run: Path, model: nn.Module, metrics: dict[str, float], name: str | None) -> str:
    """Load the best weights into `model` if the held-out loss `name` rose after them; `metrics` become theirs.

    Returns a sentence that says so; empty where the weights after the last step stay.
    """
    best = None if name is None or name not in metrics else read_best(run)
    if best is None or not best.loss < metrics[name]:
        return ""
    model.load_state_dict(best.weights)
    last = metrics[name]
    metrics |= best.metrics | {KEPT_STEP: float(best.step), KEPT_LOSS: best.loss, LAST_LOSS: last}
    return (
        f"the held-out loss ({name}) was lowest after step {best.step:,} ({best.loss:.3f}) and rose to {last:.3f} "
        f"after the last one: the checkpoint holds the weights of step {best.step:,}"
    )


class KeepBest(L.Callback):
    """Keeps the weights of the best validation, except those after the last step, which the run ends with anyway.

    name: of the held-out loss. It must come before a callback that averages weights: that one puts the
    averages in place for the validation, and takes them away at its end.
    """

    def __init__(self, run: Path, name: str) -> None:
        self.run, self.name, self.loss = run, name, float("inf")

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        best = read_best(self.run)
        self.loss = float("inf") if best is None else best.loss

    def on_validation_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.global_step == trainer.max_steps:
            return
        numbers = {key: value.item() for key, value in trainer.callback_metrics.items() if key.startswith(HELD_OUT)}
        loss = numbers.get(self.name, float("inf"))
        if trainer.strategy.broadcast(loss < self.loss):  # all processes decide alike
            self.loss = loss
            self._keep(trainer, {"step": trainer.global_step, "loss": loss, "metrics": numbers})

    def _keep(self, trainer: L.Trainer, content: dict[str, Any]) -> None:
        whole = trainer.strategy.lightning_module_state_dict()
        weights = {key.removeprefix(MODEL): value for key, value in whole.items() if key.startswith(MODEL)}
        trainer.strategy.save_checkpoint(content | {"weights": weights}, self.run / RESUME / BEST)
