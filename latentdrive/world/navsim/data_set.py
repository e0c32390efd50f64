"""Writing a NAVSIM data set: every drive of every split, their maps, their splits. The last step of the NAVSIM world.

A drive is a function of (seed, split, number): neither the number of processes nor an interruption changes a byte. Every drive has
a place of its own on one of nuPlan's four maps, and a seed and a road of its own: splits share none of them.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jaxtyping import Float64

from latentdrive.errors import ConfigError, WorkerDied
from latentdrive.files import write_atomic
from latentdrive.run_folder import progress
from latentdrive.types import FROZEN, RoadMap
from latentdrive.worker_pool import run_jobs
from latentdrive.world.navsim.city_drive import CitySpec, city_map, make_city_drive
from latentdrive.world.navsim.decision_points import dealt
from latentdrive.world.navsim.drive_writer import LogFiles, PointSpec, SensorSpec, write_navsim_drive
from latentdrive.world.navsim.log_frames import LogPlace
from latentdrive.world.navsim.point_scores import (
    PointScore,
    read_scores,
    score_points,
    too_easy,
    too_hard,
    write_scores,
)
from latentdrive.world.rendering.cameras import ProcessRenderer, Renderer
from latentdrive.world.rendering.scenery import Density
from latentdrive.world.roads.layouts import RoadType
from latentdrive.world.roads.map_checks import check_map
from latentdrive.world.roads.map_writer import write_maps
from latentdrive.world.roads.road_map import placed
from latentdrive.world.shares import in_shares, split_seed
from latentdrive.world.traffic.hazards import HazardKind

CARD, LOGS, BLOBS, MAPS, SPLITS, FILTERS = "world.json", "navsim_logs", "sensor_blobs", "maps", "splits", "scene_filter"
UNFILTERED = "_unfiltered"  # added to the name of a split that the score has dropped nothing from
MAP_VERSION = "nuplan-maps-v1.0"
FORMAT = 2  # raise it when the same settings give other bytes: an unfinished world is then not finished by other code
IDS_A_DRIVE = 1000
FIRST_US, DRIVE_US = (
    1_620_000_000_000_000,
    100_000_000,
)  # the first drive's start, and from one drive's start to the next


@dataclass(**FROZEN)
class NavsimSplit:
    """drives: how many. points: scenes that are chosen from them. data_split: folder of the logs. kinds: shares of roads, and of
    what happens on them."""

    drives: int
    points: int
    data_split: str
    kinds: Mapping[str, Mapping[str, float]]


@dataclass(**FROZEN)
class Place:
    """One of nuPlan's maps. crs: of its plane. origin_m: where the world's drives begin."""

    crs: str
    origin_m: tuple[float, float]


@dataclass(**FROZEN)
class NavsimWorld:
    """All that a NAVSIM data set is made from. rate_hz: of the simulation; log_hz: of the log. cell_m: distance of two drives."""

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
        """What will be written, a line a split."""
        frames = round(self.drive_s * self.log_hz)
        for name, split in self.splits.items():
            yield (
                f"{name}: {split.points:,} scenes from {split.drives:,} drives of {self.drive_s:g} s "
                f"({frames * split.drives:,} frames, {len(self.sensors.pictures)} cameras and LiDAR)"
            )

    def write(self, folder: str | Path, processes: int) -> dict[str, dict[str, int]]:
        """Write what is missing below `folder`; counts by split. The same call finishes what an interruption left.

        Raises DiskFull, and ConfigError for a folder that holds another world.
        """
        folder = Path(folder)
        orders = list(self.orders(folder))
        self._require_same(folder)
        missing = [order for order in orders if not order.files.log.is_file() or order.scores() is None]
        _write_drives(missing, self, processes)
        cards = {order.files.name: order.card() for order in orders}
        self._write_maps(folder, orders, cards)
        return self._write_splits(folder, orders, cards)

    def orders(self, folder: Path) -> Iterator["Order"]:
        """Every drive of every split, numbered through."""
        serial, names = 0, list(self.places)
        for split_name, split in self.splits.items():
            if unknown := set(split.kinds) - set(self.roads):
                raise ConfigError(f"world.splits.{split_name}.kinds: no road is called {', '.join(sorted(unknown))}")
            shares = {(road, one): share for road, kinds in split.kinds.items() for one, share in kinds.items()}
            kinds = in_shares(shares, split.drives)
            for number in range(split.drives):
                name = f"latentdrive_{split_name}_{number:05d}"
                seed = (self.seed, split_seed(split_name), number)
                where = names[serial % len(names)]
                yield Order(
                    files=LogFiles(
                        root=folder,
                        logs=folder / LOGS / split.data_split,
                        blobs=folder / BLOBS / split.data_split,
                        name=name,
                    ),
                    split=split_name,
                    road_type=kinds[number][0],
                    hazard=HazardKind(kinds[number][1]),
                    seed=seed,
                    first_id=IDS_A_DRIVE * (serial + 1),
                    place=LogPlace(
                        log=name,
                        map_name=where,
                        pose=self._pose(seed, where, serial // len(names)),
                        start_us=FIRST_US + serial * DRIVE_US,
                        key="/".join(map(str, seed)),
                    ),
                )
                serial += 1

    def _pose(self, seed: tuple[int, ...], where: str, cell: int) -> Float64[np.ndarray, "3"]:
        """Where a drive's plane lies: a cell of its own, along a growing square, turned at random."""
        side = int(np.ceil(np.sqrt(sum(split.drives for split in self.splits.values()) / len(self.places))))
        x, y = self.places[where].origin_m
        turn = float(np.random.default_rng((*seed, 9)).uniform(-np.pi, np.pi))
        return np.array([x + self.cell_m * (cell % side), y + self.cell_m * (cell // side), turn])

    def _write_maps(self, folder: Path, orders: list["Order"], cards: Mapping[str, dict]) -> None:
        parts: dict[str, list[RoadMap]] = {name: [] for name in self.places}
        for order in progress(orders, what="maps"):
            parts[order.place.map_name].append(self.map_of(order, cards[order.files.name]))
        maps = {name: joined(name, some) for name, some in parts.items()}
        write_maps(
            folder / MAPS, maps, crs={name: place.crs for name, place in self.places.items()}, version=MAP_VERSION
        )

    def map_of(self, order: "Order", card: Mapping[str, Any]) -> RoadMap:
        """The map of a drive that was written, in the global frame."""
        own = city_map(
            self.roads[order.road_type],
            (*order.seed, card["attempt"]),
            self.city,
            frames=round(self.drive_s * self.rate_hz),
            rate_hz=self.rate_hz,
            first_id=order.first_id,
            name=order.place.map_name,
        ).map
        return placed(own, order.place.pose)

    def _write_splits(
        self, folder: Path, orders: list["Order"], cards: Mapping[str, dict]
    ) -> dict[str, dict[str, int]]:
        """Each split twice: what is left when the score has dropped points, and SPLIT_unfiltered. Returns counts by split."""
        counts = {}
        for name, split in self.splits.items():
            own = [cards[order.files.name] for order in orders if order.split == name]
            scores = [order.scores() or [] for order in orders if order.split == name]
            everything = [[one.row for one in some] for some in scores]
            easy, hard = (
                [one for some in scores for one in some if wrong(one, self.points)] for wrong in (too_easy, too_hard)
            )
            dropped = {id(one) for one in (*easy, *hard)}
            kept = [[one.row for one in some if id(one) not in dropped] for some in scores]
            used, points = self._write_split(folder, name, split, own, dealt(kept, split.points))
            _, unfiltered = self._write_split(folder, name + UNFILTERED, split, own, dealt(everything, split.points))
            counts[name] = {
                "drives": split.drives,
                "drives_used": used,
                "frames": sum(card["frames"] for card in own),
                "moments": sum(
                    card["frames"] - self.points.history_frames + 1 - self.points.future_frames for card in own
                ),
                "candidates": sum(map(len, everything)),
                "dropped_as_too_easy": len(easy),
                "dropped_as_too_hard": len(hard),
                "points": points,
                "points_wanted": split.points,
                "points_unfiltered": unfiltered,
                "rejected_drives": sum(card["attempt"] for card in own),
            }
        return counts

    def _write_split(
        self, folder: Path, name: str, split: NavsimSplit, cards: list[dict], chosen: list[list[int]]
    ) -> tuple[int, int]:
        """NAVSIM's own form: SPLIT.yaml beside scene_filter/SPLIT.yaml. chosen: rows of each drive. Returns drives and points."""
        tokens = [token for card, rows in zip(cards, chosen) for row, token, _ in card["points"] if row in rows]
        used = [card["log"] for card, rows in zip(cards, chosen) if rows]
        content = {
            "_target_": "navsim.common.dataclasses.SceneFilter",
            "_convert_": "all",
            "num_history_frames": self.points.history_frames,
            "num_future_frames": self.points.future_frames,
            "frame_interval": 1,
            "has_route": True,
            "max_scenes": None,
            "log_names": used,
            "tokens": [_Quoted(token) for token in tokens],
        }
        top = {"defaults": [{FILTERS: name}], "data_split": split.data_split}
        _write_yaml(folder / SPLITS / FILTERS / f"{name}.yaml", content)
        _write_yaml(folder / SPLITS / f"{name}.yaml", top)
        return len(used), len(tokens)

    def _require_same(self, folder: Path) -> None:
        """Raise ConfigError where the folder holds another world, or a log that is not of this one."""
        text = json.dumps({"format": FORMAT} | asdict(self), default=_plain, indent=1, sort_keys=True) + "\n"
        path = folder / CARD
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            raise ConfigError(
                f"{folder} holds a world made with other settings, or by another version ({CARD} lists them): give another "
                "path=FOLDER, or remove it"
            )
        write_atomic(path, lambda new: new.write_text(text, encoding="utf-8"))
        planned = {order.files.log for order in self.orders(folder)}
        there = {log for log in (folder / LOGS).glob("*/*.pkl")}
        if foreign := sorted(log.stem for log in there - planned):
            raise ConfigError(
                f"{folder} holds {len(foreign)} logs that are not of this world, for example {', '.join(foreign[:3])}: "
                "remove them, or give another path=FOLDER"
            )


@dataclass(**FROZEN)
class Order:
    """One drive to be written."""

    files: LogFiles
    split: str
    road_type: str
    hazard: HazardKind
    seed: tuple[int, ...]
    first_id: int
    place: LogPlace

    def card(self) -> dict[str, Any]:
        """The card of the drive, which was written."""
        return json.loads(self.files.card.read_text(encoding="utf-8"))

    def scores(self) -> list[PointScore] | None:
        """Scores at the moments on its card; None where they have not been scored."""
        return read_scores(self.files.scores, [row for row, *_ in self.card()["points"]])


def joined(name: str, parts: list[RoadMap]) -> RoadMap:
    """Maps of several drives as one."""
    kinds = [kind.name for kind in fields(RoadMap) if kind.name != "name"]
    return RoadMap(name=name, **{kind: tuple(one for part in parts for one in getattr(part, kind)) for kind in kinds})


def _write_drives(orders: list[Order], world: NavsimWorld, processes: int) -> None:
    """Write what is missing of these drives."""
    renderer = ProcessRenderer(world.sensors.cameras[world.sensors.pictures[0]])
    work = partial(_write, world=world, renderer=renderer)
    processes = min(processes, len(orders))
    try:
        for order, result in run_jobs(work, orders, processes=processes, progress=progress, what="drives"):
            if isinstance(result, WorkerDied):
                raise WorkerDied(f"drive {order.files.name}: {result}; drives that are finished are kept")
    finally:
        renderer.close()


def _write(order: Order, *, world: NavsimWorld, renderer: ProcessRenderer) -> None:
    """What is missing of one drive: the drive itself, the scores of its moments."""
    if not order.files.log.is_file():
        _write_drive(order, world, renderer.opened())
    if order.scores() is None:
        card = order.card()
        rows = [row for row, *_ in card["points"]]
        scores = score_points(order.files.log, rows, world.map_of(order, card), world.points, log_hz=world.log_hz)
        write_scores(order.files.scores, scores)


def _write_drive(order: Order, world: NavsimWorld, renderer: Renderer) -> None:
    """Simulate, render and store one drive."""
    made = make_city_drive(
        road_type=order.road_type,
        road=world.roads[order.road_type],
        hazard=order.hazard,
        seed=order.seed,
        spec=world.city,
        frames=round(world.drive_s * world.rate_hz),
        rate_hz=world.rate_hz,
        first_id=order.first_id,
        name=order.place.map_name,
    )
    _require_room(order, made.map)
    check_map(made.map)
    write_navsim_drive(
        order.files,
        made,
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


def _require_room(order: Order, road_map: RoadMap) -> None:
    """Raise ConfigError where a drive's map has more parts than there are ids for it."""
    parts = (one for kind in fields(RoadMap) if kind.name != "name" for one in getattr(road_map, kind.name))
    last = max(int(one.id) for one in parts)
    if last >= order.first_id + IDS_A_DRIVE:
        raise ConfigError(
            f"{order.files.name}: its map has {last - order.first_id + 1} parts, a drive may have {IDS_A_DRIVE}: raise "
            "world.city.block_m, or shorten world.drive_s"
        )


def _plain(value):
    return value.tolist() if isinstance(value, np.ndarray) else dict(value)


class _Quoted(str):
    """Text that is quoted in YAML: NAVSIM's reader takes digits around an e for a number."""


class _Dumper(yaml.SafeDumper):
    """Writes _Quoted in quotes."""


_Dumper.add_representer(_Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'"))


def _write_yaml(path: Path, content: dict) -> None:
    text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=120)
    write_atomic(path, lambda new: new.write_text(text, encoding="utf-8"))
