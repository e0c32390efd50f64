"""Pseudo-poses for video that has none: planar visual odometry from one camera, without a true scale.

The configuration names it (`options.odometry`), and file_clips.py calls it for `poses:
visual_odometry` where no poses are recorded. camera_motion.py gives rotation and direction of
travel from tracked corners; road_speed.py gives the distance from points on the road, which is
taken as flat and CAMERA_HEIGHT_M below the camera. Metres are true only as far as that guess is:
poses are scale-free, with one scale within a clip. The car is taken to roll along its path without
side slip, so the direction of travel is nearly constant in the picture; pitch and yaw of the camera
on the car are found from the clip itself.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from latentdrive.counting import counted
from latentdrive.data.clips.camera_motion import TIGHT, Tracks, derotate, solve, track, usual_direction
from latentdrive.data.clips.clip_source import EgoTrack, Frames
from latentdrive.data.clips.road_speed import CAMERA_HEIGHT_M, TOP_SPEED_MPS, RoadView, shift_scores, steady_speed
from latentdrive.data.picture_size import WHOLE, Stored, scaled_intrinsics
from latentdrive.errors import WrongShape
from latentdrive.geometry import compose
from latentdrive.types import FROZEN, PoseSource

WEAK_EVIDENCE = 0.2  # road evidence below which the note warns
LEVER_M = 1.5  # distance from the rear axle to the camera, which swings out in a turn
WORK_WIDTH = 480  # pixels: width that pictures are shrunk to before tracking
PARALLAX_PX = 1.2  # least radial motion of points that compare the speeds of two steps
FEWEST_COMPARED = 10  # fewest points with that parallax that a comparison needs


class VisualOdometry:
    """Estimates the poses of a clip from its pictures (an Odometry). It has no settings."""

    def __call__(
        self,
        frames: Callable[[tuple[int, int]], Frames],
        *,
        times_s: Float64[np.ndarray, "T"],
        shots: Int64[np.ndarray, "T"],
        stored: Stored,
        intrinsics: Float64[np.ndarray, "3 3"] | None,
        field_of_view_deg: float,
    ) -> EgoTrack:
        """See Odometry. The clip is decoded a second time, at a size at which corners can be tracked."""
        size = work_size(stored.shown)
        if intrinsics is None:
            matrix, origin = guessed_intrinsics(size, field_of_view_deg), "guessed"
        else:
            matrix, origin = (
                scaled_intrinsics(intrinsics, view=WHOLE, stored=stored[:2], size=size).astype(np.float64),
                "given",
            )
        used = set(times_s.tolist())
        pictures = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for time_s, frame, _ in frames(size) if time_s in used]
        motion = estimate_ego_motion(pictures, times_s, shots, matrix)
        note = (
            f"visual odometry, scale-free: metres if the camera is {CAMERA_HEIGHT_M} m above a flat road; focal length "
            f"{matrix[0, 0] / size[1]:.3f} of the picture's width ({origin}); road evidence {motion.road_evidence:.2f}"
            + ("" if motion.road_evidence >= WEAK_EVIDENCE else ", weak: the speed is a guess")
        )
        return EgoTrack(poses=motion.poses, speed_mps=motion.speed_mps, source=PoseSource.VISUAL_ODOMETRY, note=note)


@dataclass(**FROZEN)
class EgoMotion:
    """Estimated poses (x, y, heading relative to the first frame) and speeds; metres if the camera
    stood CAMERA_HEIGHT_M high.

    road_evidence: mean correlation of the road from picture to picture at this speed. It is 0.56 on
    KITTI and 0.25 on a sharp highway video. Below 0.2 the asphalt is blurred away, and the speed is
    a guess that varies only as corners say.
    """

    poses: Float32[np.ndarray, "T 3"]
    speed_mps: Float32[np.ndarray, "T"]
    road_evidence: float


def work_size(shown: tuple[int, int]) -> tuple[int, int]:
    """(height, width) at which a picture is tracked; never enlarged."""
    scale = min(1.0, WORK_WIDTH / shown[1])
    return max(16, round(shown[0] * scale)), max(16, round(shown[1] * scale))


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

    pictures: grey, one for each time, all of one size; intrinsics are in their pixels. Where the
    shot changes nothing is known of the motion, and the pose is carried on as if the car stood.
    """
    pictures = list(pictures)
    if len(pictures) != len(times_s):
        raise WrongShape(
            f"visual odometry got {counted(len(pictures), 'picture')} for {counted(len(times_s), 'time')}: it "
            "needs one picture for each time"
        )
    focal = float(intrinsics[0, 0])
    joined = shots[1:] == shots[:-1]
    pairs: list[Tracks | None] = []
    for step, (before, after) in enumerate(pairwise(pictures)):
        last = pairs[-1] if pairs and joined[step - 1] else None
        pairs.append(track(before, after, intrinsics, last) if joined[step] else None)
    aim = usual_direction([pair for pair in pairs if pair is not None], focal)
    turns = _without_short_stops([None if pair is None else solve(pair, focal, aim, TIGHT) for pair in pairs], aim)
    growth = _growth(pairs, turns, focal)
    rotations = [None if turn is None else turn[0] for turn in turns]
    way, evidence = _ways(pictures, times_s, shots, intrinsics, aim, rotations, growth)
    heading = np.zeros(len(pairs))
    for step, (pair, turn) in enumerate(zip(pairs, turns)):
        if turn is not None and pair is not None:
            heading[step] = _turn(pair, focal, aim, turn[0], way[step])
    return _integrate(way, heading, times_s, shots, evidence)


def _without_short_stops(turns: list, aim: np.ndarray) -> list:
    """The same steps; one or two of standing (None) between steps of motion become straight travel:
    only far corners were seen.
    """
    still = np.array([turn is None for turn in turns])
    corrected = list(turns)
    for step in np.flatnonzero(still):
        if still[max(0, step - 2) : step + 3].sum() < 3:
            corrected[step] = (np.zeros(3), aim)
    return corrected


def _growth(pairs: list[Tracks | None], turns: list, focal: float) -> Float64[np.ndarray, "P"]:
    """How much longer each step is than the one before, by corners that both steps track; NaN if they are too few.

    A point at depth Z moves away from the direction of travel by the share s = way / Z. After the
    step its depth is Z - way, so the ratio of the two ways is (s' / s) (1 - s), whatever Z is.
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
    """Way as a share of each point's depth, and the point's motion away from the direction of travel (tangents)."""
    away, after = tracks.before - direction, derotate(tracks.after, rotation) - direction
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
    """Way of every step, 0 where the car stands, in metres if the camera is CAMERA_HEIGHT_M high;
    and the road evidence.
    """
    road = RoadView(intrinsics, aim)
    way, evidence = np.zeros(len(rotations)), []
    for shot in np.unique(shots):
        frames = np.flatnonzero(shots == shot)
        if len(frames) < 2:
            continue
        steps = frames[:-1]
        views = [road.view(pictures[k]) for k in frames]
        turned = [None if rotations[k] is None else road.view(pictures[k + 1], rotations[k]) for k in steps]
        dt_s = np.diff(times_s[frames])
        scores = shift_scores(views, turned, TOP_SPEED_MPS * float(dt_s.max()))
        speed, score = steady_speed(scores, dt_s, growth[steps])
        still = np.array([rotations[k] is None for k in steps])
        way[steps] = np.where(still, 0.0, speed * dt_s)
        evidence += [score] * int((~still).sum())
    return way, float(np.mean(evidence)) if evidence else 0.0


def _turn(tracks: Tracks, focal: float, aim: np.ndarray, rotation: np.ndarray, way: float) -> float:
    """Turn of the car over one step in radians (left is positive), given the length of the way.

    Seen from the first picture, the camera moves along the chord and swings out by its distance
    from the rear axle.
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
    """Poses and speeds from the way and the turn of every step."""
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
