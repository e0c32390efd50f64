"""The trainer of all stages: Lightning's, resumable at any step, with files that are never half written and one progress bar.

What Lightning needs to be told stands here; commands/train.py says what a run is.
"""

import logging
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import FSDPStrategy

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
    averaged = [] if cfg.ema_decay is None else [EMAWeightAveraging(decay=float(cfg.ema_decay))]
    given = {
        "max_steps": steps,
        "limit_train_batches": steps * cfg.trainer.accumulate_grad_batches,  # all steps are one epoch
        "precision": possible(cfg.trainer.precision),
        "enable_progress_bar": False,  # ours knows how many steps a resumed run has behind it
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,  # batches know their rank
        "default_root_dir": str(folder.path),
        "logger": TensorBoardLogger(str(folder.path), name="", version=""),
        "callbacks": [*averaged, *shown, _SaveState(folder, every=cfg.save_every_steps)],
        "plugins": [_AtomicFiles()],
    }
    trainer = build(cfg.trainer, **given)
    if averaged and isinstance(trainer.strategy, FSDPStrategy):
        raise ConfigError("ema_decay averages whole weights, and trainer=fsdp keeps shards: leave one of them out")
    if trainer.world_size > 1 and cfg.trainer.strategy == "auto":
        # A phase trains a part of the weights; Lightning's own choice, ddp, waits for gradients of all of them.
        trainer = build(cfg.trainer, strategy="ddp_find_unused_parameters_true", **given)
    return trainer


def possible(precision: str) -> str:
    """The precision, without bfloat16 where the GPU has none."""
    if precision.startswith("bf16") and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        return "32-true"
    return precision


def trained_model(trainer: L.Trainer, module: L.LightningModule, config: Mapping[str, Any]) -> torch.nn.Module:
    """The model after training; where a strategy keeps shards of it, built anew with the weights of all processes."""
    if not isinstance(trainer.strategy, FSDPStrategy):
        return module.model
    whole = trainer.strategy.lightning_module_state_dict()  # every process takes part, the first one gets all
    if not trainer.is_global_zero:
        return module.model
    model = build(config)
    model.load_state_dict(
        {key.removeprefix("model."): value for key, value in whole.items() if key.startswith("model.")}
    )
    return model


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
    except SystemExit:  # Lightning's answer to Ctrl+C; the command line has a better one
        raise KeyboardInterrupt from None
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
        ".*sync_dist=True",  # every rank sees all that is held out
        "Grad strides do not match",
    ):
        warnings.filterwarnings("ignore", message=text)


class Feed(L.LightningDataModule):
    """Loaders are made when the trainer asks for them: by then, ranks know of each other. start: the first batch, counted from 0."""

    def __init__(self, batches: Any, start: int) -> None:
        super().__init__()
        self.batches, self.start = batches, start

    def train_dataloader(self) -> Any:
        return self.batches.train_batches(self.start)

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
        self.folder, self.every, self.done = folder, every, 0

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        stepped, self.done = trainer.global_step != self.done, trainer.global_step  # not amid accumulated batches
        if stepped and (self.done % self.every == 0 or self.done == trainer.max_steps):
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
