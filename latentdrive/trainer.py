"""The trainer of all stages: Lightning's, resumable at any step, with files that are never half written and one progress bar.

What Lightning needs to be told stands here; commands/train.py says what a run is.
"""

import logging
import os
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO

from latentdrive.build import build
from latentdrive.config import Config
from latentdrive.errors import ConfigError
from latentdrive.files import write_atomic
from latentdrive.overrides import quoted
from latentdrive.run_folder import RESUME, RunFolder, progress_bar

STATE = "last.ckpt"  # in RESUME
SECONDS = "seconds"  # in STATE: how long the run has taken so far


def make_trainer(cfg: Config, folder: RunFolder, *, steps: int) -> L.Trainer:
    """The trainer of `cfg.trainer` for `steps` steps in `folder`, which saves every `cfg.save_every_steps`; it reads those nodes."""
    shown = [_Bar()] if cfg.trainer.enable_progress_bar else []
    given = {
        "max_steps": steps,
        "limit_train_batches": steps,  # all steps are one epoch
        "enable_progress_bar": False,  # ours knows how many steps a resumed run has behind it
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,  # batches know their rank
        "default_root_dir": str(folder.path),
        "logger": TensorBoardLogger(str(folder.path), name="", version=""),
        "callbacks": [*shown, _SaveState(folder, every=cfg.save_every_steps)],
        "plugins": [_AtomicFiles()],
    }
    trainer = build(cfg.trainer, **given)
    if trainer.world_size > 1 and cfg.trainer.strategy == "auto":
        # A phase trains a part of the weights; Lightning's own choice, ddp, waits for gradients of all of them.
        trainer = build(cfg.trainer, strategy="ddp_find_unused_parameters_true", **given)
    return trainer


@contextmanager
def processes_of_further_devices(folder: RunFolder) -> Iterator[None]:
    """Lightning starts one for each by repeating sys.argv, and tells it by the environment which it is: they run the command
    of this run in its folder. Afterwards both are as before, so that the next run of a sweep, or of the demo, starts its own.
    """
    argv, environment = sys.argv, set(os.environ)
    sys.argv = [argv[0], *shlex.split(folder.command)[1:], f"out={quoted(str(folder.path))}"]
    try:
        yield
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    finally:
        sys.argv = argv
        for name in os.environ.keys() - environment:
            del os.environ[name]


def quiet() -> None:
    """Lightning's advertisements, and its advice where we know better."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        "Your `IterableDataset` has",
        "You're resuming from",
        "The '.*_dataloader' does not",
        ".*LeafSpec",
        ".*eval mode",
        ".*sync_dist=True",  # every rank sees all held-out windows
        "Grad strides do not match",
    ):
        warnings.filterwarnings("ignore", message=text)


class Feed(L.LightningDataModule):
    """Loaders are made when the trainer asks for them: by then, ranks know of each other."""

    def __init__(self, batches: Any, start_step: int) -> None:
        super().__init__()
        self.batches, self.start_step = batches, start_step

    def train_dataloader(self) -> Any:
        return self.batches.train_batches(self.start_step)

    def val_dataloader(self) -> Any:
        return _Unsized(self.batches)


class _Unsized:
    """Held-out batches without a length: the trainer asks for it before the first step, and many clips would be opened."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches.validation_batches())


class _SaveState(L.Callback):
    """Everything a resumed run needs, every so many steps and after the last one."""

    def __init__(self, folder: RunFolder, *, every: int) -> None:
        if every < 1:
            raise ConfigError(f"save_every_steps must be at least 1, got {every}")
        self.folder, self.every = folder, every

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step % self.every == 0 or trainer.global_step == trainer.max_steps:
            trainer.save_checkpoint(self.folder.path / RESUME / STATE)

    def on_save_checkpoint(self, trainer: L.Trainer, module: L.LightningModule, state: dict[str, Any]) -> None:
        state[SECONDS] = self.folder.seconds


class _AtomicFiles(TorchCheckpointIO):
    """A killed run, or a full disk, leaves the state before or the new one, never half of one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        def write(new: Path) -> None:
            with new.open("wb") as file:
                torch.save(checkpoint, file)

        write_atomic(path, write)


class _Bar(L.Callback):
    """Steps done, time passed, time left and the loss."""

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.bar = progress_bar("training")
        self.task = self.bar.add_task("training", total=trainer.max_steps, completed=trainer.global_step)
        self.bar.start()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.bar.update(self.task, completed=trainer.global_step)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.bar.stop()

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        if hasattr(self, "bar"):
            self.bar.stop()
