"""A scene of noise, for measurements: it costs what a real one costs, and needs no data."""

import io

import numpy as np
from PIL import Image

from latentdrive.types import CameraImage, Command, EgoHistory, Scene, SensorNeeds, camera_key

YAWS_DEG = {"cam_f0": 0.0, "cam_l0": 60.0, "cam_r0": -60.0, "cam_b0": 180.0}  # other cameras look ahead
HEIGHT_M, AHEAD_M, FOCAL_SHARE = 1.6, 1.5, 0.8  # of the cameras; their focal length as a share of the width
SPEED_MPS, POINTS = 8.0, 30_000
JPEG_QUALITY = 90


def made_scene(needs: SensorNeeds, size: tuple[int, int]) -> Scene:
    """A scene with the sensors that a planner needs. size: rows and columns of every picture."""
    drawn = np.random.default_rng(0)
    coarse = drawn.integers(0, 256, (size[0] // 8 + 1, size[1] // 8 + 1, 3), np.uint8)
    pixels = coarse.repeat(8, 0).repeat(8, 1)[: size[0], : size[1]]
    cameras = {camera_key(name): [_camera(name, np.roll(pixels, shift, 1))] for shift, name in enumerate(needs.cameras)}
    lidar = None
    if needs.lidar:
        lidar = drawn.normal(0, [15, 15, 1, 1], (POINTS, 4)).astype(np.float32)
    moving = np.tile(np.array([SPEED_MPS, 0.0], np.float32), (4, 1))
    poses = np.zeros((4, 3), np.float32)
    times = np.array([-1.5, -1.0, -0.5, 0.0])
    poses[:, 0] = SPEED_MPS * times
    ego = EgoHistory(
        times_s=times,
        poses=poses,
        poses_known=True,
        velocity=moving,
        velocity_known=True,
        acceleration=np.zeros((4, 2), np.float32),
        acceleration_known=True,
        command=Command.STRAIGHT,
        command_known=True,
    )
    return Scene(token="noise", drive="noise", cameras=cameras, ego=ego, lidar=lidar)


def encoded(scene: Scene) -> list[bytes]:
    """The pictures as JPEG files."""
    files = []
    for (image,) in scene.cameras.values():
        Image.fromarray(image.pixels.transpose(1, 2, 0)).save(file := io.BytesIO(), "JPEG", quality=JPEG_QUALITY)
        files.append(file.getvalue())
    return files


def decode(files: list[bytes]) -> list[np.ndarray]:
    """The pictures of JPEG files."""
    return [np.asarray(Image.open(io.BytesIO(file))) for file in files]


def _camera(name: str, pixels: np.ndarray) -> CameraImage:
    height, width = pixels.shape[:2]
    focal, yaw = FOCAL_SHARE * width, np.deg2rad(YAWS_DEG.get(name, 0.0))
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)
    pose = np.eye(4, dtype=np.float32)
    forward, right = [np.cos(yaw), np.sin(yaw), 0.0], [np.sin(yaw), -np.cos(yaw), 0.0]
    pose[:3, :3] = np.stack([right, [0.0, 0.0, -1.0], forward], 1)
    pose[:3, 3] = [AHEAD_M * np.cos(yaw), AHEAD_M * np.sin(yaw), HEIGHT_M]
    return CameraImage(
        pixels=np.ascontiguousarray(pixels.transpose(2, 0, 1)), intrinsics=intrinsics, camera_to_ego=pose
    )
