"""From the frames of a NAVSIM log to what the car sees (Scene) and what scoring may know (SceneTruth).

After log.py. scene_source.py and synthetic.py say which frames make a scene. Only the requested
sensors are opened. The front camera's images are named types.FRONT, where teacher and student look
for them; the other cameras keep NAVSIM's names in lower case (cam_l0, cam_r1, ...).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64

from latentdrive.data.navsim.frames import CAMERAS, LIDAR, OBJECT_NAMES
from latentdrive.data.navsim.log import NavsimLog
from latentdrive.data.navsim.sensor_files import Size, read_image, read_pcd
from latentdrive.data.picture_size import WHOLE, scaled_intrinsics
from latentdrive.errors import ConfigError, MapError, UnreadableScene
from latentdrive.geometry import relative_pose
from latentdrive.types import (
    FROZEN,
    BoxCounts,
    CameraImage,
    Command,
    EgoHistory,
    LoggedFrame,
    RoadMap,
    Scene,
    SceneTruth,
    TrackedObjects,
    Trajectory,
    camera_key,
)

STEP_S = 0.5  # nominal time between two frames


@runtime_checkable
class Maps(Protocol):
    """Maps by nuPlan's name of the place."""

    def __getitem__(self, name: str) -> RoadMap: ...


@dataclass(**FROZEN)
class Sensors:
    """Which sensors of a scene are opened.

    cameras: names as in CAMERAS. frames: "now", or "all" of the history. lidar: of now. at_least:
    height and width in pixels that images may be decoded down to (1/2, 1/4 or 1/8); None: as
    stored.
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
            raise ConfigError(f"data.scenes.camera_frames must be now or all, got {self.frames}")

    @property
    def names(self) -> tuple[str, ...]:
        """The cameras, and the lidar if it is requested."""
        return (*self.cameras, LIDAR) if self.lidar else self.cameras


@dataclass(**FROZEN)
class Cut:
    """Where a scene lies in a log: rows first to end - 1, with its present frame at row `now`.

    drive: name of the log.
    """

    log: NavsimLog
    token: str
    drive: str
    first: int
    now: int
    end: int

    @property
    def start(self) -> tuple[int, Float64[np.ndarray, "3"]]:
        """Time of now in microseconds, and the rear axle's pose then, global."""
        return int(self.log.timestamps_us[self.now]), self.log.poses[self.now]


def open_scene(cut: Cut, blobs: Path, sensors: Sensors) -> Scene:
    """What the car sees at one frame. blobs: the folder that the log's paths start from.

    Raises UnreadableScene, with the file's name, if a requested sensor is missing or damaged.
    """
    rows = range(cut.first, cut.now + 1) if sensors.frames == "all" else [cut.now]
    return Scene(
        token=cut.token,
        drive=cut.drive,
        cameras={
            camera_key(name): [camera_image(cut.log, row, name, blobs, sensors.at_least) for row in rows]
            for name in sensors.cameras
        },
        ego=_ego_history(cut),
        lidar=_points(cut, blobs) if sensors.lidar else None,
        time_s=clip_time_s(cut),
    )


def clip_time_s(cut: Cut) -> float:
    """Now, in seconds since the first usable frame of the log, as its clip (clip_source.py) counts."""
    first = cut.log.timestamps_us[cut.log.problems == 0][0]
    return float((cut.log.timestamps_us[cut.now] - first) * 1e-6)


def open_truth(cut: Cut, path: Path, maps: Maps | None) -> SceneTruth:
    """What scoring may know of a scene. path: file of the log, for messages.

    Raises MapError if there are no maps, and UnreadableScene if a frame has no annotations, or names
    no route and lights (NAVSIM's private test data).
    """
    rows = range(cut.first, cut.end)
    if not cut.log.annotated[cut.first : cut.end].all():
        raise UnreadableScene(
            path,
            f"scene {cut.token} has no annotations, as in NAVSIM's private test data: it can be planned, not scored",
        )
    if not cut.log.road_told[cut.first : cut.end].all():
        raise UnreadableScene(
            path, f"scene {cut.token} lacks roadblock_ids or traffic_lights: it can be planned, not scored"
        )
    if not cut.log.place:
        raise UnreadableScene(path, f"scene {cut.token} names no map: it can be planned, not scored")
    if maps is None:
        raise MapError(
            f"scene {cut.token} needs the map {cut.log.place}: give the folder of nuPlan's maps "
            "(data.scenes.maps.root=FOLDER)"
        )
    return SceneTruth(
        token=cut.token,
        drive=cut.drive,
        frames=tuple(logged_frame(cut.log, row) for row in rows),
        now=cut.now - cut.first,
        route=cut.log.route(cut.now),
        map=maps[cut.log.place],
        human=Trajectory(poses=_seen_from(cut.log.poses[cut.now], cut.log.poses[cut.now + 1 : cut.end]), dt_s=STEP_S),
        synthetic=False,
    )


def box_counts(cut: Cut) -> BoxCounts:
    """Annotated boxes of the scene from now on: left out, and with estimated motion."""
    rows = slice(cut.now, cut.end)
    return BoxCounts(lost=int(cut.log.lost_boxes[rows].sum()), estimated=int(cut.log.estimated_boxes[rows].sum()))


def logged_frame(log: NavsimLog, row: int) -> LoggedFrame:
    """One frame of a log, with its objects in the global frame."""
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
    """Pose of a camera at one frame as a matrix from camera to ego axes, in metres."""
    k = CAMERAS.index(camera)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = log.rotation[row, k], log.translation[row, k]
    return matrix


def camera_image(log: NavsimLog, row: int, camera: str, blobs: Path, at_least: Size | None) -> CameraImage:
    """One picture with its calibration; intrinsics are in pixels of the decoded picture. Raises UnreadableScene."""
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
    """Path of an image or point cloud below the sensor folder; empty if the recording has none."""
    return log.lidar(row) if sensor == LIDAR else log.image(row, sensor)


def sensor_rows(cut: Cut, sensor: str, frames: str) -> Sequence[int]:
    """Rows of the log whose file of this sensor a scene needs."""
    return range(cut.first, cut.now + 1) if frames == "all" and sensor != LIDAR else [cut.now]


def sensor_paths(cut: Cut, sensors: Sensors) -> list[str]:
    """Paths of all files that a scene needs; empty text where the recording names none."""
    return [sensor_path(cut.log, row, name) for name in sensors.names for row in sensor_rows(cut, name, sensors.frames)]


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
        raise UnreadableScene(blobs, f"scene {cut.token} has no point cloud: set data.scenes.lidar=false")
    return np.ascontiguousarray(read_pcd(blobs / path)[:4].T)


def _objects(log: NavsimLog, row: int) -> TrackedObjects:
    rows = slice(log.object_ends[row], log.object_ends[row + 1])
    boxes, velocity, (x, y, heading) = log.boxes[rows], log.velocity[rows], log.poses[row]
    cos, sin = np.cos(heading), np.sin(heading)
    turn = np.array([[cos, sin], [-sin, cos]])  # turns row vectors from ego to global axes
    # The devkit wraps by arctan2, which keeps both pi and -pi.
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
