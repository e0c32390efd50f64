"""The NAVSIM data set of the built-in world: writes every drive of every split, then the maps and the splits.

A drive is a function of (seed, split, number). Every drive has a seed, a road and a place of its
own on one of nuPlan's four maps, so splits share none of them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from latentdrive.counting import counted
from latentdrive.errors import ConfigError
from latentdrive.files import write_atomic
from latentdrive.run_folder import progress
from latentdrive.types import FROZEN, RoadMap
from latentdrive.world.many_drives import require_known_roads, require_only_planned, write_drives
from latentdrive.world.navsim.city_drive import (
    CityDrive,
    CitySpec,
    begin_city_drive,
    city_map,
    draw_ground,
    make_city_drive,
)
from latentdrive.world.navsim.drive_writer import LogFiles, PointSpec, SensorSpec, write_navsim_drive
from latentdrive.world.navsim.live_drive import LiveDrive
from latentdrive.world.navsim.log_frames import LogPlace
from latentdrive.world.navsim.orders import Order, candidate_rows
from latentdrive.world.navsim.point_scores import score_points, write_scores
from latentdrive.world.navsim.split_files import ScoredDrive, write_split
from latentdrive.world.rendering.cameras import ProcessRenderer, Renderer
from latentdrive.world.rendering.scenery import Density
from latentdrive.world.roads.layouts import RoadType
from latentdrive.world.roads.map_checks import KINDS, check_map
from latentdrive.world.roads.map_writer import write_maps
from latentdrive.world.roads.road_map import joined, placed
from latentdrive.world.shares import in_shares, split_seed
from latentdrive.world.traffic.hazards import HazardKind

CARD, LOGS, BLOBS, MAPS, SPLITS = "world.json", "navsim_logs", "sensor_blobs", "maps", "splits"
MAP_VERSION = "nuplan-maps-v1.0"
FORMAT = 2  # raise it when the same settings give other bytes, so that this code finishes no world of other code
IDS_A_DRIVE = 1000  # ids of map objects that are reserved for a drive
FIRST_US = 1_620_000_000_000_000  # start of the first drive
DRIVE_US = 100_000_000  # from the start of a drive to that of the next


@dataclass(**FROZEN)
class NavsimSplit:
    """A split. drives: their number. points: number of scenes that are chosen from them.
    data_split: folder of the logs.

    kinds: by type of road, the shares of the hazards that happen on it.
    """

    drives: int
    points: int
    data_split: str
    kinds: Mapping[str, Mapping[str, float]]


@dataclass(**FROZEN)
class Place:
    """One of nuPlan's maps. crs: its coordinate system. origin_m: where the drives of the world begin there."""

    crs: str
    origin_m: tuple[float, float]


@dataclass(**FROZEN)
class NavsimWorld:
    """The settings of a NAVSIM data set.

    drive_s: length of a drive. rate_hz: of the simulation. log_hz: of the log. cell_m: distance
    between the places of two drives on a map. places: by nuPlan's names of its maps.
    """

    seed: int
    drive_s: float
    rate_hz: float
    log_hz: float
    roads: Mapping[str, RoadType]
    city: CitySpec
    density: Density
    sensors: SensorSpec
    points: PointSpec
    places: Mapping[str, Place]
    cell_m: float
    splits: Mapping[str, NavsimSplit]

    def lines(self) -> Iterator[str]:
        """Describe what will be written, in one line for each split."""
        frames = round(self.drive_s * self.log_hz)
        for name, split in self.splits.items():
            yield (
                f"{name}: {counted(split.points, 'scene')} from {counted(split.drives, 'drive')} of {self.drive_s:g} s "
                f"({counted(frames * split.drives, 'frame')}, {counted(len(self.sensors.pictures), 'camera')} "
                "and LiDAR)"
            )

    def write(self, folder: str | Path, processes: int) -> dict[str, dict[str, int]]:
        """Write what is missing below `folder`; return counts by split. The same call finishes an interrupted one.

        Raises DiskFull, and ConfigError for a folder that holds another world.
        """
        folder = Path(folder)
        orders = list(self.orders(folder))
        self._require_same(folder, orders)
        missing = [order for order in orders if not order.finished()]
        camera = self.sensors.cameras[self.sensors.pictures[0]]
        write_drives(partial(_write_missing, self), missing, camera=camera, processes=processes)
        cards = {order.name: order.card() for order in orders}
        self._write_maps(folder, orders, cards)
        counts = {}
        for name, split in self.splits.items():
            drives = [
                ScoredDrive(card=cards[order.name], scores=order.scores() or [])
                for order in orders
                if order.split == name
            ]
            counts[name] = write_split(
                folder / SPLITS, name, drives, self.points, data_split=split.data_split, wanted=split.points
            )
        return counts

    def orders(self, folder: Path) -> Iterator[Order]:
        """Yield an order for every drive of every split."""
        serial, places = 0, list(self.places)
        for split_name, split in self.splits.items():
            require_known_roads(split.kinds, self.roads, f"world.splits.{split_name}.kinds")
            shares = {
                (road, hazard): share for road, hazards in split.kinds.items() for hazard, share in hazards.items()
            }
            logs, blobs = folder / LOGS / split.data_split, folder / BLOBS / split.data_split
            for number, (road_type, hazard) in enumerate(in_shares(shares, split.drives)):
                name = f"latentdrive_{split_name}_{number:05d}"
                seed = (self.seed, split_seed(split_name), number)
                map_name, cell = places[serial % len(places)], serial // len(places)
                yield Order(
                    files=LogFiles(root=folder, logs=logs, blobs=blobs, name=name),
                    split=split_name,
                    road_type=road_type,
                    hazard=HazardKind(hazard),
                    seed=seed,
                    first_id=IDS_A_DRIVE * (serial + 1),
                    place=LogPlace(
                        log=name,
                        map_name=map_name,
                        pose=self._pose(seed, map_name, cell),
                        start_us=FIRST_US + serial * DRIVE_US,
                        key="/".join(map(str, seed)),
                    ),
                )
                serial += 1

    def city_drive(self, order: Order) -> CityDrive:
        """Simulate the drive of an order."""
        return make_city_drive(
            road_type=order.road_type,
            road=self.roads[order.road_type],
            hazard=order.hazard,
            seed=order.seed,
            spec=self.city,
            frames=round(self.drive_s * self.rate_hz),
            rate_hz=self.rate_hz,
            first_id=order.first_id,
            name=order.place.map_name,
        )

    def live_drive(self, order: Order, *, hand_over: int) -> LiveDrive:
        """Begin the drive of an order, and let the built-in driver drive it up to row `hand_over`."""
        recorded, frames = self.city_drive(order), round(self.drive_s * self.rate_hz)
        rng = np.random.default_rng((*order.seed, recorded.attempt))
        ground = draw_ground(
            rng, self.roads[order.road_type], self.city, frames, self.rate_hz, order.first_id, order.place.map_name
        )
        begun = begin_city_drive(rng, ground, order.hazard, self.city, frames, self.rate_hz)
        return LiveDrive(recorded, begun, hand_over=hand_over)

    def map_of(self, order: Order, card: Mapping[str, Any]) -> RoadMap:
        """Return the map of a written drive in the global frame. card: that of the drive."""
        mapped = city_map(
            self.roads[order.road_type],
            (*order.seed, card["attempt"]),
            self.city,
            frames=round(self.drive_s * self.rate_hz),
            rate_hz=self.rate_hz,
            first_id=order.first_id,
            name=order.place.map_name,
        )
        return placed(mapped.map, order.place.pose)

    def _pose(self, seed: tuple[int, ...], map_name: str, cell: int) -> Float64[np.ndarray, "3"]:
        """Pose of a drive's plane on a map: in a cell of its own, on a square of cells, with a random heading."""
        side = int(np.ceil(np.sqrt(sum(split.drives for split in self.splits.values()) / len(self.places))))
        x, y = self.places[map_name].origin_m
        heading = float(np.random.default_rng((*seed, 9)).uniform(-np.pi, np.pi))
        return np.array([x + self.cell_m * (cell % side), y + self.cell_m * (cell // side), heading])

    def _write_maps(self, folder: Path, orders: Sequence[Order], cards: Mapping[str, dict]) -> None:
        drive_maps: dict[str, list[RoadMap]] = {name: [] for name in self.places}
        for order in progress(orders, what="maps"):
            drive_maps[order.place.map_name].append(self.map_of(order, cards[order.name]))
        maps = {name: joined(name, own) for name, own in drive_maps.items()}
        crs = {name: place.crs for name, place in self.places.items()}
        write_maps(folder / MAPS, maps, crs=crs, version=MAP_VERSION)

    def _require_same(self, folder: Path, orders: Sequence[Order]) -> None:
        """Raise ConfigError if the folder holds another world or a log that is not planned; else write the card."""
        text = json.dumps({"format": FORMAT} | asdict(self), default=_plain, indent=1, sort_keys=True) + "\n"
        path = folder / CARD
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            raise ConfigError(
                f"{folder} holds a world made with other settings or by another version, see its {CARD}: "
                "give another path=FOLDER, or remove it"
            )
        require_only_planned(folder, (folder / LOGS).glob("*/*.pkl"), {order.files.log for order in orders})
        write_atomic(path, lambda new: new.write_text(text, encoding="utf-8"))


def _write_missing(world: NavsimWorld, order: Order, renderer: ProcessRenderer) -> None:
    """Write what is missing of one drive: the drive itself, or the scores at its candidate moments."""
    if not order.files.log.is_file():
        _write_drive(world, order, renderer.opened())
    if order.scores() is None:
        card = order.card()
        rows = candidate_rows(card)
        scores = score_points(order.files.log, rows, world.map_of(order, card), world.points, log_hz=world.log_hz)
        write_scores(order.files.scores, scores)


def _write_drive(world: NavsimWorld, order: Order, renderer: Renderer) -> None:
    """Simulate, render and store one drive."""
    city_drive = world.city_drive(order)
    _require_enough_ids(order, city_drive.map)
    check_map(city_drive.map)
    write_navsim_drive(
        order.files,
        city_drive,
        order.place,
        renderer,
        sensors=world.sensors,
        density=world.density,
        shoulder_m=world.city.shoulder_m,
        points=world.points,
        rate_hz=world.rate_hz,
        log_hz=world.log_hz,
        facts={"split": order.split, "seed": list(order.seed)},
    )


def _require_enough_ids(order: Order, road_map: RoadMap) -> None:
    """Raise ConfigError if a drive's map has more objects than there are ids for it."""
    last = max(int(item.id) for kind in KINDS for item in getattr(road_map, kind))
    if last >= order.first_id + IDS_A_DRIVE:
        raise ConfigError(
            f"{order.name}: its map has {counted(last - order.first_id + 1, 'object')}, but a drive may have "
            f"{IDS_A_DRIVE}: raise world.city.block_m, or lower world.drive_s"
        )


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else dict(value)
