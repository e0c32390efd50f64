"""A tiny but complete folder of OpenScene data: two logs of 20 frames, two cameras, lidar, boxes, lights.

Every number follows from the frame's number k, so that tests can work results out by hand. Log
"north" starts at (1000, 2000) and drives north at 5 m/s; log "east" starts at (3000, 4000) and
drives east at 5 m/s. In every frame, a car stands 10 m ahead of and 2 m to the left of the rear
axle, turned by 0.1 rad. It moves at 3 m/s ahead and 1 m/s to the left, in ego axes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from latentdrive.data.navsim.sensor_files import write_pcd
from latentdrive.data.pickles.writing import write_pickle
from tests.support.data import passing

CAMERAS = ("CAM_F0", "CAM_L0", "CAM_L1", "CAM_L2", "CAM_R0", "CAM_R1", "CAM_R2", "CAM_B0")
WRITTEN = ("CAM_F0", "CAM_L0")
LOGS = {"north": (1000.0, 2000.0, np.pi / 2), "east": (3000.0, 4000.0, 0.0)}
START_US = 1_600_000_000_000_000
HEIGHT, WIDTH = 108, 192
SPEED_MPS = 5.0
# Camera axes (right, down, forward) in ego axes (forward, left, up), as columns.
FORWARD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
INTRINSICS = np.array([[150.0, 0.0, 95.5], [0.0, 150.0, 53.5], [0.0, 0.0, 1.0]])

Change = Callable[[list[dict[str, Any]]], Any]


def token(log: str, k: int) -> str:
    """16 hexadecimal digits that say which frame it is."""
    return f"{sorted(LOGS).index(log) + 1:08x}{k:08x}"


def frame(log: str, k: int) -> dict[str, Any]:
    """Frame k of a log, as OpenScene's writer makes it."""
    x, y, heading = LOGS[log]
    ahead = SPEED_MPS * 0.5 * k
    turn = [float(np.cos(heading / 2)), 0.0, 0.0, float(np.sin(heading / 2))]
    return {
        "token": token(log, k),
        "frame_idx": k,
        "timestamp": START_US + 500_000 * k,
        "log_name": log,
        "log_token": log,
        "scene_name": f"scene-{log}",
        "scene_token": f"scene-{log}",
        "vehicle_name": "veh-00",
        "map_location": "us-ma-boston",
        "roadblock_ids": ["101", "102", "103"] if k % 10 != 9 else [],
        "can_bus": np.zeros(18),
        "lidar_path": f"{log}/MergedPointCloud/{token(log, k)}.pcd",
        "ego2global_translation": np.array([x + ahead * np.cos(heading), y + ahead * np.sin(heading), 0.5]),
        "ego2global_rotation": np.array(turn),
        "ego_dynamic_state": [SPEED_MPS, 0.1, 0.2, 0.3],
        "traffic_lights": [(7001, k % 2 == 0), (7002, False)],
        "driving_command": np.array([0, 1, 0, 0]),
        "cams": {name: camera(log, name, k) for name in CAMERAS},
        "sample_prev": None,
        "sample_next": None,
        "anns": annotations(),
    }


def camera(log: str, name: str, k: int) -> dict[str, Any]:
    """One camera of a frame: 1.5 m ahead of the rear axle and 1.6 m above it, looking forward."""
    return {
        "data_path": f"{log}/{name}/{token(log, k)}.jpg",
        "sensor2lidar_rotation": FORWARD.copy(),
        "sensor2lidar_translation": np.array([1.5, 0.0, 1.6]),
        "cam_intrinsic": INTRINSICS.copy(),
        "distortion": np.zeros(5),
    }


def annotations() -> dict[str, Any]:
    """The moving car, and a cone 5 m ahead."""
    return {
        "gt_boxes": np.array([[10.0, 2.0, 0.8, 4.5, 1.9, 1.6, 0.1], [5.0, -1.0, 0.4, 0.3, 0.3, 0.8, 0.0]]),
        "gt_names": np.array(["vehicle", "traffic_cone"]),
        "gt_velocity_3d": np.array([[3.0, 1.0, 0.0], [0.0, 0.0, 0.0]]),
        "instance_tokens": ["i0", "i1"],
        "track_tokens": ["car", "cone"],
    }


def frames(log: str, count: int = 20) -> list[dict[str, Any]]:
    """The first frames of a log."""
    return [frame(log, k) for k in range(count)]


def write_log(root: Path, name: str, content: Any, *, data_split: str = "mini") -> Path:
    """One log's pickle."""
    path = root / "navsim_logs" / data_split / f"{name}.pkl"
    write_pickle(path, content)
    return path


def points(k: int) -> np.ndarray:
    """Three points whose first one lies k metres ahead; ring and lidar number differ."""
    return np.array([[k, 2, 3], [0, 1, 2], [0, 0, 1], [10, 20, 30], [0, 1, 2], [0, 0, 4]], np.float32)


def write_sensors(root: Path, name: str, count: int, *, cameras: Sequence[str], data_split: str = "mini") -> None:
    """Images and point clouds of a log's first frames."""
    blobs = root / "sensor_blobs" / data_split / name
    pictures = passing(sorted(LOGS).index(name), np.arange(count) * 8.0, (HEIGHT, WIDTH))
    for camera_name in cameras:
        (blobs / camera_name).mkdir(parents=True)
        for k, picture in enumerate(pictures):
            path = blobs / camera_name / f"{token(name, k)}.jpg"
            cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])
    for k in range(count):
        write_pcd(blobs / "MergedPointCloud" / f"{token(name, k)}.pcd", points(k))


def write_split(folder: Path, name: str, *, data_split: str = "mini", more: str = "", **keys: Any) -> Path:
    """A split file and its filter, with NAVSIM's usual numbers where none are given.

    more: text to append to the split file.
    """
    settings = {
        "_target_": "navsim.common.dataclasses.SceneFilter",
        "_convert_": "all",
        "num_history_frames": 4,
        "num_future_frames": 10,
        "frame_interval": 1,
        "has_route": True,
        "max_scenes": None,
        "log_names": None,
        "tokens": None,
    } | keys
    (folder / "scene_filter").mkdir(parents=True, exist_ok=True)
    (folder / "scene_filter" / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    path = folder / f"{name}.yaml"
    path.write_text(f"defaults:\n  - scene_filter: {name}\ndata_split: {data_split}\n{more}")
    return path


def write_openscene(
    root: Path,
    *,
    count: int = 20,
    sensors: bool = True,
    cameras: Sequence[str] = WRITTEN,
    data_split: str = "mini",
    change: Change | None = None,
) -> Path:
    """Writes navsim_logs/, sensor_blobs/ and splits/ (train: north, val: east).

    change: alters the frames of "north".
    """
    for name in LOGS:
        content = frames(name, count)
        if change is not None and name == "north":
            changed = change(content)
            content = content if changed is None else changed
        write_log(root, name, content, data_split=data_split)
        if sensors:
            write_sensors(root, name, count, cameras=cameras, data_split=data_split)
    write_split(root / "splits", "train", data_split=data_split, log_names=["north"])
    write_split(root / "splits", "val", data_split=data_split, log_names=["east"])
    return root
