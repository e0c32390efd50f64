"""A drive as a NAVSIM log: one dictionary a key frame, key by key as OpenScene writes them.

Fifth step of the NAVSIM world, between navsim_drive.py and navsim_writer.py. Here the drive's own plane becomes the global frame.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from jaxtyping import Float64

from latentdrive.data.maps.driving_command import AHEAD_M, command_along
from latentdrive.geometry import compose, wrap_angle
from latentdrive.types import FROZEN, Command, MapLane, RoadMap
from latentdrive.world.navsim.city_drive import CityDrive
from latentdrive.world.rendering.cameras import CameraSpec

NAMES = {"car": "vehicle", "van": "vehicle", "truck": "vehicle", "bus": "vehicle", "pedestrian": "pedestrian"}
SEEN_M = 90.0  # objects farther from the ego are not annotated
MICROSECONDS = 1_000_000


@dataclass(**FROZEN)
class LogPlace:
    """Where and when a drive takes place. log: its name. pose: of the drive's plane in the global frame. start_us: of its first
    frame. key: what tokens are made from."""

    log: str
    map_name: str
    pose: Float64[np.ndarray, "3"]
    start_us: int
    key: str


def token(*parts: str | int) -> str:
    """16 hexadecimal digits that only these parts give."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:16]


def log_frames(
    made: CityDrive,
    place: LogPlace,
    cameras: Mapping[str, CameraSpec],
    *,
    rows: Float64[np.ndarray, "F"] | Any,
    rate_hz: float,
) -> list[dict[str, Any]]:
    """The log of the frames `rows` of a drive that was recorded rate_hz a second. cameras: all eight, by NAVSIM's names."""
    drive, count = made.drive, len(rows)
    ego = compose(np.broadcast_to(place.pose, drive.ego.shape), drive.ego)
    motion = ego_motion(drive.ego, drive.ego_speed_mps, rate_hz)
    velocity = (
        np.gradient(drive.agents.poses[..., :2], 1 / rate_hz, axis=0) if len(drive.agents) else np.zeros((count, 0, 2))
    )
    commands = route_commands(made.map, made.route, drive.ego[rows])
    calibration = {name: _calibration(spec) for name, spec in cameras.items()}
    scene = token(place.key, "scene")
    tokens = [token(place.key, int(row)) for row in rows]
    frames = []
    for number, row in enumerate(rows):
        x, y, heading = ego[row]
        rotation = np.array([np.cos(heading / 2), 0.0, 0.0, np.sin(heading / 2)])
        turned = np.array([[np.cos(heading), -np.sin(heading), 0], [np.sin(heading), np.cos(heading), 0], [0, 0, 1]])
        to_global = np.eye(4)
        to_global[:3, :3], to_global[:3, 3] = turned, (x, y, 0.0)
        vx, vy, ax, ay, yaw_rate = (float(value) for value in motion[row])
        frames.append(
            {
                "token": tokens[number],
                "frame_idx": number,
                "timestamp": place.start_us + round(float(row) / rate_hz * MICROSECONDS),
                "log_name": place.log,
                "log_token": token(place.key, "log"),
                "scene_name": "log-0001-scene-0000",
                "scene_token": scene,
                "vehicle_name": "latentdrive-world",
                "map_location": place.map_name,
                "roadblock_ids": list(made.route),
                "can_bus": np.array([x, y, 0.0, *rotation, ax, ay, 0.0, vx, vy, 0.0, 0.0, 0.0, yaw_rate, 0.0, 0.0]),
                "lidar_path": f"{place.log}/MergedPointCloud/{token(place.key, int(row), 'lidar')}.pcd",
                "lidar2ego_translation": np.zeros(3),
                "lidar2ego_rotation": np.array([1.0, 0.0, 0.0, 0.0]),
                "lidar2ego": np.eye(4),
                "ego2global": to_global,
                "lidar2global": to_global,
                "ego2global_translation": np.array([x, y, 0.0]),
                "ego2global_rotation": rotation,
                "ego_dynamic_state": [vx, vy, ax, ay],
                "traffic_lights": [(int(one), bool(red[row])) for one, red in made.reds.items()],
                "driving_command": np.eye(4, dtype=np.int64)[commands[number]],
                "cams": {
                    name: {
                        "data_path": f"{place.log}/{name}/{token(place.key, int(row), name)}.jpg",
                        **calibration[name],
                    }
                    for name in cameras
                },
                "sample_prev": tokens[number - 1] if number else None,
                "sample_next": tokens[number + 1] if number + 1 < count else None,
                "anns": _annotations(made, place, int(row), velocity),
            }
        )
    return frames


def ego_motion(
    ego: Float64[np.ndarray, "T 3"], speed: Float64[np.ndarray, "T"], rate_hz: float
) -> Float64[np.ndarray, "T 5"]:
    """vx, vy, ax, ay of the rear axle in the ego frame and the yaw rate, each from this row and the one before: causal."""
    yaw_rate = wrap_angle(np.diff(ego[:, 2])) * rate_hz
    along = np.diff(speed) * rate_hz
    yaw_rate, along = (np.concatenate([values[:1], values]) for values in (yaw_rate, along))
    return np.stack([speed, np.zeros_like(speed), along, speed * yaw_rate, yaw_rate], -1)


def route_commands(road_map: RoadMap, route: tuple[str, ...], ego: Float64[np.ndarray, "F 3"]) -> list[Command]:
    """The driving command of each pose: on which side of the route's present direction it lies 20 m ahead.

    The route is followed from the lane, or connector, of the route that the ego is on; where there is none, or it ends before,
    the command is unknown.
    """
    blocks = set(route)
    lanes = {lane.id: lane for lane in (*road_map.lanes, *road_map.connectors) if lane.roadblock in blocks}
    shapes = {one: (shapely.Polygon(lane.rings[0]), shapely.LineString(lane.baseline)) for one, lane in lanes.items()}
    return [_command(pose, lanes, shapes) for pose in ego]


def _command(pose: Float64[np.ndarray, "3"], lanes: dict[str, MapLane], shapes: dict) -> Command:
    here = shapely.Point(pose[:2])
    on = [one for one, (area, _) in shapes.items() if area.dwithin(here, 0.5) and _with(pose, lanes[one])]
    if not on:
        return Command.UNKNOWN
    one = min(on, key=lambda lane: shapes[lane][1].distance(here))
    points = [lanes[one].baseline]
    length = shapes[one][1].length - shapes[one][1].project(here)
    while length < 2 * AHEAD_M:
        following = [other for other in lanes[one].outgoing if other in lanes]
        if not following:
            break
        one = following[0]
        points.append(lanes[one].baseline)
        length += shapes[one][1].length
    return command_along(np.concatenate(points), pose)


def _with(pose: Float64[np.ndarray, "3"], lane: MapLane) -> bool:
    """Whether a lane leads where the pose looks, at its nearest point."""
    nearest = int(np.argmin(np.hypot(*(lane.baseline - pose[:2]).T)))
    start = min(nearest, len(lane.baseline) - 2)
    direction = lane.baseline[start + 1] - lane.baseline[start]
    return bool(abs(wrap_angle(np.arctan2(direction[1], direction[0]) - pose[2])) < np.pi / 2)


def _calibration(spec: CameraSpec) -> dict[str, np.ndarray]:
    matrix = spec.camera_to_ego
    return {
        "sensor2lidar_rotation": matrix[:3, :3].copy(),
        "sensor2lidar_translation": matrix[:3, 3].copy(),
        "cam_intrinsic": spec.intrinsics,
        "distortion": np.zeros(5),
    }


def _annotations(made: CityDrive, place: LogPlace, row: int, velocity: Float64[np.ndarray, "T N 2"]) -> dict[str, Any]:
    """Boxes of everybody near, in the ego frame of this row."""
    agents, ego = made.drive.agents, made.drive.ego[row]
    delta = agents.poses[row, :, :2] - ego[:2]
    picked = np.flatnonzero(np.hypot(*delta.T) < SEEN_M)  # NaN compares false: who is absent is left out
    cos, sin = np.cos(ego[2]), np.sin(ego[2])
    turn = np.array([[cos, sin], [-sin, cos]])
    sizes = agents.sizes[picked]
    centre = np.concatenate([delta[picked] @ turn.T, sizes[:, 2:] / 2], 1)
    heading = agents.poses[row, picked, 2] - ego[2]
    speed = np.nan_to_num(velocity[row, picked]) @ turn.T
    return {
        "gt_boxes": np.concatenate([centre, sizes, heading[:, None]], 1).reshape(-1, 7),
        "gt_names": np.array([NAMES[agents.kinds[one]] for one in picked], "<U12"),
        "gt_velocity_3d": np.concatenate([speed, np.zeros((len(picked), 1))], 1).reshape(-1, 3),
        "instance_tokens": [token(place.key, "instance", int(one), row) for one in picked],
        "track_tokens": [token(place.key, "track", int(one)) for one in picked],
    }
