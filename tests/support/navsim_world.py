"""A small NAVSIM world for tests: pictures of 96 x 54 pixels, a LiDAR of 8 rings, six drives of 12 s."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.world.navsim.data_set import NavsimWorld

WIDTH, HEIGHT = 96, 54
PICTURES = ("CAM_F0", "CAM_B0")
SEED = 12  # with this seed the first crossings are a right and a left turn, both within the 12 s
SPLITS = {
    "train": ("trainval", {"crossing": {"none": 0.67}, "curves": {"none": 0.33}}, 3),
    "val": ("trainval", {"curves": {"none": 1.0}}, 1),
    "longtail": ("test", {"tail_street": {"pedestrian": 0.5}, "tail_crossing": {"red_light": 0.5}}, 2),
}


def small_world(splits: dict[str, tuple] = SPLITS, *, drive_s: float = 12.0) -> NavsimWorld:
    """Build a NAVSIM world with small sensors. splits: data split, kinds and number of drives by name."""
    overrides = [
        "world=small",
        f"world.drive_s={drive_s}",
        f"world.sensors.pictures=[{','.join(PICTURES)}]",
        f"seed={SEED}",
    ]
    overrides += ["world.sensors.lidar.rings=8", "world.sensors.lidar.columns=60"]
    for camera in PICTURES:
        sizes = {"width": WIDTH, "height": HEIGHT, "oversampling": 1}
        overrides += [f"world.sensors.cameras.{camera}.{key}={value}" for key, value in sizes.items()]
    plain = compose("world", overrides).world.plain()
    plain["splits"] = {
        name: {
            "_target_": "latentdrive.world.navsim.data_set.NavsimSplit",
            "drives": drives,
            "points": 3 * drives,
            "data_split": folder,
            "kinds": kinds,
        }
        for name, (folder, kinds, drives) in splits.items()
    }
    return build(plain)


def ego_poses(frames: list[dict[str, Any]]) -> np.ndarray:
    """Poses of the rear axle in the global frame, of every frame of a log."""
    rotations = np.stack([frame["ego2global_rotation"] for frame in frames])
    places = np.stack([frame["ego2global_translation"][:2] for frame in frames])
    return np.column_stack([places, 2 * np.arctan2(rotations[:, 3], rotations[:, 0])])


def contents(folder: Path) -> dict[str, str]:
    """Digests of all files below a folder, by their paths in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
