"""From frames of a NAVSIM log to what the car sees (Scene) and what scoring may know (SceneTruth).

After navsim_log.py; navsim_logs.py and navsim_synthetic.py say which frames. Only the sensors that were asked for are opened.
The front camera's images stand under windows.FRONT, where teacher and student look for them; the other cameras keep NAVSIM's
names in lower case (cam_l0, cam_r1, ...).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64

from latentdrive.data.clips.sidecars import WHOLE
from latentdrive.data.navsim.frames import CAMERAS, LIDAR, OBJECT_NAMES
from latentdrive.data.navsim.lidar import read_pcd
from latentdrive.data.navsim.log import NavsimLog
from latentdrive.data.navsim.sensor_images import Size, read_image
from latentdrive.data.picture_size import scaled_intrinsics
from latentdrive.errors import ConfigError, MapError, UnreadableScene
from latentdrive.geometry import relative_pose
from latentdrive.types import (
    FRONT,
    FROZEN,
    CameraImage,
    Command,
    EgoHistory,
    LoggedFrame,
    RoadMap,
    Scene,
    SceneTruth,
    TrackedObjects,
    Trajectory,
)

FRONT_CAMERA = "cam_f0"
STEP_S = 0.5  # between two frames, by name


@runtime_checkable
class Maps(Protocol):
    """Maps by nuPlan's name of the place."""

    def __getitem__(self, name: str) -> RoadMap: ...


@dataclass(**FROZEN)
class Sensors:
    """What is opened for a scene. cameras: names as in CAMERAS. frames: now, or all of the history. lidar: of now.

    at_least: height and width in pixels that images may be decoded down to (1/2, 1/4 or 1/8); None: as stored.
    """

    cameras: tuple[str, ...]
    frames: str
    lidar: bool
    at_least: Size | None

    def __post_init__(self) -> None:
        if unknown := [name for name in self.cameras if name not in CAMERAS]:
            raise ConfigError(
                f"data.scenes.cameras: there is no camera {', '.join(unknown)}; NAVSIM has {', '.join(CAMERAS)}"
            )
        if self.frames not in ("now", "all"):
            raise ConfigError(f"data.scenes.camera_frames must be now or all (of the history), got {self.frames}")

    @property
    def names(self) -> tuple[str, ...]:
        """Cameras, and the lidar where it is asked for."""
        return (*self.cameras, LIDAR) if self.lidar else self.cameras


@dataclass(**FROZEN)
class Cut:
    """Where a scene lies in a log. first, now, end: rows; end is the one behind its last frame. drive: name of the log."""

    log: NavsimLog
    token: str
    drive: str
    first: int
    now: int
    end: int


def open_scene(cut: Cut, blobs: Path, sensors: Sensors) -> Scene:
    """What the car sees at one frame. blobs: the folder that the log's paths start from.

    Raises UnreadableScene, naming the file, where a sensor that was asked for is missing or damaged.
    """
    rows = range(cut.first, cut.now + 1) if sensors.frames == "all" else [cut.now]
    return Scene(
        token=cut.token,
        drive=cut.drive,
        cameras={
            scene_name(name): [camera_image(cut.log, row, name, blobs, sensors.at_least) for row in rows]
            for name in sensors.cameras
        },
        ego=_ego_history(cut),
        lidar=_points(cut, blobs) if sensors.lidar else None,
        time_s=clip_time_s(cut),
    )


def scene_name(camera: str) -> str:
    """Under which name a Scene holds a camera's pictures. camera: NAVSIM's name, lower case."""
    return FRONT if camera == FRONT_CAMERA else camera


def clip_time_s(cut: Cut) -> float:
    """Now, in seconds since the first usable frame of the log, as its clip counts (navsim_clips.py)."""
    first = cut.log.timestamps_us[cut.log.problems == 0][0]
    return float((cut.log.timestamps_us[cut.now] - first) * 1e-6)


def open_truth(cut: Cut, path: Path, maps: Maps | None) -> SceneTruth:
    """What scoring may know of the same scene. path: file of the log, for messages.

    Raises MapError where there are no maps, UnreadableScene where a frame has no annotations (NAVSIM's private test data).
    """
    rows = range(cut.first, cut.end)
    if not cut.log.annotated[cut.first : cut.end].all():
        raise UnreadableScene(
            path,
            f"scene {cut.token} has no annotations, as in NAVSIM's private test data: it can be driven, but not scored",
        )
    if maps is None:
        raise MapError(
            f"scene {cut.token} needs the map {cut.log.place}: say where nuPlan's maps are (data.scenes.maps.root=FOLDER)"
        )
    return SceneTruth(
        token=cut.token,
        drive=cut.drive,
        frames=tuple(logged_frame(cut.log, row) for row in rows),
        now=cut.now - cut.first,
        route=cut.log.route(cut.now),
        map=maps[cut.log.place],
        human=Trajectory(poses=_seen_from(cut.log.poses[cut.now], cut.log.poses[cut.now + 1 : cut.end]), dt_s=STEP_S),
    )


def logged_frame(log: NavsimLog, row: int) -> LoggedFrame:
    """One frame of a log, objects in the global frame."""
    lights = slice(log.light_ends[row], log.light_ends[row + 1])
    return LoggedFrame(
        token=log.tokens[row].decode(),
        timestamp_us=int(log.timestamps_us[row]),
        ego_pose=log.poses[row],
        velocity=log.motion[row, :2],
        acceleration=log.motion[row, 2:],
        command=Command(int(log.commands[row])),
        objects=_objects(log, row),
        lights=tuple((name.decode(), bool(red)) for name, red in zip(log.lights[lights], log.red[lights])),
    )


def camera_to_ego(log: NavsimLog, row: int, camera: str) -> Float64[np.ndarray, "4 4"]:
    """Where a camera sits at one frame, metres."""
    k = CAMERAS.index(camera)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = log.rotation[row, k], log.translation[row, k]
    return matrix


def camera_image(log: NavsimLog, row: int, camera: str, blobs: Path, at_least: Size | None) -> CameraImage:
    """One picture with its calibration, intrinsics in pixels of the picture as decoded. Raises UnreadableScene."""
    path = log.image(row, camera)
    if not path:
        raise UnreadableScene(
            blobs, f"frame {log.tokens[row].decode()} has no image of {camera}: leave it out of data.scenes.cameras"
        )
    pixels, stored = read_image(blobs / path, at_least)
    intrinsics = scaled_intrinsics(
        log.intrinsics[row, CAMERAS.index(camera)], view=WHOLE, stored=stored, size=pixels.shape[:2]
    )
    return CameraImage(
        pixels=np.ascontiguousarray(pixels.transpose(2, 0, 1)),
        intrinsics=intrinsics,
        camera_to_ego=camera_to_ego(log, row, camera).astype(np.float32),
    )


def sensor_path(log: NavsimLog, row: int, sensor: str) -> str:
    """Path of an image or point cloud below the sensor folder; empty where the recording has none."""
    return log.lidar(row) if sensor == LIDAR else log.image(row, sensor)


def sensor_rows(cut: Cut, sensor: str, frames: str) -> Sequence[int]:
    """Frames whose file of a sensor a scene needs."""
    return range(cut.first, cut.now + 1) if frames == "all" and sensor != LIDAR else [cut.now]


def _ego_history(cut: Cut) -> EgoHistory:
    log, rows = cut.log, slice(cut.first, cut.now + 1)
    return EgoHistory(
        times_s=(log.timestamps_us[rows] - log.timestamps_us[cut.now]) * 1e-6,
        poses=_seen_from(log.poses[cut.now], log.poses[rows]).astype(np.float32),
        poses_known=True,
        velocity=log.motion[rows, :2],
        velocity_known=True,
        acceleration=log.motion[rows, 2:],
        acceleration_known=True,
        command=Command(int(log.commands[cut.now])),
        command_known=True,
    )


def _seen_from(now: Float64[np.ndarray, "3"], poses: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
    return relative_pose(np.broadcast_to(now, poses.shape), poses)


def _points(cut: Cut, blobs: Path) -> Float32[np.ndarray, "N 4"]:
    path = cut.log.lidar(cut.now)
    if not path:
        raise UnreadableScene(blobs, f"scene {cut.token} has no point cloud: ask for none (data.scenes.lidar=false)")
    return np.ascontiguousarray(read_pcd(blobs / path)[:4].T)


def _objects(log: NavsimLog, row: int) -> TrackedObjects:
    rows = slice(log.object_ends[row], log.object_ends[row + 1])
    boxes, velocity, (x, y, heading) = log.boxes[rows], log.velocity[rows], log.poses[row]
    turn = np.array(
        [[np.cos(heading), np.sin(heading)], [-np.sin(heading), np.cos(heading)]]
    )  # of rows, to global axes
    # The devkit wraps by arctan2, so pi stays pi and -pi stays -pi.
    headings = boxes[:, 6] + heading
    headings = np.arctan2(np.sin(headings), np.cos(headings))
    return TrackedObjects(
        poses=np.column_stack([boxes[:, :2] @ turn + (x, y), headings]),
        centre_z_m=boxes[:, 2],
        sizes=boxes[:, 3:6],
        velocity=velocity @ turn,
        names=tuple(OBJECT_NAMES[k] for k in log.object_names[rows]),
        tracks=tuple(log.track_tokens[k].decode() for k in log.tracks[rows]),
    )
