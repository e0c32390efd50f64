"""Lightning's trainer as all stages use it: resumable at any step, with whole files and one progress bar.

commands/train.py says what a run is; this file says how Lightning carries it out.
"""

import logging
import os
import shlex
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from rich.progress import Progress
from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread

from latentdrive.build import build
from latentdrive.config import Config
from latentdrive.devices import has_bfloat16
from latentdrive.errors import ConfigError, reason_of
from latentdrive.overrides import quoted
from latentdrive.run_folder import RunFolder, progress_bar
from latentdrive.stages.batches import StageBatches
from latentdrive.stages.best import KeepBest
from latentdrive.stages.state import AtomicFiles, SaveState, StopAtNan
from latentdrive.writing import writing


def make_trainer(cfg: Config, folder: RunFolder, *, steps: int, held_out_loss: str | None) -> L.Trainer:
    """The trainer that `cfg.trainer` describes. It runs `steps` steps and saves every `cfg.save_every_steps` of them.

    held_out_loss: the number by which the best weights are kept; None where they are not. Reads the nodes
    trainer, ema_decay and save_every_steps. Raises ConfigError where they can't be combined.
    """
    bar = [_Bar()] if cfg.trainer.enable_progress_bar else []
    # Weights are averaged. Buffers are copied: books are filled in the middle of a run, batch statistics are averages.
    decay = cfg.value("ema_decay", float | None)
    averaging = [] if decay is None else [EMAWeightAveraging(decay=float(decay), use_buffers=False)]
    keep = [] if held_out_loss is None else [KeepBest(folder.path, held_out_loss)]
    given = {
        "max_steps": steps,
        "limit_train_batches": steps * cfg.trainer.accumulate_grad_batches,  # all steps are one epoch
        "precision": supported_precision(cfg.trainer.precision, cfg.trainer.accelerator),
        "enable_progress_bar": False,  # ours knows how many steps a resumed run has done
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,  # the batches know their rank
        "default_root_dir": str(folder.path),
        "logger": _Events(str(folder.path), name="", version=""),
        "callbacks": [*keep, *averaging, *bar, StopAtNan(folder), SaveState(folder, every=cfg.save_every_steps)],
        "plugins": [AtomicFiles()],
    }
    trainer = _built(cfg, **given)
    if averaging and isinstance(trainer.strategy, FSDPStrategy):
        raise ConfigError("ema_decay averages whole weights and trainer=fsdp keeps shards: leave one of them out")
    if trainer.world_size > 1 and cfg.trainer.strategy == "auto":
        # A phase of the codebook trains some of the weights. Lightning's own choice, ddp, would wait
        # for the others.
        trainer = _built(cfg, strategy="ddp_find_unused_parameters_true", **given)
    return trainer


def _built(cfg: Config, **given: Any) -> L.Trainer:
    try:
        return build(cfg.trainer, **given)
    except MisconfigurationException as error:
        asked = " ".join(f"trainer.{key}={cfg.trainer[key]}" for key in ("accelerator", "devices"))
        raise ConfigError(
            f"{asked}: this machine can't train like that ({reason_of(error)}); "
            "trainer.accelerator=cpu and trainer.devices=1 work everywhere"
        ) from None


def supported_precision(precision: str | int, accelerator: str) -> str | int:
    """The precision; 32 bit in place of bfloat16 where the device has none. accelerator: Lightning's name of it."""
    device = "cuda" if torch.cuda.is_available() and accelerator != "cpu" else "cpu"
    return "32-true" if str(precision).startswith("bf16") and not has_bfloat16(device) else precision


def trained_model(trainer: L.Trainer, module: L.LightningModule, config: Mapping[str, Any]) -> torch.nn.Module:
    """The model after training. Where the processes hold shards of it, it is built again from all of them.

    config: of the model. Every process must call this; only the first one gets the whole weights.
    """
    if not isinstance(trainer.strategy, FSDPStrategy):
        return module.model
    whole = trainer.strategy.lightning_module_state_dict()
    if not trainer.is_global_zero:
        return module.model
    model = build(config)
    model.load_state_dict(
        {key.removeprefix("model."): value for key, value in whole.items() if key.startswith("model.")}
    )
    return model


@contextmanager
def processes_of_further_devices(folder: RunFolder) -> Iterator[None]:
    """Let Lightning start a process for each further device, which runs this run's command in its folder.

    Lightning repeats sys.argv, and numbers the processes by environment variables. Afterwards both are
    as before, so that the next run of a sweep, or of the demo, starts processes of its own.
    """
    argv, environment = sys.argv, set(os.environ)
    sys.argv = [argv[0], *shlex.split(folder.command)[1:], f"out={quoted(str(folder.path))}"]
    try:
        yield
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    except SystemExit:  # Lightning's answer to Ctrl+C; the command line answers KeyboardInterrupt
        raise KeyboardInterrupt from None
    finally:
        sys.argv = argv
        for name in os.environ.keys() - environment:
            del os.environ[name]


def silence_lightning() -> None:
    """Hide Lightning's advertisements, and its advice that does not apply here."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        "Your `IterableDataset` has",
        "You're resuming from",
        "The '.*_dataloader' does not",
        ".*LeafSpec",
        ".*eval mode",
        ".*sync_dist=True",  # every rank validates on all held-out batches
        "Grad strides do not match",
    ):
        warnings.filterwarnings("ignore", message=text)
    threading.excepthook = _unless_told_again


def _unless_told_again(failure: threading.ExceptHookArgs) -> None:
    """Print the traceback of a thread that failed; what TensorBoard's thread met is raised again by `_Events`."""
    if not (isinstance(failure.exc_value, OSError) and isinstance(failure.thread, _AsyncWriterThread)):
        threading.__excepthook__(failure)


class Feed(L.LightningDataModule):
    """Makes the loaders when the trainer asks for them: only then do the processes know their ranks.

    start: number of the first batch, counted from 0.
    """

    def __init__(self, batches: StageBatches, start: int) -> None:
        super().__init__()
        self.batches, self.start = batches, start

    def train_dataloader(self) -> Any:
        return self.batches.train_batches(self.start)

    def val_dataloader(self) -> Any:
        return _Unsized(self.batches)


class _Unsized:
    """Held-out batches without a length: the trainer would ask for it before the first step and open many clips."""

    def __init__(self, batches: StageBatches) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches.validation_batches())


class _Events(TensorBoardLogger):
    """TensorBoard's events. A thread writes them, so a refusal of the system comes with a later event."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        with writing(self.log_dir):
            super().log_metrics(metrics, step)

    def finalize(self, status: str) -> None:
        with writing(self.log_dir):
            super().finalize(status)


class _Bar(L.Callback):
    """Shows steps done, time passed and time left."""

    def __init__(self) -> None:
        self.bar: Progress | None = None

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.bar = progress_bar("training")
        self.task = self.bar.add_task("training", total=trainer.max_steps, completed=trainer.global_step)
        self.bar.start()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.bar.update(self.task, completed=trainer.global_step)

    def on_train_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.bar.stop()

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        if self.bar is not None:
            self.bar.stop()
