"""Pseudo-poses for video that has none: planar visual odometry from one camera, without a true scale.

Used by reader.py when `poses: visual_odometry` and nothing is recorded. Corners are tracked from frame to frame; the
rotation and the direction of travel are found by robust epipolar least squares, the length of the way from points on
the road, taken as flat and CAMERA_HEIGHT_M below the camera. So "metres" are true only as far as that guess is: poses
are scale-free, with one scale within a clip. The car is taken to roll along its path (no side slip), so the direction of
travel is nearly constant in the picture; a pitch or yaw of the camera on the car is found from the clip itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from latentdrive.data.clips.road_speed import TOP_SPEED_MPS, RoadView, shift_scores, steady_speed
from latentdrive.errors import WrongShape
from latentdrive.geometry import compose
from latentdrive.types import FROZEN

LEVER_M = 1.5  # from the rear axle to the camera: where it stands, the camera swings out in a turn
WORK_WIDTH = 480  # pixels, the width pictures are shrunk to before tracking
CORNERS, CORNER_QUALITY, CORNER_DISTANCE = 220, 0.008, 10
CARRIED, FEWEST = 150, 12  # tracks followed on from the step before; fewest that say anything
ROUND_TRIP_PX = 0.7  # a track that does not come back this near is dropped
STILL_PX, STILL_SHARE = 0.25, 0.8  # the car stands if this share of the corners moves less than that
STUCK_PX = 0.12  # a track that moves less, while the picture moves, is on the bonnet or a caption
RESIDUAL_PX = 0.5  # scale of the robust (Cauchy) loss
LOOSE, TIGHT = 0.08, 0.015  # prior spread of the direction of travel, first alone and then around the clip's own
CALIBRATION_PAIRS = 150  # pairs that the clip's own direction is taken from
TURN_PRIOR = 0.15  # rad a frame; roll and pitch are held to a tenth of it
ITERATIONS = 8
PARALLAX_PX = 1.2  # least radial motion of points that compare the speeds of two steps
FEWEST_COMPARED = 10


@dataclass(**FROZEN)
class EgoMotion:
    """poses: x, y, heading relative to the first frame, metres if the camera stood CAMERA_HEIGHT_M high. speed_mps alike.

    road_evidence: mean correlation of the road from picture to picture at this speed. 0.56 on KITTI, 0.25 on a sharp highway
    video; below 0.2 the asphalt is blurred away and the speed is a guess that only varies as corners tell.
    """

    poses: Float32[np.ndarray, "T 3"]
    speed_mps: Float32[np.ndarray, "T"]
    road_evidence: float


@dataclass(**FROZEN)
class Tracks:
    """Corners of one picture and where the next picture has them: normalised camera coordinates (right, down).

    pixels: of the later picture. came: row of the same corner among the tracks of the step before, or -1.
    """

    before: Float64[np.ndarray, "N 2"]
    after: Float64[np.ndarray, "N 2"]
    pixels: Float32[np.ndarray, "N 2"]
    came: Int64[np.ndarray, "N"]


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
    pictures = list(pictures)
    if len(pictures) != len(times_s):
        raise WrongShape(f"{len(pictures)} pictures for {len(times_s)} times; one picture a time")
    focal = float(intrinsics[0, 0])
    joined = shots[1:] == shots[:-1]
    pairs: list[Tracks | None] = []
    for step, (before, after) in enumerate(pairwise(pictures)):
        last = pairs[-1] if pairs and joined[step - 1] else None
        pairs.append(track(before, after, intrinsics, last) if joined[step] else None)
    aim = _usual_direction([pair for pair in pairs if pair is not None], focal)
    turns = _without_short_stops([None if pair is None else solve(pair, focal, aim, TIGHT) for pair in pairs], aim)
    growth = _growth(pairs, turns, focal)
    rotations = [None if turn is None else turn[0] for turn in turns]
    way, evidence = _ways(pictures, times_s, shots, intrinsics, aim, rotations, growth)
    heading = np.zeros(len(pairs))
    for step, (pair, turn) in enumerate(zip(pairs, turns)):
        if turn is not None and pair is not None:
            heading[step] = _turn(pair, focal, aim, turn[0], way[step])
    return _integrate(way, heading, times_s, shots, evidence)


def track(
    before: UInt8[np.ndarray, "H W"], after: UInt8[np.ndarray, "H W"], intrinsics: np.ndarray, last: Tracks | None
) -> Tracks | None:
    """Corners followed from one picture to the next, kept if the way back returns; None for fewer than 12.

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
    found, ok, _ = cv2.calcOpticalFlowPyrLK(before, after, corners[:, None], None, **options)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(after, before, found, None, **options)
    found, back = found.reshape(-1, 2), back.reshape(-1, 2)
    good = (ok.ravel() == 1) & (returned.ravel() == 1) & (np.abs(back - corners).max(1) < ROUND_TRIP_PX)
    moved = np.linalg.norm(found - corners, axis=1)
    if good.any() and np.median(moved[good]) > STILL_PX:
        good &= moved > STUCK_PX
    if good.sum() < FEWEST:
        return None
    focal, centre = np.array([intrinsics[0, 0], intrinsics[1, 1]]), intrinsics[:2, 2]
    return Tracks(
        before=(corners[good] - centre) / focal,
        after=(found[good] - centre) / focal,
        pixels=found[good],
        came=came[good],
    )


def solve(
    tracks: Tracks, focal: float, aim: Float64[np.ndarray, "2"], spread: float
) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "2"]] | None:
    """Rotation and direction of travel of the camera between two pictures; None where the car stands.

    Gauss-Newton with Cauchy weights on the part of each track that does not point away from the direction of travel once
    the rotation is undone. Returns rotation about (right, down, forward) in radians, and the direction as tangents
    (right, down). aim, spread: Gaussian prior of the direction.
    """
    flow = tracks.after - tracks.before
    if np.quantile(np.linalg.norm(flow, axis=1), STILL_SHARE) * focal < STILL_PX:
        return None
    rotation, direction = np.zeros(3), aim.copy()
    scale = RESIDUAL_PX / focal
    rows = _rotation_rows(tracks.before)
    for _ in range(ITERATIONS):
        derotated = _derotate(tracks.after, rotation)
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


def _usual_direction(pairs: list[Tracks], focal: float) -> Float64[np.ndarray, "2"]:
    """Where straight travel points in the picture (right, down; tangents): median over the pairs that turn least."""
    pairs = pairs[:: max(1, len(pairs) // CALIBRATION_PAIRS)]
    motions = [motion for pair in pairs if (motion := solve(pair, focal, np.zeros(2), LOOSE)) is not None]
    if not motions:
        return np.zeros(2)
    turns = np.abs([rotation[1] for rotation, _ in motions])
    straight = turns <= np.quantile(turns, 0.5) + 1e-9
    return np.median([direction for (_, direction), keep in zip(motions, straight) if keep], axis=0)


def _without_short_stops(turns: list, aim: np.ndarray) -> list:
    """Steps taken for standing (None) between steps that move: corners far away alone were seen. They count as straight on."""
    still = np.array([turn is None for turn in turns])
    kept = list(turns)
    for step in np.flatnonzero(still):
        if still[max(0, step - 2) : step + 3].sum() < 3:
            kept[step] = (np.zeros(3), aim)
    return kept


def _growth(pairs: list[Tracks | None], turns: list, focal: float) -> Float64[np.ndarray, "P"]:
    """How much longer each step is than the one before, by corners that both saw; NaN where too few did.

    A point at depth Z moves away from the direction of travel by the share s = way / Z; after the step it stands at
    Z - way, so the ratio of the ways is (s' / s) (1 - s), whatever Z is.
    """
    growth = np.full(len(pairs), np.nan)
    for step in range(1, len(pairs)):
        if pairs[step] is None or turns[step] is None or pairs[step - 1] is None or turns[step - 1] is None:
            continue
        came = pairs[step].came
        here, before = np.flatnonzero(came >= 0), came[came >= 0]
        share, motion = _approach(pairs[step], *turns[step])
        last_share, last_motion = _approach(pairs[step - 1], *turns[step - 1])
        share, last_share = share[here], last_share[before]
        clear = np.minimum(motion[here], last_motion[before]) * focal > PARALLAX_PX
        clear &= (share > 0) & (last_share > 0)
        if clear.sum() >= FEWEST_COMPARED:
            growth[step] = np.median(share[clear] / last_share[clear] * (1 - last_share[clear]))
    return growth


def _approach(tracks: Tracks, rotation: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Way as a share of each point's depth, and its motion away from the direction of travel (tangents)."""
    away, after = tracks.before - direction, _derotate(tracks.after, rotation) - direction
    far = np.maximum(np.linalg.norm(away, axis=1), 1e-6)
    reached = (after * away).sum(1) / far
    return 1 - far / np.maximum(reached, 1e-6), reached - far


def _ways(
    pictures: list[np.ndarray],
    times_s: np.ndarray,
    shots: np.ndarray,
    intrinsics: np.ndarray,
    aim: np.ndarray,
    rotations: list[np.ndarray | None],
    growth: Float64[np.ndarray, "P"],
) -> tuple[Float64[np.ndarray, "P"], float]:
    """Length of the way of every step, in metres if the camera stands CAMERA_HEIGHT_M high, 0 where the car stands; evidence."""
    road = RoadView(intrinsics, aim)
    way, evidence = np.zeros(len(rotations)), []
    for shot in np.unique(shots):
        own = np.flatnonzero(shots == shot)
        if len(own) < 2:
            continue
        views = [road.seen(pictures[k]) for k in own]
        turned = [None if rotations[k] is None else road.seen(pictures[k + 1], rotations[k]) for k in own[:-1]]
        longest_m = TOP_SPEED_MPS * float(np.diff(times_s[own]).max())
        dt_s = np.diff(times_s[own])
        speed, score = steady_speed(shift_scores(views, turned, longest_m), dt_s, growth[own[:-1]])
        still = np.array([rotations[k] is None for k in own[:-1]])
        way[own[:-1]] = np.where(still, 0.0, speed * dt_s)
        evidence += [score] * int((~still).sum())
    return way, float(np.mean(evidence)) if evidence else 0.0


def _turn(tracks: Tracks, focal: float, aim: np.ndarray, rotation: np.ndarray, way: float) -> float:
    """Turn of the car over one step (left is positive), given the length of the way.

    Seen from the first picture the camera moves along the chord, and swings out by its distance from the rear axle.
    """
    turn = -rotation[1]
    for _ in range(2):
        if way < 0.05:
            break
        swing = np.clip(-turn / 2 - LEVER_M * turn / way, -0.5, 0.5)
        solved = solve(tracks, focal, aim + np.array([swing, 0.0]), TIGHT)
        turn = turn if solved is None else -solved[0][1]
    return float(turn)


def _integrate(
    way: Float64[np.ndarray, "P"],
    heading: Float64[np.ndarray, "P"],
    times_s: np.ndarray,
    shots: np.ndarray,
    evidence: float,
) -> EgoMotion:
    poses, speed = np.zeros((len(times_s), 3)), np.zeros(len(times_s))
    for step, (length, turn) in enumerate(zip(way, heading)):
        chord = np.array([length * np.cos(turn / 2), length * np.sin(turn / 2), turn])
        poses[step + 1] = compose(poses[step], chord)
        speed[step + 1] = length / (times_s[step + 1] - times_s[step])
    first = np.flatnonzero(np.diff(shots, prepend=shots[0] - 1) != 0)
    for start in first:  # the first frame of a shot has no step behind it
        if start + 1 < len(speed) and shots[start + 1] == shots[start]:
            speed[start] = speed[start + 1]
    return EgoMotion(
        poses=poses.astype(np.float32), speed_mps=speed.astype(np.float32), road_evidence=round(evidence, 3)
    )
