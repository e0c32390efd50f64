"""Driving many drives: one file for each, with its sum, so that a second call drives only what is missing."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from latentdrive.build import build
from latentdrive.closed_loop.loop import Drive, drive
from latentdrive.closed_loop.measures import measure
from latentdrive.closed_loop.settings import LoopSettings
from latentdrive.closed_loop.views import Views
from latentdrive.evaluation.planning import AnyPlanner, sensors_of
from latentdrive.files import write_atomic
from latentdrive.plain_files import as_json, read_json
from latentdrive.sums import require_sums, write_sums
from latentdrive.world.navsim.data_set import NavsimWorld
from latentdrive.world.navsim.orders import Order
from latentdrive.world.rendering.cameras import ProcessRenderer

PLANNERS_OWN = ("replan_hz", "execute_poses", "execution")  # settings in which two planners may differ


class DriveWork:
    """Drives one order and writes its result. Each process builds the planner and opens a renderer once.

    planner: configuration of the planner. folder: of the results. plans: what decides its plans, as text; a result
    with another digest of it is driven again.
    """

    def __init__(
        self, world: NavsimWorld, planner: Mapping[str, Any], settings: LoopSettings, folder: Path, *, plans: str
    ) -> None:
        self._world, self._config, self._settings, self._folder = world, planner, settings, folder
        self._key = _digest([plans, asdict(settings)])
        self._renderer = ProcessRenderer(world.sensors.cameras[world.sensors.pictures[0]])
        self._planner: AnyPlanner | None = None

    def __getstate__(self) -> dict[str, object]:
        """Pickles without its planner; each process builds its own."""
        return self.__dict__ | {"_planner": None}

    def __call__(self, order: Order) -> None:
        """Drive, measure, and write the result. Raises ConfigError where the world has no acceptable drive."""
        if self._planner is None:
            self._planner = build(self._config)
        world, body, needs = self._world, self._world.city.traffic.ego, sensors_of(self._planner)
        live = world.live_drive(order, hand_over=first_row(world))
        renderer = self._renderer.opened() if needs.cameras or needs.lidar else None
        with tempfile.TemporaryDirectory() as blobs:
            views = Views(world, order, live, needs, Path(blobs), renderer)
            done = drive(self._planner, live, views, body, self._settings, world.rate_hz)
            measures = measure(done, live, views, body, self._settings, world.rate_hz)
        self._write(order, done, measures.plain())

    def result(self, order: Order) -> dict[str, Any] | None:
        """The written result of an order; None if it is missing, damaged, or of other settings."""
        try:
            content = read_result(result_file(self._folder, order))
        except (OSError, ValueError):
            return None
        same = content.get("key") == self._key and content.get("course") == self.course(order)
        return content if same else None

    def course(self, order: Order) -> str:
        """What the planner has no part in: the world, this drive of it, and the rules by which drives end.

        Results of two planners can be compared where their courses are the same.
        """
        ends = {name: value for name, value in asdict(self._settings).items() if name not in PLANNERS_OWN}
        world = {name: value for name, value in asdict(self._world).items() if name != "splits"}
        drive = (order.split, order.road_type, order.hazard, order.seed, order.first_id, asdict(order.place))
        return _digest([ends, world, drive])

    def _write(self, order: Order, done: Drive, measures: dict[str, Any]) -> None:
        path = result_file(self._folder, order)
        content = {
            "drive": order.name,
            "split": order.split,
            "road_type": order.road_type,
            "hazard": str(order.hazard),
            "key": self._key,
            "course": self.course(order),
            "settings": asdict(self._settings),
            "ended": done.ended,
            "failure": done.failure,
            "plans": len(done.plans),
            **measures,
        }
        path.with_suffix(".sha256").unlink(missing_ok=True)
        write_atomic(path, lambda new: new.write_text(as_json(content, default=float), encoding="utf-8"))
        write_sums(path.with_suffix(".sha256"), [path.name])


def first_row(world: NavsimWorld) -> int:
    """The row of the hand-over: the first one with a whole history at the log's rate."""
    return (world.points.history_frames - 1) * round(world.rate_hz / world.log_hz)


def _digest(decides: Any) -> str:
    return hashlib.sha256(json.dumps(decides, default=str, sort_keys=True).encode()).hexdigest()[:16]


def read_result(path: Path) -> dict[str, Any]:
    """What was written of a drive. Raises OSError or ValueError where it is missing or damaged."""
    require_sums(path.with_suffix(".sha256"), [path.name])
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError("it is no mapping")
    return content


def result_file(folder: Path, order: Order) -> Path:
    """File of a drive's result."""
    return folder / f"{order.name}.json"
