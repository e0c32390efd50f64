"""Shared by the writers of clips and of the NAVSIM world: writing many drives, and checks of settings and folders.

A drive is a function of (seed, split, number), so neither the number of processes nor an
interruption changes a byte.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from latentdrive.counting import counted
from latentdrive.errors import ConfigError, WorkerDied
from latentdrive.run_folder import progress
from latentdrive.worker_pool import run_jobs
from latentdrive.world.rendering.cameras import CameraSpec, ProcessRenderer
from latentdrive.world.roads.layouts import RoadType


@runtime_checkable
class DriveOrder(Protocol):
    """A drive to be written."""

    @property
    def name(self) -> str:
        """Name of the drive, for messages."""


Order = TypeVar("Order", bound=DriveOrder)


def write_drives(
    write: Callable[[Order, ProcessRenderer], None], orders: Sequence[Order], *, camera: CameraSpec, processes: int
) -> None:
    """Call `write` with each order and a renderer, in `processes` processes; show progress.

    write: a function of a module, or a partial of one. camera: opens the renderer of each process.
    Raises WorkerDied for drives whose process was killed, once all others are written.
    """
    renderer = ProcessRenderer(camera)
    work = partial(write, renderer=renderer)
    try:
        jobs = run_jobs(work, orders, processes=min(processes, len(orders)), progress=progress, what="drives")
        lost = [(order.name, result) for order, result in jobs if isinstance(result, WorkerDied)]
    finally:
        renderer.close()
    if lost:
        name, reason = lost[0]
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise WorkerDied(f"drive {name}{more}: {reason}; finished drives are kept, repeat the command")


def require_known_roads(names: Iterable[str], roads: Mapping[str, RoadType], key: str) -> None:
    """Raise ConfigError if `names`, which stand under the configuration key `key`, contain an unknown type of road."""
    if unknown := sorted(set(names) - set(roads)):
        raise ConfigError(
            f"{key} names unknown types of road: {', '.join(unknown)}; world.roads has {', '.join(sorted(roads))}"
        )


def require_only_planned(folder: Path, present: Iterable[Path], planned: Set[Path]) -> None:
    """Raise ConfigError if files of drives that are present below `folder` are not planned."""
    if foreign := sorted(path.stem for path in present if path not in planned):
        raise ConfigError(
            f"{folder} holds {counted(len(foreign), 'drive')} of another world, for example "
            f"{', '.join(foreign[:3])}: remove them, or give another path=FOLDER"
        )
