"""One drive of the NAVSIM world on disk: camera images, point clouds, the card of the drive, and the log.

Sixth step of the NAVSIM world. The log is written last and marks a finished drive; a run that was stopped begins an unfinished
one anew, with the same bytes.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from latentdrive.data.navsim.lidar import write_pcd
from latentdrive.data.pickles.writing import write_pickle
from latentdrive.files import write_atomic
from latentdrive.types import FROZEN
from latentdrive.world.navsim.city_drive import CityDrive
from latentdrive.world.navsim.decision_points import deviation_m
from latentdrive.world.navsim.log_frames import LogPlace, log_frames
from latentdrive.world.rendering import scenery
from latentdrive.world.rendering.cameras import CameraSpec, Renderer
from latentdrive.world.rendering.lidar import LidarSpec, scan
from latentdrive.world.rendering.scenery import Density, Surface
from latentdrive.world.rendering.vehicles import road_user, signal

CARDS = "drives"  # folder of the drives' cards
COLOURS = ("red", "amber", "green")


@dataclass(**FROZEN)
class SensorSpec:
    """cameras: all eight, by NAVSIM's names; pictures: those that are rendered. jpeg_quality: 1 to 95."""

    cameras: Mapping[str, CameraSpec]
    pictures: Sequence[str]
    lidar: LidarSpec
    jpeg_quality: int


@dataclass(**FROZEN)
class PointSpec:
    """Which moments count: history and future frames that a scene needs; beyond deviation_m of constant velocity within
    horizon frames. hazard_before_s: with a hazard, only moments from so long before it begins until it ends. Of these, splits
    keep those at which constant velocity and the human score (PDMS v1.1) at most and at least so much."""

    history_frames: int
    future_frames: int
    horizon: int
    deviation_m: float
    hazard_before_s: float
    constant_velocity_at_most: float
    human_at_least: float


@dataclass(**FROZEN)
class LogFiles:
    """Where the files of a drive go. logs, blobs: the folders of its data split."""

    root: Path
    logs: Path
    blobs: Path
    name: str

    @property
    def log(self) -> Path:
        """The log itself."""
        return self.logs / f"{self.name}.pkl"

    @property
    def card(self) -> Path:
        """What the drive is, and its moments that count."""
        return self.root / CARDS / f"{self.name}.json"

    @property
    def scores(self) -> Path:
        """What those moments score."""
        return self.root / CARDS / f"{self.name}.scores.json"


def write_navsim_drive(
    files: LogFiles,
    made: CityDrive,
    place: LogPlace,
    renderer: Renderer,
    *,
    sensors: SensorSpec,
    density: Density,
    shoulder_m: float,
    points: PointSpec,
    rate_hz: float,
    log_hz: float,
    facts: Mapping[str, Any],
) -> None:
    """All files of a drive. facts: what the card says besides. Raises DiskFull."""
    every = round(rate_hz / log_hz)
    rows = np.arange(0, len(made.drive.ego), every)
    frames = log_frames(made, place, sensors.cameras, rows=rows, rate_hz=rate_hz)
    rng = np.random.default_rng((*made.drive.seed, 1))
    stage = Stage(rng, made, renderer, density, shoulder_m)
    for row, frame in zip(rows.tolist(), frames):
        for name in sensors.pictures:
            picture = renderer.picture(made.drive.ego[row], stage.poses(row), sensors.cameras[name])
            path = files.blobs / frame["cams"][name]["data_path"]
            write_atomic(path, _writer(jpeg(picture, sensors.jpeg_quality)))
        boxes = stage.boxes(row)
        cloud = scan(np.random.default_rng((*made.drive.seed, 2, row)), sensors.lidar, made.drive.ego[row], boxes)
        write_pcd(files.blobs / frame["lidar_path"], cloud)
    card = dict(facts) | {
        "log": files.name,
        "road_type": made.drive.road_type,
        "hazard": made.hazard,
        "hazard_s": made.hazard_s,
        "attempt": made.attempt,
        "limit_mps": made.limit_mps,
        "map": place.map_name,
        "frames": len(rows),
        "points": counting_moments(made, frames, rows, points, rate_hz=rate_hz, log_hz=log_hz),
    }
    text = json.dumps(card, indent=1, default=list) + "\n"
    write_atomic(files.card, lambda path: path.write_text(text, encoding="utf-8"))
    write_pickle(files.log, frames)


def counting_moments(
    made: CityDrive,
    frames: Sequence[Mapping[str, Any]],
    rows: np.ndarray,
    points: PointSpec,
    *,
    rate_hz: float,
    log_hz: float,
) -> list[list[Any]]:
    """Row in the log, token and deviation of each moment that may become a scene, in order of time."""
    drive = made.drive
    away = deviation_m(drive.ego[rows], drive.ego_speed_mps[rows], horizon=points.horizon, step_s=1 / log_hz)
    result = []
    for number in range(points.history_frames - 1, len(rows) - points.future_frames):
        time_s = rows[number] / rate_hz
        if made.hazard_s is not None:
            begins, ends = made.hazard_s
            if not begins - points.hazard_before_s <= time_s <= ends:
                continue
        if away[number] > points.deviation_m:
            result.append([number, frames[number]["token"], round(float(away[number]), 3)])
    return result


def jpeg(picture: UInt8[np.ndarray, "H W 3"], quality: int) -> bytes:
    """The picture as JPEG; the same pixels give the same bytes."""
    memory = io.BytesIO()
    Image.fromarray(picture).save(memory, "JPEG", quality=quality)
    return memory.getvalue()


class Stage:
    """What stands and moves around a drive, put up before a renderer and a LiDAR."""

    def __init__(
        self, rng: np.random.Generator, made: CityDrive, renderer: Renderer, density: Density, shoulder_m: float
    ) -> None:
        look = scenery.random_look(rng)
        agents, areas = made.drive.agents, made.map
        flat = {
            Surface.PAVED: [area.rings[0] for area in (*areas.roadblocks, *areas.roadblock_connectors)],
            Surface.WALKWAY: [area.rings[0] for area in areas.walkways],
            Surface.JUNCTION: [area.rings[0] for area in areas.intersections] if not areas.crosswalks else [],
            Surface.CROSSWALK: [area.rings[0] for area in areas.crosswalks],
        }
        standing = scenery.surroundings(made.drive.lanes, look, density, flat, shoulder_m)
        movers = [
            road_user(rng, size, kind, look.daylight) for size, kind in zip(agents.sizes, agents.kinds, strict=True)
        ]
        self._made, self._solids = made, standing.solids()
        self._lamps = [(pose, shown, colour) for pose, shown in made.signals for colour in COLOURS]
        movers += [signal(colour, look.daylight) for _, _, colour in self._lamps]
        renderer.set_up(standing.meshes(), movers, look.sky, look.daylight)

    def poses(self, row: int) -> Float64[np.ndarray, "N 3"]:
        """Poses of everything that may change, for the renderer; NaN for what isn't there or isn't lit."""
        lamps = [pose if shown[row] == colour else np.full(3, np.nan) for pose, shown, colour in self._lamps]
        return np.concatenate([self._made.drive.agents.poses[row], np.reshape(lamps, (-1, 3))])

    def boxes(self, row: int) -> Float64[np.ndarray, "M 7"]:
        """Everything solid, for the LiDAR: what stands, and the agents."""
        agents = self._made.drive.agents
        moving = np.concatenate([agents.poses[row], np.zeros((len(agents), 1)), agents.sizes], 1)
        return np.concatenate([self._solids, moving[~np.isnan(moving[:, 0])]])


def _writer(content: bytes):
    return lambda path: path.write_bytes(content)
