"""Driving many drives: one file for each, with its sum, so that a second call drives only what is missing."""

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


class DriveWork:
    """Drives one order and writes its result. Each process builds the planner and opens a renderer once.

    planner: configuration of the planner. folder: of the results. key: what decides them, kept in each.
    """

    def __init__(
        self, world: NavsimWorld, planner: Mapping[str, Any], settings: LoopSettings, folder: Path, key: str
    ) -> None:
        self._world, self._config, self._settings, self._folder, self._key = world, planner, settings, folder, key
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
        path = result_file(self._folder, order)
        try:
            require_sums(path.with_suffix(".sha256"), [path.name])
            content = read_json(path)
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) and content.get("key") == self._key else None

    def _write(self, order: Order, done: Drive, measures: dict[str, Any]) -> None:
        path = result_file(self._folder, order)
        content = {
            "drive": order.name,
            "split": order.split,
            "road_type": order.road_type,
            "hazard": str(order.hazard),
            "key": self._key,
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


def result_file(folder: Path, order: Order) -> Path:
    """File of a drive's result."""
    return folder / f"{order.name}.json"
