"""Writing a world: many drives, in parallel, deterministic, resumable.

Last step of the world. A drive is a function of (seed, split, number), so neither the number of processes nor an
interruption changes a byte. Splits use different seeds and share no drive.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from latentdrive.errors import ConfigError, WorkerDied
from latentdrive.files import write_atomic
from latentdrive.run_folder import progress
from latentdrive.types import FROZEN
from latentdrive.worker_pool import run_jobs
from latentdrive.world.clips import files
from latentdrive.world.clips.truth import clip_truth
from latentdrive.world.rendering import scenery
from latentdrive.world.rendering.cameras import CameraSpec, ProcessRenderer
from latentdrive.world.rendering.scenery import Density
from latentdrive.world.rendering.vehicles import vehicle
from latentdrive.world.roads.layouts import RoadType
from latentdrive.world.shares import in_shares, split_seed
from latentdrive.world.traffic.clip_drive import Kind, TrafficSpec, make_drive

CARD = "card.json"


@dataclass(**FROZEN)
class Split:
    """drives: how many. roads: share of each type of road. decorrelated_share: of drives whose ego goes its own way."""

    drives: int
    roads: Mapping[str, float]
    decorrelated_share: float


@dataclass(**FROZEN)
class World:
    """All that clips are made from: splits, and what a drive is made from but for its number.

    sidecars: whether poses, camera and truth are written beside each video.
    """

    seed: int
    roads: Mapping[str, RoadType]
    traffic: TrafficSpec
    density: Density
    camera: CameraSpec
    rate_hz: float
    drive_s: float
    transition_s: float
    crf: int
    sidecars: bool
    splits: Mapping[str, Split]

    def lines(self) -> Iterator[str]:
        """What will be written, a line a split."""
        for name, split in self.splits.items():
            yield f"{name}: {split.drives:,} drives of {self.drive_s:g} s, {split.decorrelated_share:.0%} of them decorrelated"

    def write(self, folder: str | Path, processes: int) -> dict[str, dict[str, int]]:
        """Write every split's drives into folder/SPLIT/, but for those that are there already; a card.json beside each split.

        The same call finishes what an interruption left. Returns counts by split, of what is now on disk. Raises DiskFull, and
        ConfigError for a folder that holds anything else: the plan of a split depends on its number of drives, so a split
        can't grow.
        """
        write_world(Path(folder), self, processes)
        frames = round(self.drive_s * self.rate_hz)
        return {name: {"drives": split.drives, "frames": split.drives * frames} for name, split in self.splits.items()}


@dataclass(**FROZEN)
class _Order:
    folder: Path
    name: str
    road_type: str
    kind: Kind
    seed: tuple[int, ...]


def write_world(folder: Path, world: World, processes: int) -> None:
    """The work of World.write."""
    plans = {name: _orders(folder / name, name, split, world) for name, split in world.splits.items()}
    cards = {name: _card(name, split, world) for name, split in world.splits.items()}
    for name, plan in plans.items():
        _require_same(folder / name, cards[name], plan)
    for name, card in cards.items():
        _write_card(folder / name / CARD, card)
    orders = [order for plan in plans.values() for order in plan]
    missing = [order for order in orders if not (order.folder / f"{order.name}.mp4").is_file()]
    _write_drives(missing, world, processes)


def _orders(folder: Path, split_name: str, split: Split, world: World) -> list[_Order]:
    """Types of road and kinds in exact shares, so a small split is no worse mixed than a large one."""
    if unknown := set(split.roads) - set(world.roads):
        raise ConfigError(f"world.splits.{split_name}.roads: no road is called {', '.join(sorted(unknown))}")
    orders = []
    for number, road_type in enumerate(in_shares(split.roads, split.drives)):
        decorrelated = int((number + 1) * split.decorrelated_share) > int(number * split.decorrelated_share)
        kind = Kind.DECORRELATED if decorrelated else Kind.NATURAL
        name = f"{road_type}_{kind}_{number:05d}"
        orders.append(
            _Order(
                folder=folder,
                name=name,
                road_type=road_type,
                kind=kind,
                seed=(world.seed, split_seed(split_name), number),
            )
        )
    return orders


def _write_drives(orders: list[_Order], world: World, processes: int) -> None:
    renderer = ProcessRenderer(world.camera)
    work = partial(_write, world=world, renderer=renderer)
    processes = min(processes, len(orders))
    try:
        for order, result in run_jobs(work, orders, processes=processes, progress=progress, what="drives"):
            if isinstance(result, WorkerDied):
                raise WorkerDied(f"drive {order.name} in {order.folder}: {result}; drives that are finished are kept")
    finally:
        renderer.close()


def _write(order: _Order, *, world: World, renderer: ProcessRenderer) -> None:
    """Simulate, render and store one drive."""
    stage = renderer.opened()
    frames = round(world.drive_s * world.rate_hz)
    drive = make_drive(
        road_type=order.road_type,
        kind=order.kind,
        seed=order.seed,
        road=world.roads[order.road_type],
        traffic=world.traffic,
        frames=frames,
        rate_hz=world.rate_hz,
    )
    rng = np.random.default_rng((*order.seed, 1))
    look = scenery.random_look(rng)
    vehicles = [
        vehicle(rng, size, kind, look.daylight)
        for size, kind in zip(drive.agents.sizes, drive.agents.kinds, strict=True)
    ]
    stage.set_up(scenery.surroundings(drive.lanes, look, world.density).meshes(), vehicles, look.sky, look.daylight)
    pictures = np.stack([stage.picture(ego, poses) for ego, poses in zip(drive.ego, drive.agents.poses, strict=True)])
    truth = clip_truth(drive, world.camera, transition_s=world.transition_s, rate_hz=world.rate_hz, key=order.name)
    if world.sidecars:
        files.write_sidecars(order.folder, order.name, drive=drive, truth=truth, spec=world.camera)
    files.write_video(
        order.folder, order.name, frames=pictures, spec=world.camera, rate_hz=world.rate_hz, crf=world.crf
    )


def _card(name: str, split: Split, world: World) -> dict:
    """What a split is made of, in full."""
    frames = split.drives * round(world.drive_s * world.rate_hz)
    card = {
        "what": f"built-in world, split {name}",
        "split": asdict(split),
        "frames": frames,
        "intrinsics": world.camera.intrinsics.tolist(),
        "world": {key: value for key, value in asdict(world).items() if key != "splits"},
    }
    return json.loads(json.dumps(card, default=dict))


def _require_same(folder: Path, card: dict, plan: list[_Order]) -> None:
    """Raise ConfigError where the folder's card, or a drive in it, is not of this split: clips are read by folder."""
    if (folder / CARD).is_file():
        old = json.loads((folder / CARD).read_text(encoding="utf-8"))
        if changed := [key for key in ("world", "split") if old.get(key) != card[key]]:
            raise ConfigError(
                f"{folder} holds a world made with other settings of {' and '.join(changed)} ({_told(old, card)}): "
                "give another path=FOLDER, or remove that folder"
            )
    planned = {order.name for order in plan}
    if foreign := sorted(path.stem for path in folder.glob("*.mp4") if path.stem not in planned):
        raise ConfigError(
            f"{folder} holds {len(foreign)} drives that are not of this world, for example {', '.join(foreign[:3])}: "
            "remove them, or give another path=FOLDER"
        )


def _told(old: dict, new: dict) -> str:
    """What a split's card says and what was asked for, where they differ."""
    before, now = old.get("split") or {}, new["split"]
    changed = [f"{key} {before.get(key)}, not {now[key]}" for key in now if before.get(key) != now[key]]
    return ", ".join(changed) or "its card.json lists them"


def _write_card(path: Path, card: dict) -> None:
    write_atomic(path, lambda new: new.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8"))
