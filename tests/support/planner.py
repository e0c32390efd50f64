"""A small NAVSIM world, latent stores for it, and interruptions of training, for the tests of learned planners."""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from latentdrive.commands import train, world
from latentdrive.config import compose
from latentdrive.data.file_contents import FileContent
from latentdrive.data.latent_store import LatentWriter, StoreInfo, Windows
from latentdrive.planners.training import PlannerTraining
from latentdrive.types import LatentActions, LatentFeatures, Origin

CAMERAS, SIZES = ("CAM_F0", "CAM_L0", "CAM_R0", "CAM_B0"), ("width=96", "height=54", "oversampling=1")
WORLD = (
    "world=small",
    "processes=1",
    "world.drive_s=10",
    "world.sensors.lidar.rings=4",
    "world.sensors.lidar.columns=40",
    *(f"world.sensors.cameras.{camera}.{size}" for camera in CAMERAS for size in SIZES),
    "~world.splits.longtail",
    "world.splits.train.drives=3",
    "world.splits.train.points=16",
    "world.splits.val.drives=2",
    "world.splits.val.points=6",
    "world.splits.test.drives=1",
    "world.splits.test.points=4",
)
SHORT = (
    "training.schedule.steps=4",
    "training.schedule.warmup=1",
    "batches.batch_size=3",
    "batches.held_out_scenes=4",
    "batches.workers=0",
    "batches.processes=1",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "threads=1",
    "save_every_steps=2",
    "trainer.val_check_interval=4",
)


def write_world(folder: Path) -> list[str]:
    """Write the world; returns the words of every command that name it."""
    world.run(compose("world", [*WORLD, f"path={folder / 'navsim'}", f"out={folder / 'world'}"]))
    return [
        "data=navsim",
        f"data.path={folder / 'navsim'}",
        f"paths.data={folder}",
        f"paths.runs={folder}/runs",
        f"paths.stores={folder}/stores",
    ]


def train_planner(words: list[str], out: Path, *changed: str) -> dict[str, float]:
    """`latentdrive train planner` in this process; returns the metrics."""
    return train.run(compose("train_planner", [*words, *SHORT, f"out={out}", *changed]))


def write_store(
    folder: Path,
    windows: list[tuple[str, float]],
    *,
    origin: Origin = Origin.TEACHER,
    codebook: str = "book-a",
    width: int = 96,
    features: bool = True,
    middle: bool = False,
    contents: Mapping[str, list[FileContent]] = MappingProxyType({}),
) -> Path:
    """A store of one part, in which all embeddings of window i are i. windows: drive and time of each.

    middle: it has the features of a middle layer, too. contents: what was in the files of the drives.
    """
    info = StoreInfo(
        origin=origin,
        codebook_id=codebook,
        maker=f"maker-{codebook}",
        data="data",
        transition_s=0.5,
        transitions=3,
        codes_per_transition=4,
        codes=16,
        settings={},
        known=("motion",),
    )
    count, drives = len(windows), list(dict.fromkeys(drive for drive, _ in windows))
    numbers = torch.arange(count, dtype=torch.float32)[:, None, None]
    seen = LatentFeatures(visual=numbers.expand(-1, 8, width), action=numbers.expand(-1, 12, width))
    seen = replace(seen, middle=seen) if middle else seen
    latents = LatentActions(
        codes=torch.arange(count)[:, None].expand(-1, 12) % 16,
        environment=None,
        logits=torch.zeros(count, 12, 16),
        features=seen if features else None,
        codebook_id=codebook,
        origin=origin,
    )
    writer = LatentWriter(folder / "all", info)
    clip = np.array([drives.index(drive) for drive, _ in windows])
    times = np.array([time_s for _, time_s in windows])
    known = np.ones((count, 1), bool)
    writer.add(
        Windows(keys=drives, drives=drives, clip=clip, t0_s=times, latents=latents, known=known, contents=contents),
        next_clip=1,
        unreadable=[],
    )
    writer.finish()
    return folder


@contextmanager
def killed_in_batch(number: int) -> Iterator[None]:
    """The training step on the batch of this number, counted from 1 since the start of this process's run, raises
    ZeroDivisionError. Several batches make one optimiser step where gradients are accumulated.
    """
    calls, step = itertools.count(1), PlannerTraining.training_step

    def dying_step(self: PlannerTraining, *given: Any) -> Any:
        if next(calls) == number:
            raise ZeroDivisionError
        return step(self, *given)

    with patch.object(PlannerTraining, "training_step", dying_step):
        yield


@contextmanager
def hidden_pictures(home: Path, camera: str) -> Iterator[list[Path]]:
    """The pictures of a camera in the first log of the world below `home` do not exist meanwhile; their paths."""
    log = min((home / "navsim/sensor_blobs/trainval").iterdir())
    pictures = sorted((log / camera).glob("*.jpg"))
    hidden = [path.rename(path.with_suffix(".gone")) for path in pictures]
    try:
        yield pictures
    finally:
        for path in hidden:
            path.rename(path.with_suffix(".jpg"))
