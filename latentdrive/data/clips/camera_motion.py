"""How the camera turned and which way it went between two pictures, from corners that are tracked
from one to the other.

The first half of visual odometry: visual_odometry.py makes a track of the car from these motions.
Rotation and direction of travel come from robust epipolar least squares; how far the camera went
can't be seen from two pictures.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from latentdrive.types import FROZEN

CORNERS, CORNER_QUALITY, CORNER_DISTANCE = 220, 0.008, 10
CARRIED, FEWEST = 150, 12  # tracks that are followed on from the step before; fewest tracks that can be used
ROUND_TRIP_PX = 0.7  # a track that does not come back this near is dropped
STILL_PX, STILL_SHARE = 0.25, 0.8  # the car stands if this share of the corners moves less than that
STUCK_PX = 0.12  # a track that moves less than this, while the picture moves, is on the bonnet or a caption
RESIDUAL_PX = 0.5  # scale of the robust (Cauchy) loss
LOOSE, TIGHT = (
    0.08,
    0.015,
)  # prior spread of the direction of travel (tangents): around straight ahead, around the clip's own
CALIBRATION_PAIRS = 150  # pairs of pictures that the clip's own direction is taken from
TURN_PRIOR = 0.15  # rad a frame; roll and pitch are held to a tenth of it
ITERATIONS = 8


@dataclass(**FROZEN)
class Tracks:
    """Corners of one picture and where the next picture has them: normalised camera coordinates (right, down).

    pixels: corners in the later picture. came: row of the same corner among the tracks of the step
    before, or -1.
    """

    before: Float64[np.ndarray, "N 2"]
    after: Float64[np.ndarray, "N 2"]
    pixels: Float32[np.ndarray, "N 2"]
    came: Int64[np.ndarray, "N"]


def track(
    before: UInt8[np.ndarray, "H W"], after: UInt8[np.ndarray, "H W"], intrinsics: np.ndarray, last: Tracks | None
) -> Tracks | None:
    """Corners followed from one picture to the next, kept if they return on the way back; None for fewer than 12.

    last: tracks that end in `before`; they are followed on, and new corners are added.
    """
    fresh = cv2.goodFeaturesToTrack(before, CORNERS, CORNER_QUALITY, CORNER_DISTANCE)
    corners, came = np.zeros((0, 2), np.float32), np.zeros(0, np.int64)
    if fresh is not None:
        corners, came = fresh.reshape(-1, 2), np.full(len(fresh), -1)
    if last is not None:
        rows = np.linspace(0, len(last.pixels) - 1, min(CARRIED, len(last.pixels))).astype(np.int64)
        corners, came = np.concatenate([corners, last.pixels[rows]]), np.concatenate([came, rows])
    if len(corners) < FEWEST:
        return None
    options = {"winSize": (13, 13), "maxLevel": 3}
    tracked, ok, _ = cv2.calcOpticalFlowPyrLK(before, after, corners[:, None], None, **options)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(after, before, tracked, None, **options)
    tracked, back = tracked.reshape(-1, 2), back.reshape(-1, 2)
    good = (ok.ravel() == 1) & (returned.ravel() == 1) & (np.abs(back - corners).max(1) < ROUND_TRIP_PX)
    moved = np.linalg.norm(tracked - corners, axis=1)
    if good.any() and np.median(moved[good]) > STILL_PX:
        good &= moved > STUCK_PX
    if good.sum() < FEWEST:
        return None
    focal, centre = np.array([intrinsics[0, 0], intrinsics[1, 1]]), intrinsics[:2, 2]
    return Tracks(
        before=(corners[good] - centre) / focal,
        after=(tracked[good] - centre) / focal,
        pixels=tracked[good],
        came=came[good],
    )


def solve(
    tracks: Tracks, focal: float, aim: Float64[np.ndarray, "2"], spread: float
) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "2"]] | None:
    """Rotation about (right, down, forward) in radians and direction of travel as tangents (right,
    down); None if the car stands.

    Gauss-Newton with Cauchy weights. Once the rotation is undone, every track must point away from
    the direction of travel; the residual is the part that does not. aim, spread: Gaussian prior of
    the direction.
    """
    flow = tracks.after - tracks.before
    if np.quantile(np.linalg.norm(flow, axis=1), STILL_SHARE) * focal < STILL_PX:
        return None
    rotation, direction = np.zeros(3), aim.copy()
    scale = RESIDUAL_PX / focal
    rows = _rotation_rows(tracks.before)
    for _ in range(ITERATIONS):
        derotated = derotate(tracks.after, rotation)
        away = tracks.before - direction
        far = np.maximum(np.linalg.norm(away, axis=1), 0.02)
        flow = derotated - tracks.before
        residual = (away[:, 0] * flow[:, 1] - away[:, 1] * flow[:, 0]) / far
        by_rotation = -(away[:, 0, None] * rows[:, 1] - away[:, 1, None] * rows[:, 0]) / far[:, None]
        by_direction = np.stack([-flow[:, 1], flow[:, 0]], -1) / far[:, None]
        jacobian = np.concatenate([by_rotation, by_direction], 1)
        weight = 1.0 / (1.0 + (residual / scale) ** 2)
        prior = np.array([TURN_PRIOR / 10, TURN_PRIOR, TURN_PRIOR / 10, spread, spread]) ** -2.0 * scale**2
        normal = jacobian.T @ (weight[:, None] * jacobian) + np.diag(prior)
        state = np.concatenate([rotation, direction - aim])
        step = np.linalg.solve(normal, -(jacobian.T @ (weight * residual)) - prior * state)
        rotation, direction = rotation + step[:3], direction + step[3:]
        if np.abs(step).max() < 1e-5:
            break
    return rotation, direction


def usual_direction(pairs: list[Tracks], focal: float) -> Float64[np.ndarray, "2"]:
    """Where straight travel points in the picture (right, down; tangents): median over the pairs that turn least."""
    pairs = pairs[:: max(1, len(pairs) // CALIBRATION_PAIRS)]
    motions = [motion for pair in pairs if (motion := solve(pair, focal, np.zeros(2), LOOSE)) is not None]
    if not motions:
        return np.zeros(2)
    turns = np.abs([rotation[1] for rotation, _ in motions])
    straight = turns <= np.quantile(turns, 0.5) + 1e-9
    return np.median([direction for (_, direction), keep in zip(motions, straight) if keep], axis=0)


def _rotation_rows(points: Float64[np.ndarray, "N 2"]) -> Float64[np.ndarray, "N 2 3"]:
    """Image motion (right, down) of points for a small rotation of the camera about each axis
    (right, down, forward).
    """
    x, y = points.T
    right = np.stack([x * y, -(1 + x * x), y], -1)
    down = np.stack([1 + y * y, -x * y, -x], -1)
    return np.stack([right, down], 1)


def derotate(points: Float64[np.ndarray, "N 2"], rotation: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "N 2"]:
    """Where the points of the later picture would be had the camera not turned."""
    matrix = cv2.Rodrigues(rotation)[0]
    rays = np.concatenate([points, np.ones((len(points), 1))], 1) @ matrix.T
    return rays[:, :2] / rays[:, 2:]
