"""A calibrated picture, straight plans and a search for colours, for the tests of drawn plans."""

import numpy as np

from latentdrive.types import CameraImage

FOCAL, WIDTH, HEIGHT = 100.0, 200, 120  # pixels
FORWARD_M, UP_M = 2.0, 1.5  # of the camera, from the rear axle
GREY = 9  # every pixel of the bare picture


def grey_image(*, calibrated: bool = True) -> CameraImage:
    """A grey picture of a camera that looks straight ahead, with its axes parallel to the car's."""
    pixels = np.full((3, HEIGHT, WIDTH), GREY, np.uint8)
    if not calibrated:
        return CameraImage(pixels=pixels, intrinsics=None, camera_to_ego=None)
    placed = np.array([[0, 0, 1, FORWARD_M], [-1, 0, 0, 0], [0, -1, 0, UP_M], [0, 0, 0, 1]], np.float32)
    intrinsics = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]], np.float32)
    return CameraImage(pixels=pixels, intrinsics=intrinsics, camera_to_ego=placed)


def straight_plan(ahead_m: float, left_m: float = 0.0) -> np.ndarray:
    """Eight poses on a straight line that ends at this place; heading 0."""
    return np.linspace([ahead_m / 8, left_m / 8, 0], [ahead_m, left_m, 0], 8)


def places(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns of the pixels that nearly have a colour; lines are smoothed at their edges."""
    return np.argwhere((np.abs(picture.astype(int) - np.array(colour)) < 30).all(-1))
