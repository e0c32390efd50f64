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
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from rich.progress import Progress
from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread

from latentdrive.build import build
from latentdrive.config import Config
from latentdrive.errors import CheckpointError, ConfigError, Diverged, reason_of
from latentdrive.files import remove_abandoned, write_atomic
from latentdrive.overrides import quoted
from latentdrive.run_folder import RESUME, RunFolder, progress_bar
from latentdrive.stages.batches import StageBatches
from latentdrive.stages.best import KeepBest
from latentdrive.writing import writing

STATE = "last.ckpt"  # file in the folder RESUME
ORDER = "parameters"  # key in STATE: names of the weights in their order
SECONDS = "seconds"  # key in STATE: how long the run had taken when it was saved


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
        "precision": supported_precision(cfg.trainer.precision),
        "enable_progress_bar": False,  # ours knows how many steps a resumed run has done
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,  # the batches know their rank
        "default_root_dir": str(folder.path),
        "logger": _Events(str(folder.path), name="", version=""),
        "callbacks": [*keep, *averaging, *bar, _StopAtNan(folder), _SaveState(folder, every=cfg.save_every_steps)],
        "plugins": [_AtomicFiles()],
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


def supported_precision(precision: str | int) -> str | int:
    """The precision; 32 bit in place of bfloat16 where the GPU has none."""
    if str(precision).startswith("bf16") and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        return "32-true"
    return precision


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


class _StopAtNan(L.Callback):
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


class _SaveState(L.Callback):
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


class _Events(TensorBoardLogger):
    """TensorBoard's events. A thread writes them, so a refusal of the system comes with a later event."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        with writing(self.log_dir):
            super().log_metrics(metrics, step)

    def finalize(self, status: str) -> None:
        with writing(self.log_dir):
            super().finalize(status)


class _AtomicFiles(TorchCheckpointIO):
    """Writes whole files: a killed run or a full disk leaves the state before, or the new one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        def write(new: Path) -> None:
            with new.open("wb") as file:
                torch.save(checkpoint, file)

        remove_abandoned(Path(path))
        write_atomic(path, write)


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
