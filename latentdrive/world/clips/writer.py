"""The clips of the built-in world: writes the drives of every split as videos, in parallel and resumably.

A drive is a function of (seed, split, number). Splits use different seeds and share no drive.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from latentdrive.counting import counted
from latentdrive.errors import ConfigError
from latentdrive.files import write_atomic
from latentdrive.plain_files import read_json
from latentdrive.types import FROZEN
from latentdrive.world.clips import files
from latentdrive.world.clips.truth import clip_truth
from latentdrive.world.many_drives import require_known_roads, require_only_planned, write_drives
from latentdrive.world.rendering import scenery
from latentdrive.world.rendering.cameras import CameraSpec, ProcessRenderer
from latentdrive.world.rendering.scenery import Density
from latentdrive.world.rendering.vehicles import vehicle
from latentdrive.world.roads.layouts import RoadType
from latentdrive.world.shares import in_shares, split_seed
from latentdrive.world.traffic.clip_drive import DriveKind, TrafficSpec, make_drive

CARD = "card.json"


@dataclass(**FROZEN)
class Split:
    """A split. drives: their number. roads: share of each type of road. decorrelated_share: of decorrelated drives."""

    drives: int
    roads: Mapping[str, float]
    decorrelated_share: float


@dataclass(**FROZEN)
class World:
    """The settings of the clips.

    rate_hz: of the video. drive_s: length of a drive. transition_s: time over which image motion is
    measured. crf: x264's quality. sidecars: whether poses, camera and truth are written beside each
    video.
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
        """Describe what will be written, in one line for each split."""
        for name, split in self.splits.items():
            yield (
                f"{name}: {counted(split.drives, 'drive')} of {self.drive_s:g} s, "
                f"{split.decorrelated_share:.0%} of them decorrelated"
            )

    def write(self, folder: str | Path, processes: int) -> dict[str, dict[str, int]]:
        """Write the missing drives of every split into folder/SPLIT/, with a card.json; return counts by split.

        The same call finishes an interrupted one. Raises DiskFull, and ConfigError for a folder
        that holds anything else: the plan of a split depends on its number of drives, so a split
        cannot grow.
        """
        folder = Path(folder)
        orders = {name: _orders(folder / name, name, split, self) for name, split in self.splits.items()}
        cards = {name: _card(name, split, self) for name, split in self.splits.items()}
        for name, planned in orders.items():
            _require_same(folder / name, cards[name], planned)
        for name, card in cards.items():
            text = json.dumps(card, indent=1) + "\n"
            write_atomic(folder / name / CARD, partial(_write_text, text))
        missing = [order for planned in orders.values() for order in planned if not order.video.is_file()]
        write_drives(partial(_write, self), missing, camera=self.camera, processes=processes)
        frames = round(self.drive_s * self.rate_hz)
        return {name: {"drives": split.drives, "frames": split.drives * frames} for name, split in self.splits.items()}


@dataclass(**FROZEN)
class _Order:
    """One drive to be written."""

    folder: Path
    name: str
    road_type: str
    kind: DriveKind
    seed: tuple[int, ...]

    @property
    def video(self) -> Path:
        """Its video, which marks a finished drive."""
        return self.folder / f"{self.name}.mp4"


def _orders(folder: Path, split_name: str, split: Split, world: World) -> list[_Order]:
    """The drives of a split, with exact shares of types of road and of kinds."""
    require_known_roads(split.roads, world.roads, f"world.splits.{split_name}.roads")
    orders = []
    for number, road_type in enumerate(in_shares(split.roads, split.drives)):
        decorrelated = int((number + 1) * split.decorrelated_share) > int(number * split.decorrelated_share)
        kind = DriveKind.DECORRELATED if decorrelated else DriveKind.NATURAL
        orders.append(
            _Order(
                folder=folder,
                name=f"{road_type}_{kind}_{number:05d}",
                road_type=road_type,
                kind=kind,
                seed=(world.seed, split_seed(split_name), number),
            )
        )
    return orders


def _write(world: World, order: _Order, renderer: ProcessRenderer) -> None:
    """Simulate, render and store one drive."""
    drive = make_drive(
        road_type=order.road_type,
        kind=order.kind,
        seed=order.seed,
        road=world.roads[order.road_type],
        traffic=world.traffic,
        frames=round(world.drive_s * world.rate_hz),
        rate_hz=world.rate_hz,
    )
    rng = np.random.default_rng((*order.seed, 1))
    look = scenery.random_look(rng)
    vehicles = [
        vehicle(rng, size, kind, look.daylight)
        for size, kind in zip(drive.agents.sizes, drive.agents.kinds, strict=True)
    ]
    stage = renderer.opened()
    stage.set_up(scenery.surroundings(drive.lanes, look, world.density).meshes(), vehicles, look.sky, look.daylight)
    pictures = np.stack([stage.picture(ego, poses) for ego, poses in zip(drive.ego, drive.agents.poses, strict=True)])
    truth = clip_truth(drive, world.camera, transition_s=world.transition_s, rate_hz=world.rate_hz, key=order.name)
    if world.sidecars:
        files.write_sidecars(order.folder, order.name, drive=drive, truth=truth, spec=world.camera)
    files.write_video(
        order.folder, order.name, frames=pictures, spec=world.camera, rate_hz=world.rate_hz, crf=world.crf
    )


def _card(name: str, split: Split, world: World) -> dict[str, Any]:
    """All settings of a split."""
    card = {
        "what": f"built-in world, split {name}",
        "split": asdict(split),
        "frames": split.drives * round(world.drive_s * world.rate_hz),
        "intrinsics": world.camera.intrinsics.tolist(),
        "world": {key: value for key, value in asdict(world).items() if key != "splits"},
    }
    return json.loads(json.dumps(card, default=dict))


def _require_same(folder: Path, card: dict[str, Any], planned: Sequence[_Order]) -> None:
    """Raise ConfigError if the folder's card or a drive in it is not of this split: clips are read by folder."""
    if (folder / CARD).is_file():
        old = _read_card(folder)
        if changed := [key for key in ("world", "split") if old.get(key) != card[key]]:
            raise ConfigError(
                f"{folder} holds a world made with other settings of {' and '.join(changed)} ({_changes(old, card)}): "
                "give another path=FOLDER, or remove that folder"
            )
    require_only_planned(folder, folder.glob("*.mp4"), {order.video for order in planned})


def _read_card(folder: Path) -> dict[str, Any]:
    try:
        card = read_json(folder / CARD)
    except ValueError as error:
        raise ConfigError(f"{folder / CARD} {error}: remove {folder}, and the same command makes it again") from None
    if not isinstance(card, dict):
        raise ConfigError(f"{folder / CARD} is no card of a world: give another path=FOLDER, or remove it")
    return card


def _changes(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The settings of a split that differ: the values on its card, and the requested values."""
    before, now = old.get("split"), new["split"]
    before = before if isinstance(before, dict) else {}
    changed = [f"{key} {before.get(key)}, not {now[key]}" for key in now if before.get(key) != now[key]]
    return ", ".join(changed) or "its card.json lists them"


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")
