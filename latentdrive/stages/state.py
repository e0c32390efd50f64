"""The state of a run that is resumed: when it is saved, what it holds, and which states are never saved.

stages/resume.py reads it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from latentdrive.errors import CheckpointError, ConfigError, Diverged
from latentdrive.files import remove_abandoned, write_atomic
from latentdrive.run_folder import RESUME, RunFolder

STATE = "last.ckpt"  # file in the folder RESUME
ORDER = "parameters"  # key in STATE: names of the weights in their order
SECONDS = "seconds"  # key in STATE: how long the run had taken when it was saved


class SaveState(L.Callback):
    """Saves what a resumed run needs, every `every` steps and after the last one.

    Where a validation follows the step, it saves after that: Lightning never makes up for a validation that
    a run was killed in.
    """

    def __init__(self, folder: RunFolder, *, every: int) -> None:
        if every < 1:
            raise ConfigError(f"save_every_steps must be at least 1, got {every}")
        self.folder, self.every, self.done, self.waits = folder, every, 0, False

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        stepped, self.done = trainer.global_step != self.done, trainer.global_step  # False within accumulated batches
        if stepped and (self.done % self.every == 0 or self.done == trainer.max_steps):
            self.waits = _validates_now(trainer)
            if not self.waits:
                self._save(trainer)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if self.waits:
            self.waits = False
            self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.folder.path / RESUME / STATE)

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, state: dict[str, Any]) -> None:
        state[SECONDS] = self.folder.seconds
        state[ORDER] = [name for name, _ in module.named_parameters()]

    def on_load_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, state: dict[str, Any]) -> None:
        # The optimiser finds the moments of a weight by its place in this order.
        names = [name for name, _ in module.named_parameters()]
        if state.get(ORDER, names) != names:  # states of early versions do not name them
            raise CheckpointError(
                f"{self.folder.path / RESUME / STATE} is of a version whose model has its weights in another order: go "
                "on with that version, or start again in another folder (out=FOLDER)"
            )


def _validates_now(trainer: L.Trainer) -> bool:
    """Whether a validation follows the batch that has just been learned from."""
    interval = trainer.val_check_batch if trainer.enable_validation else None  # None, too, where it is a time
    return interval is not None and (trainer.fit_loop.total_batch_idx + 1) % interval == 0


class StopAtNan(L.Callback):
    """Ends a training whose loss is no finite number, before its state is saved.

    Later steps would be useless, and the state that was saved before is the only one to resume from. The
    check waits for the device once a step.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, *_: Any) -> None:
        loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs
        if loss is None:
            return
        finite = bool(torch.isfinite(loss).all())
        if trainer.world_size > 1:  # all processes end together; a single one would leave the others waiting
            finite = trainer.strategy.reduce_boolean_decision(finite)
        if not finite:
            self._end(trainer, f"the loss is {loss.item()}")

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, state: dict[str, Any]) -> None:
        for name, value in state["state_dict"].items():
            if value.is_floating_point() and not torch.isfinite(value).all():
                self._end(trainer, f"{name} holds numbers that are not finite")

    def _end(self, trainer: L.Trainer, reason: str) -> None:
        state = self.folder.path / RESUME / STATE
        kept = f"the state before it is kept in {state}" if state.is_file() else "no state was saved before it"
        raise Diverged(
            f"step {trainer.global_step:,} of {trainer.max_steps:,}: {reason}; {kept}. Lower training.optimizer.lr, "
            "set trainer.gradient_clip_val=1.0, or use trainer.precision=32-true, in a new run (out=FOLDER)"
        )


class AtomicFiles(TorchCheckpointIO):
    """Writes whole files: a killed run or a full disk leaves the state before, or the new one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        def write(new: Path) -> None:
            with new.open("wb") as file:
                torch.save(checkpoint, file)

        remove_abandoned(Path(path))
        write_atomic(path, write)
