"""Writes one drive of the NAVSIM world: camera images, point clouds, the card of the drive, and the log.

The log is written last and marks a finished drive. After an interruption an unfinished drive is
written again, with the same bytes.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from latentdrive.data.navsim.sensor_files import write_pcd
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
from latentdrive.world.traffic.recording import SimulatedDrive

CARDS = "drives"  # folder of the cards
COLOURS = ("red", "amber", "green")


@dataclass(**FROZEN)
class SensorSpec:
    """The sensors of the ego.

    cameras: all eight, by NAVSIM's names. pictures: the cameras that are rendered. jpeg_quality: 1
    to 95.
    """

    cameras: Mapping[str, CameraSpec]
    pictures: Sequence[str]
    lidar: LidarSpec
    jpeg_quality: int


@dataclass(**FROZEN)
class PointSpec:
    """Which moments become scenes.

    history_frames (with the present one), future_frames: frames that a scene needs. horizon,
    deviation_m: constant velocity must deviate by more than deviation_m within horizon frames.
    hazard_before_s: on drives with a hazard, only moments from this long before its begin until its
    end are candidates. constant_velocity_at_most, human_at_least: bounds on the scores (PDMS v1.1)
    of the candidates that splits keep.
    """

    history_frames: int
    future_frames: int
    horizon: int
    deviation_m: float
    hazard_before_s: float
    constant_velocity_at_most: float
    human_at_least: float


@dataclass(**FROZEN)
class LogFiles:
    """The places of a drive's files. root: folder of the data set. logs, blobs: the folders of its data split."""

    root: Path
    logs: Path
    blobs: Path
    name: str

    @property
    def log(self) -> Path:
        """The log."""
        return self.logs / f"{self.name}.pkl"

    @property
    def card(self) -> Path:
        """The card: facts of the drive, and its candidate moments."""
        return self.root / CARDS / f"{self.name}.json"

    @property
    def scores(self) -> Path:
        """The scores at the candidate moments."""
        return self.root / CARDS / f"{self.name}.scores.json"


def write_navsim_drive(
    files: LogFiles,
    city_drive: CityDrive,
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
    """Write all files of a drive. rate_hz: of the simulation. facts: further content of the card. Raises DiskFull."""
    drive = city_drive.drive
    rows = np.arange(0, len(drive.ego), round(rate_hz / log_hz))
    frames = log_frames(city_drive, place, sensors.cameras, rows=rows, rate_hz=rate_hz)
    stage = Stage(np.random.default_rng((*drive.seed, 1)), city_drive, renderer, density, shoulder_m)
    for row, frame in zip(rows.tolist(), frames):
        for name in sensors.pictures:
            write_picture(files.blobs / frame["cams"][name]["data_path"], stage, name, drive, row, sensors=sensors)
        write_cloud(files.blobs / frame["lidar_path"], stage, drive, row, sensors=sensors)
    card = dict(facts) | {
        "log": files.name,
        "road_type": drive.road_type,
        "hazard": city_drive.hazard,
        "hazard_s": city_drive.hazard_s,
        "attempt": city_drive.attempt,
        "limit_mps": city_drive.limit_mps,
        "map": place.map_name,
        "frames": len(rows),
        "points": candidate_moments(city_drive, frames, rows, points, rate_hz=rate_hz, log_hz=log_hz),
    }
    text = json.dumps(card, indent=1, default=list) + "\n"
    write_atomic(files.card, lambda path: path.write_text(text, encoding="utf-8"))
    write_pickle(files.log, frames)


def write_picture(
    path: Path, stage: "Stage", camera: str, drive: SimulatedDrive, row: int, *, sensors: SensorSpec
) -> None:
    """Render what a camera sees at one row, and write it as the logs do. Raises DiskFull."""
    picture = stage.renderer.picture(drive.ego[row], stage.poses(row), sensors.cameras[camera])
    write_atomic(path, partial(_write_jpeg, picture, sensors.jpeg_quality))


def write_cloud(path: Path, stage: "Stage", drive: SimulatedDrive, row: int, *, sensors: SensorSpec) -> None:
    """Scan what the LiDAR sees at one row, and write it as the logs do. Raises DiskFull."""
    rng = np.random.default_rng((*drive.seed, 2, row))
    write_pcd(path, scan(rng, sensors.lidar, drive.ego[row], stage.boxes(row)))


def candidate_moments(
    city_drive: CityDrive,
    frames: Sequence[Mapping[str, Any]],
    rows: np.ndarray,
    points: PointSpec,
    *,
    rate_hz: float,
    log_hz: float,
) -> list[list[Any]]:
    """Return row in the log, token and deviation (metres) of each moment that may become a scene, in order of time."""
    drive = city_drive.drive
    deviations = deviation_m(drive.ego[rows], drive.ego_speed_mps[rows], horizon=points.horizon, step_s=1 / log_hz)
    moments = []
    for number in range(points.history_frames - 1, len(rows) - points.future_frames):
        time_s = rows[number] / rate_hz
        if city_drive.hazard_s is not None:
            begins, ends = city_drive.hazard_s
            if not begins - points.hazard_before_s <= time_s <= ends:
                continue
        if deviations[number] > points.deviation_m:
            moments.append([number, frames[number]["token"], round(float(deviations[number]), 3)])
    return moments


def _write_jpeg(picture: UInt8[np.ndarray, "H W 3"], quality: int, path: Path) -> None:
    """Encode the picture in memory first: a full disk then shows as an OSError of the write. The
    bytes are repeatable.
    """
    memory = io.BytesIO()
    Image.fromarray(picture).save(memory, "JPEG", quality=quality)
    path.write_bytes(memory.getvalue())


class Stage:
    """Everything around a drive that stands or moves, put on the stage of a renderer and known to a LiDAR."""

    def __init__(
        self, rng: np.random.Generator, city_drive: CityDrive, renderer: Renderer, density: Density, shoulder_m: float
    ) -> None:
        look = scenery.random_look(rng)
        agents, road_map = city_drive.drive.agents, city_drive.map
        flat = {
            Surface.PAVED: [area.rings[0] for area in (*road_map.roadblocks, *road_map.roadblock_connectors)],
            Surface.WALKWAY: [area.rings[0] for area in road_map.walkways],
            Surface.JUNCTION: [area.rings[0] for area in road_map.intersections] if not road_map.crosswalks else [],
            Surface.CROSSWALK: [area.rings[0] for area in road_map.crosswalks],
        }
        standing = scenery.surroundings(city_drive.drive.lanes, look, density, flat, shoulder_m)
        movers = [
            road_user(rng, size, kind, look.daylight) for size, kind in zip(agents.sizes, agents.kinds, strict=True)
        ]
        self._agents, self._solids = agents, standing.solids()
        self._lamps = [(pose, shown, colour) for pose, shown in city_drive.signals for colour in COLOURS]
        movers += [signal(colour, look.daylight) for _, _, colour in self._lamps]
        self.renderer = renderer
        renderer.set_up(standing.meshes(), movers, look.sky, look.daylight)

    def poses(self, row: int) -> Float64[np.ndarray, "N 3"]:
        """Return the poses of agents and lamps for the renderer; NaN for what is absent or not lit."""
        lamps = [pose if shown[row] == colour else np.full(3, np.nan) for pose, shown, colour in self._lamps]
        return np.concatenate([self._agents.poses[row], np.reshape(lamps, (-1, 3))])

    def boxes(self, row: int) -> Float64[np.ndarray, "M 7"]:
        """Return the boxes of everything solid for the LiDAR: scenery and agents. See lidar.scan for their columns."""
        agents = self._agents
        moving = np.concatenate([agents.poses[row], np.zeros((len(agents), 1)), agents.sizes], 1)
        return np.concatenate([self._solids, moving[~np.isnan(moving[:, 0])]])
