"""Synthetic scenes of NAVSIM v2's second stage, written by hand; what others do afterwards are objects of nuPlan."""

from pathlib import Path
from typing import Any

import numpy as np

from latentdrive.data.pickles.names import StandIn
from latentdrive.data.pickles.writing import write_pickle
from tests.support.navsim_fixture import START_US, annotations, camera

STATE = "nuplan.common.actor_state"


def stand_in(module: str, kind: str, **attributes: Any) -> StandIn:
    return StandIn(module=module, kind=kind, attributes=attributes)


def member(module: str, kind: str, value: int) -> StandIn:
    return StandIn(module=module, kind=kind, args=(value,), called=True)


def thing(kind: int, track: str, x: float, velocity: tuple[Any, Any] | None) -> StandIn:
    """One object of nuPlan's classes at (x, 20), facing north, 4 x 2 x 1.5 m. kind: nuPlan's number of its type."""
    centre = stand_in(f"{STATE}.state_representation", "StateSE2", x=x, y=20.0, heading=np.pi / 2)
    attributes: dict[str, Any] = {
        "_metadata": stand_in(
            f"{STATE}.scene_object", "SceneObjectMetadata", timestamp_us=1, token=track, track_token=track
        ),
        "_tracked_object_type": member(f"{STATE}.tracked_objects_types", "TrackedObjectType", kind),
        "_box": stand_in(f"{STATE}.oriented_box", "OrientedBox", _center=centre, _length=4.0, _width=2.0, _height=1.5),
    }
    if velocity is None:
        return stand_in(f"{STATE}.static_object", "StaticObject", **attributes)
    speed = stand_in(f"{STATE}.state_representation", "StateVector2D", _x=velocity[0], _y=velocity[1])
    return stand_in(f"{STATE}.agent", "Agent", **attributes, _velocity=speed)


def detections(*things: StandIn) -> StandIn:
    tracked = stand_in(f"{STATE}.tracked_objects", "TrackedObjects", tracked_objects=list(things))
    module = "nuplan.planning.simulation.observation.observation_type"
    return stand_in(module, "DetectionsTracks", tracked_objects=tracked)


def lights(status: int) -> StandIn:
    maps = "nuplan.common.maps.maps_datatypes"
    light = stand_in(
        maps,
        "TrafficLightStatusData",
        status=member(maps, "TrafficLightStatusType", status),
        lane_connector_id=7001,
        timestamp=1,
    )
    return stand_in(maps, "TrafficLightStatuses", traffic_lights=[light])


def frame(k: int) -> dict[str, Any]:
    """Frame k of a scene that drives north from (10, 20) at 5 m/s."""
    return {
        "token": f"{k:016x}",
        "timestamp": START_US + 500_000 * k,
        "roadblock_ids": ["101"],
        "traffic_lights": [("7001", True)],
        "annotations": {name.removeprefix("gt_"): value for name, value in annotations().items()},
        "ego_status": {
            "ego_pose": np.array([10.0, 20.0 + 2.5 * k, np.pi / 2]),
            "ego_velocity": np.array([5.0, 0.0], np.float32),
            "ego_acceleration": np.array([0.5, 0.0], np.float32),
            "driving_command": np.array([1, 0, 0, 0]),
            "in_global_frame": True,
        },
        "lidar_path": f"scene/{k}.pcd",
        "camera_dict": {
            name: camera("east", name, k) | ({} if name == "cam_f0" else {"data_path": None})
            for name in ("cam_f0", "cam_l0", "cam_l1", "cam_l2", "cam_r0", "cam_r1", "cam_r2", "cam_b0")
        },
    }


def write_scene(folder: Path, name: str, token: str, **changed: Any) -> Path:
    """One scene of four frames, and two frames of others after its end."""
    others = [thing(0, "car", 12.0, (0.0, 3.0)), thing(3, "cone", 14.0, None), thing(7, "ego", 10.0, (0.0, 0.0))]
    content = {
        "scene_metadata": {
            "log_name": "north",
            "scene_token": name,
            "map_name": "us-ma-boston",
            "initial_token": token,
            "num_history_frames": 4,
            "num_future_frames": 0,
            "corresponding_original_scene": "a" * 16,
            "corresponding_original_initial_token": "b" * 16,
        },
        "frames": [frame(k) for k in range(4)],
        "extended_traffic_light_data": [lights(2), lights(0)],
        "extended_detections_tracks": [detections(*others), detections()],
    }
    path = folder / "synthetic_scene_pickles" / f"{name}.pkl"
    write_pickle(path, content | changed)
    return path
