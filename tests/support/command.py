"""Made-up clips, a codebook small enough to be trained in a second or two, and runs that are killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from latentdrive import checkpoint
from latentdrive.commands import train
from latentdrive.config import compose
from latentdrive.run_folder import CHECKPOINT
from tests.support.data import passing, write_poses, write_video

CLIPS, SECONDS, HZ = 6, 5.0, 30
TINY = (
    "features=pixels",
    "model.features.channels=8",
    "model.width=32",
    "model.layers=1",
    "model.heads=2",
    "model.code_width=8",
    "model.codes=4",
    "model.dead_below=0.5",
    "training.schedule.motion=2",
    "training.schedule.environment=3",
    "training.schedule.reader=2",
    "training.schedule.ego=3",
    "training.schedule.warmup=1",
    "training.calibration_frames=16",
    "training.judges.probes.reader_steps=2",
    "batches.batch_size=4",
    "batches.held_out_windows=8",
    "batches.patch_grid=[4,8]",
    "batches.workers=0",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "threads=1",
    "save_every_steps=1",
)


def write_clips(folder: Path) -> Path:
    """A few walls passed at different speeds, with poses."""
    times = np.arange(round(SECONDS * HZ)) / HZ
    for number in range(CLIPS):
        pixels = times * (20 + 15 * number)
        path = write_video(folder / f"{number}.mp4", passing(number, pixels, (48, 96)), times)
        metres = pixels / 10
        write_poses(
            path.with_name(f"{number}.poses.csv"),
            times,
            np.stack([metres, 0 * times, 0 * times], -1),
            np.gradient(metres, times),
        )
    return folder


def video(clips: Path) -> tuple[str, ...]:
    """Overrides that read these clips."""
    return (
        "data=video",
        f"data.path={clips}",
        "data.height=32",
        "data.width=64",
        f"data.cache_folder={clips.parent / 'cache'}",
        "data.options.poses=recorded",
        "data.part.train_share=0.5",
        "data.part.gap_s=0.1",
    )


def train_codebook(clips: Path, out: Path, *changed: str) -> dict[str, Any]:
    """`latentdrive train codebook` in this process; returns the metrics."""
    return train.run(compose("train_codebook", [*video(clips), *TINY, f"out={out}", *changed]))


def weights(out: Path) -> bytes:
    """The weights file of a run's checkpoint."""
    return (out / CHECKPOINT / checkpoint.WEIGHTS).read_bytes()


class Killed(Exception):
    """Stands for a process that dies."""


@contextmanager
def killed_at(training: type, step: int, hook: str = "training_step") -> Iterator[None]:
    """A run of this training dies inside, in the optimiser step of this number (counted from 0) before it changes
    anything; with hook="validation_step", in the validation after this many steps.
    """
    real = getattr(training, hook)

    def dying(self, batch, number):
        if self.global_step == step:
            raise Killed
        return real(self, batch, number)

    with patch.object(training, hook, dying), pytest.raises(Killed):
        yield
