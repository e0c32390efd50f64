"""Scenes that NAVSIM's devkit scored, as our types.

The raw log goes through our own reader, so nothing of the answers leaks into the scenes. The folder
is $LATENTDRIVE_GOLDEN, or golden/public beside the repository; without it, tests are skipped. The
README beside that folder says what a file holds. Answers of a scene are
`golden(name).answers(number)`.
"""

import gzip
import json
import os
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentdrive.data.navsim.frames import CAMERAS, log_frame
from latentdrive.data.navsim.log import NavsimLog, log_of
from latentdrive.data.navsim.scenes import Cut, open_truth
from latentdrive.types import MapArea, MapConnection, MapLane, RoadMap, SceneTruth

FOLDER = Path(os.environ.get("LATENTDRIVE_GOLDEN", Path(__file__).resolve().parents[3] / "shared/golden/public"))
FILES = sorted(path.name.removesuffix(".json.gz") for path in FOLDER.glob("*.json.gz"))
HISTORY, FUTURE = 4, 10
SCENES = 2  # a file: previous and now, 0.5 s apart


@dataclass(frozen=True)
class Golden:
    """One file: a log with two scenes."""

    name: str
    content: dict[str, Any] = field(repr=False)

    @cached_property
    def log(self) -> NavsimLog:
        """The raw frames, read by our own reader."""
        return log_of([log_frame(_entry(frame, self.content)) for frame in self.content["frames"]])

    @cached_property
    def map(self) -> RoadMap:
        """The road network."""
        return _road_map(self.content["map_location"], self.content["map"])

    def answers(self, number: int) -> dict[str, Any]:
        """What the devkit says about one scene."""
        return self.content["scenes"][number]

    def truth(self, number: int) -> SceneTruth:
        """One scene as scoring may know it."""
        now = self.answers(number)["current_frame_index"]
        end = min(now + 1 + FUTURE, len(self.log))
        cut = Cut(
            log=self.log,
            token=self.answers(number)["token"],
            drive=self.content["log_name"],
            first=now - HISTORY + 1,
            now=now,
            end=end,
        )
        return open_truth(cut, Path(self.name), {self.content["map_location"]: self.map})


@lru_cache(maxsize=4)
def golden(name: str) -> Golden:
    """A file by its name without extension."""
    return Golden(name, json.loads(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes())))


def every_file(test: Any) -> Any:
    """Run a test once for each file, as argument `name`. Skip it if there are no files."""
    if not FILES and "LATENTDRIVE_GOLDEN" in os.environ:
        raise FileNotFoundError(
            f"LATENTDRIVE_GOLDEN={FOLDER}: no *.json.gz there; give the folder of golden files, or unset it"
        )
    if not FILES:
        return pytest.mark.skip(reason=f"no golden files in {FOLDER}")(pytest.mark.parametrize("name", [""])(test))
    return pytest.mark.parametrize("name", FILES)(test)


def _entry(frame: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """A frame in OpenScene's form; it has no sensors."""
    boxes = np.array(frame["gt_boxes"], float).reshape(-1, 7)
    blind = {"data_path": None} | dict.fromkeys(
        ("sensor2lidar_rotation", "sensor2lidar_translation", "cam_intrinsic", "distortion")
    )
    return {
        "token": frame["token"],
        "timestamp": frame["timestamp_us"],
        "log_name": content["log_name"],
        "map_location": content["map_location"],
        "roadblock_ids": frame["roadblock_ids"],
        "traffic_lights": [tuple(light) for light in frame["traffic_lights"]],
        "ego2global_translation": np.array(frame["ego2global_translation"]),
        "ego2global_rotation": np.array(frame["ego2global_rotation_wxyz"]),
        "ego_dynamic_state": frame["ego_dynamic_state"],
        "driving_command": np.array([0, 0, 0, 1]),
        "lidar_path": None,
        "cams": dict.fromkeys((camera.upper() for camera in CAMERAS), blind),
        "anns": {
            "gt_boxes": boxes,
            "gt_names": frame["gt_names"],
            "gt_velocity_3d": np.array(frame["gt_velocity_3d"], float).reshape(-1, 3),
            "instance_tokens": frame["track_tokens"],
            "track_tokens": frame["track_tokens"],
        },
    }


def _road_map(name: str, content: dict[str, Any]) -> RoadMap:
    lanes = tuple(
        MapLane(
            id=item["id"],
            rings=_rings(item),
            roadblock=item["roadblock_id"],
            baseline=_line(item),
            outgoing=tuple(item["outgoing"]),
            incoming=tuple(item["incoming"]),
            speed_limit_mps=item["speed_limit_mps"],
            index=item["lane_index"],
            has_light=False,
        )
        for item in content["lanes"]
    )
    connectors = tuple(
        MapLane(
            id=item["id"],
            rings=_rings(item),
            roadblock=item["roadblock_connector_id"],
            baseline=_line(item),
            outgoing=(item["to_lane"],),
            incoming=(item["from_lane"],),
            speed_limit_mps=item["speed_limit_mps"],
            index=None,
            has_light=item["has_traffic_light"],
        )
        for item in content["lane_connectors"]
    )
    joints = tuple(
        MapConnection(
            id=item["id"],
            rings=_rings(item),
            from_roadblock=item["from_roadblock"],
            to_roadblock=item["to_roadblock"],
            intersection=item["intersection"],
        )
        for item in content["roadblock_connectors"]
    )
    areas = {
        kind: tuple(MapArea(id=item["id"], rings=_rings(item)) for item in content[kind])
        for kind in ("roadblocks", "intersections")
    }
    carparks = tuple(MapArea(id=item["id"], rings=_rings(item)) for item in content["carpark_areas"])
    return RoadMap(
        name=name,
        lanes=lanes,
        connectors=connectors,
        roadblock_connectors=joints,
        carparks=carparks,
        crosswalks=(),
        walkways=(),
        **areas,
    )


def _rings(item: dict[str, Any]) -> tuple[np.ndarray, ...]:
    return (np.array(item["polygon"], float),)


def _line(item: dict[str, Any]) -> np.ndarray:
    return np.array(item["baseline"], float)
