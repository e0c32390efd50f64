"""Pseudo-poses for video that has none: planar visual odometry from one camera, without a true scale.

Used by reader.py when `poses: visual_odometry` and nothing is recorded. Corners are tracked from frame to frame; the
rotation and the direction of travel are found by robust epipolar least squares, the length of the way from points on
the road, taken as flat and CAMERA_HEIGHT_M below the camera. So "metres" are true only as far as that guess is: poses
are scale-free, with one scale within a clip. The car is taken to roll along its path (no side slip), so the direction of
travel is nearly constant in the picture; a pitch or yaw of the camera on the car is found from the clip itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from latentdrive.errors import WrongShape
from latentdrive.geometry import compose
from latentdrive.types import FROZEN

CAMERA_HEIGHT_M = 1.5  # the unit of all lengths: a passenger car's camera stands 1.2 to 1.7 m above the road
LEVER_M = 1.5  # from the rear axle to the camera: where it stands, the camera swings out in a turn
WORK_WIDTH = 480  # pixels, the width pictures are shrunk to before tracking
CORNERS, CORNER_QUALITY, CORNER_DISTANCE = 220, 0.008, 9
ROAD_CORNERS, ROAD_QUALITY, ROAD_DISTANCE = 200, 0.003, 6  # asphalt is dull: the lower middle is searched apart
ROAD_TOP, ROAD_SIDE = 0.52, 0.15  # of height and width: where that search begins
ROUND_TRIP_PX = 0.7  # a track that does not come back this near is dropped
STILL_PX = 0.25  # median image motion below which the car stands
RESIDUAL_PX = 0.5  # scale of the robust (Cauchy) loss
LOOSE, TIGHT = 0.08, 0.015  # prior spread of the direction of travel, first alone and then around the clip's own
TURN_PRIOR = 0.15  # rad a frame; roll and pitch are held to a tenth of it
ROAD_HALF_WIDTH = 2.5  # camera heights to either side in which points are taken as road
ROAD_BELOW = 0.06  # tangent below the horizon from which on points may be road
MIN_ROAD_POINTS = 6
ITERATIONS = 10


@dataclass(**FROZEN)
class EgoMotion:
    """poses: x, y, heading relative to the first frame, metres if the camera stood CAMERA_HEIGHT_M high. speed_mps alike."""

    poses: Float32[np.ndarray, "T 3"]
    speed_mps: Float32[np.ndarray, "T"]


@dataclass(**FROZEN)
class Tracks:
    """Corners of one picture and where the next picture has them: normalised camera coordinates (right, down)."""

    before: Float64[np.ndarray, "N 2"]
    after: Float64[np.ndarray, "N 2"]


def work_size(stored: tuple[int, int]) -> tuple[int, int]:
    """(height, width) at which a stored picture is tracked; never enlarged."""
    scale = min(1.0, WORK_WIDTH / stored[1])
    return max(16, round(stored[0] * scale)), max(16, round(stored[1] * scale))


def guessed_intrinsics(size: tuple[int, int], field_of_view_deg: float) -> Float64[np.ndarray, "3 3"]:
    """A pinhole in the middle of a (height, width) picture with this horizontal field of view."""
    focal = size[1] / 2 / np.tan(np.radians(field_of_view_deg) / 2)
    return np.array([[focal, 0, size[1] / 2 - 0.5], [0, focal, size[0] / 2 - 0.5], [0, 0, 1.0]])


def estimate_ego_motion(
    pictures: Iterable[UInt8[np.ndarray, "H W"]],
    times_s: Float64[np.ndarray, "T"],
    shots: np.ndarray,
    intrinsics: Float64[np.ndarray, "3 3"],
) -> EgoMotion:
    """Planar motion of the rear axle through a clip.

    pictures: grey, one for each time, all of one size; intrinsics in their pixels. shots: where it changes, the way is
    interrupted: the pose is carried on as if the car stood.
    """
    focal = float(intrinsics[0, 0])
    pairs: list[Tracks | None] = []
    previous = None
    for number, picture in enumerate(pictures):
        if previous is not None:
            joined = shots[number] == shots[number - 1]
            pairs.append(track(previous, picture, intrinsics) if joined else None)
        previous = picture
    if len(pairs) != len(times_s) - 1:
        raise WrongShape(f"{len(pairs) + 1} pictures for {len(times_s)} times; one picture a time")
    loose = [None if pair is None else solve(pair, focal, np.zeros(2), LOOSE) for pair in pairs]
    aim = _usual_direction([motion for motion in loose if motion is not None])
    steps = np.zeros((len(pairs), 2))  # forward way, heading change
    way = np.nan
    for number, pair in enumerate(pairs):
        if pair is None:
            way = np.nan
            continue
        way, turn = _planar_step(pair, focal, aim, way)
        steps[number] = (np.nan_to_num(way), turn)
    return _integrate(_steadied(steps, shots), times_s, shots)


def track(before: UInt8[np.ndarray, "H W"], after: UInt8[np.ndarray, "H W"], intrinsics: np.ndarray) -> Tracks | None:
    """Corners followed from one picture to the next, kept if the way back returns; None for fewer than 12."""
    corners = _corners(before)
    if len(corners) < 12:
        return None
    options = {"winSize": (15, 15), "maxLevel": 4}
    found, ok, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None, **options)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(after, before, found, None, **options)
    corners, found, back = (points.reshape(-1, 2) for points in (corners, found, back))
    good = (ok.ravel() == 1) & (returned.ravel() == 1) & (np.abs(back - corners).max(1) < ROUND_TRIP_PX)
    if good.sum() < 12:
        return None
    focal, centre = np.array([intrinsics[0, 0], intrinsics[1, 1]]), intrinsics[:2, 2]
    return Tracks(before=(corners[good] - centre) / focal, after=(found[good] - centre) / focal)


def _corners(picture: UInt8[np.ndarray, "H W"]) -> Float32[np.ndarray, "N 1 2"]:
    """Corners of the whole picture, and more of them where the road is."""
    height, width = picture.shape
    top, left = int(ROAD_TOP * height), int(ROAD_SIDE * width)
    everywhere = cv2.goodFeaturesToTrack(picture, CORNERS, CORNER_QUALITY, CORNER_DISTANCE)
    below = cv2.goodFeaturesToTrack(picture[top:, left : width - left], ROAD_CORNERS, ROAD_QUALITY, ROAD_DISTANCE)
    found = [np.zeros((0, 1, 2), np.float32)] if everywhere is None else [everywhere]
    if below is not None:
        found.append(below + np.array([left, top], np.float32))
    return np.concatenate(found)


def solve(
    tracks: Tracks, focal: float, aim: Float64[np.ndarray, "2"], spread: float
) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "2"]] | None:
    """Rotation and direction of travel of the camera between two pictures; None where the car stands.

    Gauss-Newton with Cauchy weights on the part of each track that does not point away from the direction of travel once
    the rotation is undone. Returns rotation about (right, down, forward) in radians, and the direction as tangents
    (right, down). aim, spread: Gaussian prior of the direction.
    """
    flow = tracks.after - tracks.before
    if np.median(np.linalg.norm(flow, axis=1)) * focal < STILL_PX:
        return None
    rotation, direction = np.zeros(3), aim.copy()
    scale = RESIDUAL_PX / focal
    for _ in range(ITERATIONS):
        derotated = _derotate(tracks.after, rotation)
        away = tracks.before - direction
        far = np.maximum(np.linalg.norm(away, axis=1), 0.02)
        flow = derotated - tracks.before
        residual = (away[:, 0] * flow[:, 1] - away[:, 1] * flow[:, 0]) / far
        rows = _rotation_rows(tracks.before)
        by_rotation = -(away[:, 0, None] * rows[:, 1] - away[:, 1, None] * rows[:, 0]) / far[:, None]
        by_direction = np.stack([-flow[:, 1], flow[:, 0]], -1) / far[:, None]
        jacobian = np.concatenate([by_rotation, by_direction], 1)
        weight = 1.0 / (1.0 + (residual / scale) ** 2)
        prior = np.array([TURN_PRIOR / 10, TURN_PRIOR, TURN_PRIOR / 10, spread, spread]) ** -2.0 * scale**2
        normal = jacobian.T @ (weight[:, None] * jacobian) + np.diag(prior)
        state = np.concatenate([rotation, direction - aim])
        step = np.linalg.solve(normal, -(jacobian.T @ (weight * residual)) - prior * state)
        rotation, direction = rotation + step[:3], direction + step[3:]
        if np.abs(step).max() < 1e-6:
            break
    return rotation, direction


def _rotation_rows(points: Float64[np.ndarray, "N 2"]) -> Float64[np.ndarray, "N 2 3"]:
    """Image motion (right, down) of points for a small rotation of the camera about each axis (right, down, forward)."""
    x, y = points.T
    right = np.stack([x * y, -(1 + x * x), y], -1)
    down = np.stack([1 + y * y, -x * y, -x], -1)
    return np.stack([right, down], 1)


def _derotate(points: Float64[np.ndarray, "N 2"], rotation: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "N 2"]:
    """Where the points of the later picture would be had the camera not turned."""
    matrix = cv2.Rodrigues(rotation)[0]
    rays = np.concatenate([points, np.ones((len(points), 1))], 1) @ matrix.T
    return rays[:, :2] / rays[:, 2:]


def _usual_direction(motions: list[tuple[np.ndarray, np.ndarray]]) -> Float64[np.ndarray, "2"]:
    """Where the camera looks relative to straight travel: median over the pairs that turn least."""
    if not motions:
        return np.zeros(2)
    turns = np.abs([rotation[1] for rotation, _ in motions])
    straight = turns <= np.quantile(turns, 0.5) + 1e-9
    return np.median([direction for (_, direction), keep in zip(motions, straight) if keep], axis=0)


def _planar_step(tracks: Tracks, focal: float, aim: np.ndarray, before: float) -> tuple[float, float]:
    """Forward way of the rear axle and its turn (left is positive) between two pictures; `before`: the last way or NaN."""
    solved = solve(tracks, focal, aim, TIGHT)
    if solved is None:
        return 0.0, 0.0
    for _ in range(2):
        rotation, direction = solved
        way = _way(tracks, rotation, direction, focal, before)
        way = before if np.isnan(way) else way
        turn = -rotation[1]
        if np.isnan(way) or abs(way) < 0.05:
            break
        # Seen from the first picture the camera moves along the chord, and swings by its distance from the rear axle.
        swing = np.array([-turn / 2 - LEVER_M * turn / way, 0.0])
        solved = solve(tracks, focal, aim + np.clip(swing, -0.5, 0.5), TIGHT) or solved
    return way, turn


def _way(tracks: Tracks, rotation: np.ndarray, direction: np.ndarray, focal: float, last: float) -> float:
    """Length of the way from points on the road, in metres if the camera stands CAMERA_HEIGHT_M high; NaN for too few."""
    after = _derotate(tracks.after, rotation) - direction
    before = tracks.before - direction
    moves = np.linalg.norm(tracks.after - tracks.before, axis=1) * focal > STILL_PX  # the bonnet does not
    road = moves & (before[:, 1] > ROAD_BELOW) & (after[:, 1] > ROAD_BELOW)
    road &= np.abs(before[:, 0]) < ROAD_HALF_WIDTH * before[:, 1]
    if road.sum() < MIN_ROAD_POINTS:
        return np.nan
    way = CAMERA_HEIGHT_M * (1 / before[road, 1] - 1 / after[road, 1])
    # A pixel of error weighs less on near points: the way's error grows with the inverse square of the depth below.
    weight = before[road, 1] ** 2
    if np.isfinite(last):
        # Speed hardly changes from one picture to the next: the last way counts as a quarter of the points.
        way, weight = np.append(way, last), np.append(weight, 0.25 * weight.sum())
    return _densest(way, weight)


def _densest(values: np.ndarray, weight: np.ndarray) -> float:
    """The centre of the densest group: kerbs and cars stand above the road, mistaken tracks anywhere."""
    width = 0.08 * np.abs(values) + 0.05
    support = (weight / (1 + ((values[None] - values[:, None]) / width[:, None]) ** 2) ** 2).sum(1)
    centre = float(values[np.argmax(support)])
    for _ in range(4):
        near = weight / (1 + ((values - centre) / (0.08 * abs(centre) + 0.05)) ** 2) ** 2
        centre = float((near * values).sum() / near.sum())
    return centre


def _steadied(steps: Float64[np.ndarray, "P 2"], shots: np.ndarray) -> Float64[np.ndarray, "P 2"]:
    """Single outliers removed by a running median over five steps of one shot."""
    steadied = steps.copy()
    for shot in np.unique(shots):
        rows = np.flatnonzero((shots[:-1] == shot) & (shots[1:] == shot))
        for column in range(2):
            own = steps[rows, column]
            padded = np.pad(own, 2, mode="edge") if len(own) else own
            if len(own):
                steadied[rows, column] = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    return steadied


def _integrate(steps: Float64[np.ndarray, "P 2"], times_s: np.ndarray, shots: np.ndarray) -> EgoMotion:
    poses = np.zeros((len(times_s), 3))
    speed = np.zeros(len(times_s))
    for number, (way, turn) in enumerate(steps):
        chord = np.array([way * np.cos(turn / 2), way * np.sin(turn / 2), turn])
        poses[number + 1] = compose(poses[number], chord)
        speed[number + 1] = way / (times_s[number + 1] - times_s[number])
    first = np.flatnonzero(np.diff(shots, prepend=shots[0] - 1) != 0)
    for start in first:  # the first frame of a shot has no step behind it
        if start + 1 < len(speed) and shots[start + 1] == shots[start]:
            speed[start] = speed[start + 1]
    return EgoMotion(poses=poses.astype(np.float32), speed_mps=speed.astype(np.float32))
