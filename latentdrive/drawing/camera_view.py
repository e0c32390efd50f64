"""Plans in a camera's picture: points of the ego frame projected to pixels, and trajectories drawn on the ground.

Pixels are (column, row).
"""

import cv2
import numpy as np
from jaxtyping import Float, Float64, Int32, UInt8

from latentdrive.data.picture_size import WHOLE, scaled_intrinsics
from latentdrive.drawing.colours import OUTLINE, Plans
from latentdrive.types import CameraImage

NEAR_M = 0.5  # depth at which everything projected is cut off
FARTHEST_PX = 1e5  # from the picture's corner; anything farther out is left out or clipped
DOTS = 8  # most dots drawn on one plan
SHIFT = 4  # fractional bits of the pixel coordinates that OpenCV takes


def camera_with_trajectories(
    image: CameraImage, plans: Plans, *, height: int | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """The picture with plans drawn at z = 0 of the ego frame, the last plan on top; no plans without a calibration.

    height: rows that the picture is scaled to; None keeps its size.
    """
    image = image if height is None else _scaled(image, height)
    pixels = np.ascontiguousarray(image.pixels.transpose(1, 2, 0))
    if image.intrinsics is None or image.camera_to_ego is None:
        return pixels
    width = max(2, round(pixels.shape[0] / 110))
    for poses, colour in plans.values():
        path = _on_the_ground(poses)
        pieces = _fixed_point(projected_pieces(image, path[:-1], path[1:]))
        for paint, wide in ((OUTLINE, width + 2), (colour, width)):
            cv2.polylines(pixels, list(pieces), False, paint, wide, cv2.LINE_AA, SHIFT)
        for column, row in _fixed_point(projected(image, thinned(path[1:])))[:, 0].tolist():
            for paint, radius in ((OUTLINE, width + 2), (colour, width + 1)):
                cv2.circle(pixels, (column, row), radius << SHIFT, paint, -1, cv2.LINE_AA, SHIFT)
    return pixels


def projected(image: CameraImage, points: Float[np.ndarray, "n 3"]) -> Float64[np.ndarray, "visible 2"]:
    """Pixels of the points (ego frame, metres) at least NEAR_M in front of the camera, in the picture or not."""
    local = _in_camera_frame(image, points)
    return _pixels(image, local[local[:, 2] >= NEAR_M])


def projected_pieces(
    image: CameraImage, starts: Float[np.ndarray, "n 3"], ends: Float[np.ndarray, "n 3"], *, far_m: float = np.inf
) -> Float64[np.ndarray, "visible 2 2"]:
    """Straight pieces between points of the ego frame, as pixels of both ends; cut off NEAR_M in front of the camera.

    far_m: pieces whose nearer end is deeper than this are left out, as are pieces far outside the picture.
    """
    starts, ends = _in_camera_frame(image, starts), _in_camera_frame(image, ends)
    visible = (np.maximum(starts[:, 2], ends[:, 2]) > NEAR_M) & (np.minimum(starts[:, 2], ends[:, 2]) < far_m)
    starts, ends = starts[visible], ends[visible]
    pieces = np.stack([_pixels(image, _cut(starts, ends)), _pixels(image, _cut(ends, starts))], 1)
    return pieces[(np.abs(pieces) < FARTHEST_PX).all((1, 2))]


def thinned(points: Float[np.ndarray, "n axes"]) -> Float[np.ndarray, "m axes"]:
    """About DOTS of the points, evenly spaced, from the last one backwards."""
    return points[::-1][:: max(1, len(points) // DOTS)]


def _in_camera_frame(image: CameraImage, points: Float[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
    """Points of the ego frame in the camera's: x right, y down, z ahead."""
    placed = image.camera_to_ego.astype(np.float64)
    return (np.asarray(points, np.float64) - placed[:3, 3]) @ placed[:3, :3]


def _cut(points: Float64[np.ndarray, "n 3"], others: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
    """The points; those behind the plane z = NEAR_M move towards `others` until they lie in it."""
    depth, behind = points[:, 2:], points[:, 2:] < NEAR_M
    share = np.where(behind, (NEAR_M - depth) / np.where(behind, others[:, 2:] - depth, 1.0), 0.0)
    return points + share * (others - points)


def _pixels(image: CameraImage, points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 2"]:
    flat = points @ image.intrinsics.astype(np.float64).T
    return flat[:, :2] / flat[:, 2:]


def _fixed_point(pixels: Float64[np.ndarray, "*n 2"]) -> Int32[np.ndarray, "n m 2"]:
    """Pixels as OpenCV takes them, in 1/16 of a pixel; single points get an axis of length 1."""
    fixed = np.clip(np.round(pixels * (1 << SHIFT)), -FARTHEST_PX * 16, FARTHEST_PX * 16).astype(np.int32)
    return fixed if fixed.ndim == 3 else fixed[:, None]


def _on_the_ground(poses: Float[np.ndarray, "n 3"]) -> Float64[np.ndarray, "m 3"]:
    """The ego's position now and the finite poses, as points with z = 0."""
    finite = poses[np.isfinite(poses).all(-1)]
    return np.concatenate([np.zeros((1, 3)), np.column_stack([finite[:, :2], np.zeros(len(finite))])])


def _scaled(image: CameraImage, height: int) -> CameraImage:
    stored = image.pixels.shape[1:]
    size = (height, round(stored[1] * height / stored[0]))
    how = cv2.INTER_AREA if height < stored[0] else cv2.INTER_LINEAR
    pixels = cv2.resize(np.ascontiguousarray(image.pixels.transpose(1, 2, 0)), size[::-1], interpolation=how)
    intrinsics = image.intrinsics
    if intrinsics is not None:
        intrinsics = scaled_intrinsics(intrinsics.astype(np.float64), view=WHOLE, stored=stored, size=size)
    return CameraImage(pixels=pixels.transpose(2, 0, 1), intrinsics=intrinsics, camera_to_ego=image.camera_to_ego)
