"""A scene as the inputs of a bundle's graphs: what the car's sensors would have handed to the runtime."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from latentdrive.errors import UnreadableScene
from latentdrive.export.graphs import ACCELERATION, COMMAND, INTRINSICS, LIDAR, PICTURE, POSES, VELOCITY, Camera
from latentdrive.export.runtime import histogram
from latentdrive.planners.inputs.sensors import picture_of
from latentdrive.types import Scene


def scene_inputs(scene: Scene, card: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Inputs of the first graph. Raises UnreadableScene where a sensor is missing, or a picture has another size."""
    ego = scene.ego
    if not (ego.velocity_known and ego.acceleration_known):
        raise UnreadableScene(scene.token, "the ego's velocity or acceleration is unknown, and bundles need both")
    inputs = {
        f"{PICTURE}{name}": _picture(scene, name, (facts["height"], facts["width"]))
        for name, facts in card["cameras"].items()
    }
    if names := card["calibrated"]:
        inputs |= _calibration(scene, names)
    inputs[VELOCITY] = np.asarray(ego.velocity[-1:], np.float32)
    inputs[ACCELERATION] = np.asarray(ego.acceleration[-1:], np.float32)
    inputs[COMMAND] = np.array([int(ego.command)], np.int64)
    if card["lidar"] is not None:
        if scene.lidar is None:
            raise UnreadableScene(scene.token, "the scene has no point cloud, but this bundle needs one")
        inputs[LIDAR] = histogram(scene.lidar, card["lidar"])
    return inputs


def cameras_of(scene: Scene, names: tuple[str, ...]) -> dict[str, Camera]:
    """Size and calibration of a scene's cameras, as bundles carry them."""
    return {name: _camera(scene, name) for name in names}


def _camera(scene: Scene, name: str) -> Camera:
    picture = picture_of(scene, name)
    intrinsics, pose = (
        None if matrix is None else np.asarray(matrix, np.float64).tolist()
        for matrix in (picture.intrinsics, picture.camera_to_ego)
    )
    return Camera(size=picture.pixels.shape[1:], intrinsics=intrinsics, camera_to_ego=pose)


def _picture(scene: Scene, name: str, size: tuple[int, int]) -> np.ndarray:
    pixels = picture_of(scene, name).pixels
    if pixels.shape[1:] != size:
        raise UnreadableScene(
            scene.token,
            f"{name} gives pictures of {pixels.shape[1]} x {pixels.shape[2]}, the bundle was exported for {size[0]} x "
            f"{size[1]}",
        )
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def _calibration(scene: Scene, names: list[str]) -> dict[str, np.ndarray]:
    cameras = cameras_of(scene, tuple(names))
    if missing := [n for n, camera in cameras.items() if camera.intrinsics is None or camera.camera_to_ego is None]:
        raise UnreadableScene(scene.token, f"{missing[0]} has no calibration, but this bundle projects points into it")
    return {
        INTRINSICS: np.array([camera.intrinsics for camera in cameras.values()], np.float32),
        POSES: np.array([camera.camera_to_ego for camera in cameras.values()], np.float32),
    }
