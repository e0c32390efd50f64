"""Builds the NAVSIM log of a drive: one dictionary for each frame, with the keys that OpenScene writes.

Follows city_drive.py and precedes drive_writer.py. Here the drive is moved from its own plane into
the global frame.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from jaxtyping import Float64, Int64

from latentdrive.data.maps.driving_command import AHEAD_M, command_along
from latentdrive.geometry import compose, wrap_angle
from latentdrive.types import FROZEN, Command, MapLane, RoadMap
from latentdrive.world.navsim.city_drive import CityDrive
from latentdrive.world.rendering.cameras import CameraSpec

NAMES = {"car": "vehicle", "van": "vehicle", "truck": "vehicle", "bus": "vehicle", "pedestrian": "pedestrian"}
SEEN_M = 90.0  # objects that are farther from the ego are not annotated
ON_LANE_M = 0.5  # the ego counts as on a lane up to this far beside it
MICROSECONDS = 1_000_000


@dataclass(**FROZEN)
class LogPlace:
    """Where and when a drive takes place.

    log: name of the log. pose: of the drive's plane in the global frame. start_us: time of the
    first frame. key: text from which the tokens are derived.
    """

    log: str
    map_name: str
    pose: Float64[np.ndarray, "3"]
    start_us: int
    key: str


def token(*parts: str | int) -> str:
    """Return 16 hexadecimal digits that are unique to these parts."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:16]


def log_frames(
    city_drive: CityDrive,
    place: LogPlace,
    cameras: Mapping[str, CameraSpec],
    *,
    rows: Int64[np.ndarray, "F"],
    rate_hz: float,
) -> list[dict[str, Any]]:
    """Return the frames of a log. rows: of the drive, which was recorded at rate_hz. cameras: all
    eight, by NAVSIM's names.
    """
    drive = city_drive.drive
    poses = compose(np.broadcast_to(place.pose, drive.ego.shape), drive.ego)
    motion = ego_motion(drive.ego, drive.ego_speed_mps, rate_hz)
    positions = drive.agents.poses[..., :2]
    velocity = np.gradient(positions, 1 / rate_hz, axis=0) if len(drive.agents) else np.zeros_like(positions)
    commands = route_commands(city_drive.map, city_drive.route, drive.ego[rows])
    calibration = {name: _calibration(spec) for name, spec in cameras.items()}
    scene_token = token(place.key, "scene")
    tokens = [token(place.key, int(row)) for row in rows]
    frames = []
    for number, row in enumerate(rows.tolist()):
        frames.append(
            {
                "token": tokens[number],
                "frame_idx": number,
                "timestamp": place.start_us + round(float(row) / rate_hz * MICROSECONDS),
                **_log_entries(city_drive, place, scene_token),
                "can_bus": _can_bus(poses[row], motion[row]),
                "lidar_path": f"{place.log}/MergedPointCloud/{token(place.key, row, 'lidar')}.pcd",
                **_pose_entries(poses[row]),
                "ego_dynamic_state": [float(value) for value in motion[row, :4]],
                "traffic_lights": [(int(lane_id), bool(red[row])) for lane_id, red in city_drive.reds.items()],
                "driving_command": np.eye(4, dtype=np.int64)[commands[number]],
                "cams": {
                    name: {"data_path": f"{place.log}/{name}/{token(place.key, row, name)}.jpg", **calibration[name]}
                    for name in cameras
                },
                "sample_prev": tokens[number - 1] if number else None,
                "sample_next": tokens[number + 1] if number + 1 < len(rows) else None,
                "anns": _annotations(city_drive, place, row, velocity),
            }
        )
    return frames


def ego_motion(
    ego: Float64[np.ndarray, "T 3"], speed: Float64[np.ndarray, "T"], rate_hz: float
) -> Float64[np.ndarray, "T 5"]:
    """Return vx, vy, ax, ay of the rear axle in the ego frame and the yaw rate (SI units).

    Each is computed from its row and the row before, so it knows nothing of the future.
    """
    yaw_rate = wrap_angle(np.diff(ego[:, 2])) * rate_hz
    along = np.diff(speed) * rate_hz
    yaw_rate, along = (np.concatenate([values[:1], values]) for values in (yaw_rate, along))
    return np.stack([speed, np.zeros_like(speed), along, speed * yaw_rate, yaw_rate], -1)


def route_commands(road_map: RoadMap, route: tuple[str, ...], ego: Float64[np.ndarray, "F 3"]) -> list[Command]:
    """Return the driving command of each pose: to which side the route lies AHEAD_M metres ahead.

    The route is followed from the lane or connector on which the ego is. The command is unknown if
    the ego is on no lane of the route, or if the route ends earlier.
    """
    blocks = set(route)
    lanes = {lane.id: lane for lane in (*road_map.lanes, *road_map.connectors) if lane.roadblock in blocks}
    shapes = {
        lane_id: (shapely.Polygon(lane.rings[0]), shapely.LineString(lane.baseline)) for lane_id, lane in lanes.items()
    }
    return [_command(pose, lanes, shapes) for pose in ego]


def _command(pose: Float64[np.ndarray, "3"], lanes: dict[str, MapLane], shapes: dict) -> Command:
    """The command of one pose. lanes: those of the route by id. shapes: their polygons and centre lines."""
    here = shapely.Point(pose[:2])
    occupied = [
        lane_id
        for lane_id, (area, _) in shapes.items()
        if area.dwithin(here, ON_LANE_M) and _leads_ahead(pose, lanes[lane_id])
    ]
    if not occupied:
        return Command.UNKNOWN
    lane_id = min(occupied, key=lambda candidate: shapes[candidate][1].distance(here))
    points = [lanes[lane_id].baseline]
    length = shapes[lane_id][1].length - shapes[lane_id][1].project(here)
    while length < 2 * AHEAD_M:
        following = [other for other in lanes[lane_id].outgoing if other in lanes]
        if not following:
            break
        lane_id = following[0]
        points.append(lanes[lane_id].baseline)
        length += shapes[lane_id][1].length
    return command_along(np.concatenate(points), pose)


def _leads_ahead(pose: Float64[np.ndarray, "3"], lane: MapLane) -> bool:
    """Whether a lane, at its point nearest to the pose, leads into the half plane ahead of it."""
    nearest = int(np.argmin(np.hypot(*(lane.baseline - pose[:2]).T)))
    start = min(nearest, len(lane.baseline) - 2)
    direction = lane.baseline[start + 1] - lane.baseline[start]
    return bool(abs(wrap_angle(np.arctan2(direction[1], direction[0]) - pose[2])) < np.pi / 2)


def _log_entries(city_drive: CityDrive, place: LogPlace, scene_token: str) -> dict[str, Any]:
    """The entries that are the same in all frames of a log."""
    return {
        "log_name": place.log,
        "log_token": token(place.key, "log"),
        "scene_name": "log-0001-scene-0000",
        "scene_token": scene_token,
        "vehicle_name": "latentdrive-world",
        "map_location": place.map_name,
        "roadblock_ids": list(city_drive.route),
    }


def _can_bus(pose: Float64[np.ndarray, "3"], motion: Float64[np.ndarray, "5"]) -> Float64[np.ndarray, "18"]:
    """Position, rotation, acceleration, velocity and yaw rate, in nuScenes' order."""
    x, y, heading = pose
    vx, vy, ax, ay, yaw_rate = motion
    return np.array([x, y, 0.0, *_quaternion(heading), ax, ay, 0.0, vx, vy, 0.0, 0.0, 0.0, yaw_rate, 0.0, 0.0])


def _quaternion(heading: float) -> Float64[np.ndarray, "4"]:
    """Rotation about z, w first."""
    return np.array([np.cos(heading / 2), 0.0, 0.0, np.sin(heading / 2)])


def _pose_entries(pose: Float64[np.ndarray, "3"]) -> dict[str, Any]:
    """The entries of the ego's pose in the global frame. Point clouds are given in the ego frame."""
    x, y, heading = pose
    to_global = np.eye(4)
    to_global[:3, :3] = [[np.cos(heading), -np.sin(heading), 0], [np.sin(heading), np.cos(heading), 0], [0, 0, 1]]
    to_global[:3, 3] = (x, y, 0.0)
    return {
        "lidar2ego_translation": np.zeros(3),
        "lidar2ego_rotation": np.array([1.0, 0.0, 0.0, 0.0]),
        "lidar2ego": np.eye(4),
        "ego2global": to_global,
        "lidar2global": to_global,
        "ego2global_translation": np.array([x, y, 0.0]),
        "ego2global_rotation": _quaternion(heading),
    }


def _calibration(spec: CameraSpec) -> dict[str, np.ndarray]:
    matrix = spec.camera_to_ego
    return {
        "sensor2lidar_rotation": matrix[:3, :3].copy(),
        "sensor2lidar_translation": matrix[:3, 3].copy(),
        "cam_intrinsic": spec.intrinsics,
        "distortion": np.zeros(5),
    }


def _annotations(
    city_drive: CityDrive, place: LogPlace, row: int, velocity: Float64[np.ndarray, "T N 2"]
) -> dict[str, Any]:
    """The boxes of all agents within SEEN_M, in the ego frame of this row."""
    agents, ego = city_drive.drive.agents, city_drive.drive.ego[row]
    delta = agents.poses[row, :, :2] - ego[:2]
    picked = np.flatnonzero(np.hypot(*delta.T) < SEEN_M)  # without absent agents, since NaN compares false
    cos, sin = np.cos(ego[2]), np.sin(ego[2])
    turn = np.array([[cos, sin], [-sin, cos]])
    sizes = agents.sizes[picked]
    centre = np.concatenate([delta[picked] @ turn.T, sizes[:, 2:] / 2], 1)
    heading = agents.poses[row, picked, 2] - ego[2]
    speed = np.nan_to_num(velocity[row, picked]) @ turn.T
    return {
        "gt_boxes": np.concatenate([centre, sizes, heading[:, None]], 1).reshape(-1, 7),
        "gt_names": np.array([NAMES[agents.kinds[agent]] for agent in picked.tolist()], "<U12"),
        "gt_velocity_3d": np.concatenate([speed, np.zeros((len(picked), 1))], 1).reshape(-1, 3),
        "instance_tokens": [token(place.key, "instance", agent, row) for agent in picked.tolist()],
        "track_tokens": [token(place.key, "track", agent) for agent in picked.tolist()],
    }
