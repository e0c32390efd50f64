"""What a recording does not say about an object's motion, from where the same object was before and after.

An object whose velocity or heading is unknown is still there, and a score must not drive through it.
Its velocity follows from its own positions in the global frame, as in the nuScenes devkit: the
sightings on both sides if both are near in time, else one of them, else 0. Its heading is that of the
nearest sighting, else the direction in which it moves. Only an object whose heading follows from
nothing is left out, and counted. Used by log.py for logs, and by synthetic.py for what follows a
synthetic scene.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from latentdrive.data.navsim.frames import NO_OBJECTS, Frame, Objects
from latentdrive.types import LoggedFrame

LONGEST_GAP_S = 1.5  # a sighting farther away in time says nothing about a velocity (the nuScenes devkit's bound)
MOVES_MPS = 0.5  # latentdrive default: an object that is slower has no direction of travel


class Sighting(NamedTuple):
    """An object at one moment, in the global frame. heading: NaN where it is unknown."""

    time_s: float
    x: float
    y: float
    heading: float


def velocity_at(track: Sequence[Sighting], number: int) -> tuple[float, float]:
    """Velocity (x, y, global, m/s) at one sighting of a track that is sorted by time; 0 where no other one is near."""
    own = track[number]
    around = track[max(number - 1, 0) : number + 2]
    near = [sighting for sighting in around if abs(sighting.time_s - own.time_s) <= LONGEST_GAP_S]
    first, last = near[0], near[-1]
    apart_s = last.time_s - first.time_s
    return ((last.x - first.x) / apart_s, (last.y - first.y) / apart_s) if apart_s > 0 else (0.0, 0.0)


def heading_at(track: Sequence[Sighting], number: int) -> float:
    """Heading (global) of the nearest sighting that has one, else the direction of travel; NaN for neither."""
    known = [sighting for sighting in track if math.isfinite(sighting.heading)]
    if known:
        return min(known, key=lambda sighting: abs(sighting.time_s - track[number].time_s)).heading
    x, y = velocity_at(track, number)
    return math.atan2(y, x) if math.hypot(x, y) > MOVES_MPS else math.nan


def completed(frames: Sequence[Frame]) -> tuple[list[Objects], Int64[np.ndarray, "F"]]:
    """The objects of each frame of a log, none of them with unknown motion; and how many are estimates, by frame."""
    objects = [NO_OBJECTS if frame.objects is None else frame.objects for frame in frames]
    unknown = [_unknown(frame.velocity, frame.boxes[:, 6]) for frame in objects]
    counts = np.array([rows.sum() for rows in unknown], np.int64)
    if not counts.any():
        return objects, counts
    tracks = _Tracks(
        (frame.timestamp_us, seen.tracks, _global_poses(seen, frame.pose)) for frame, seen in zip(frames, objects)
    )
    for number in np.flatnonzero(counts):
        frame, seen = frames[number], objects[number]
        boxes, velocity = seen.boxes.copy(), seen.velocity.copy()
        for row in np.flatnonzero(unknown[number]):
            track, place = tracks.at(seen.tracks[row], frame.timestamp_us)
            if np.isnan(boxes[row, 6]):
                boxes[row, 6] = heading_at(track, place) - frame.pose[2]
            if np.isnan(velocity[row]).any():
                velocity[row] = _turned(np.array(velocity_at(track, place)), -frame.pose[2])
        objects[number] = _with_headings(replace(seen, boxes=boxes, velocity=velocity))
        counts[number] -= objects[number].lost - seen.lost
    return objects, counts


def with_velocities(frames: Sequence[LoggedFrame]) -> tuple[LoggedFrame, ...]:
    """The same frames; objects whose velocity is NaN get one."""
    unknown = [np.isnan(frame.objects.velocity).any(-1) for frame in frames]
    if not any(rows.any() for rows in unknown):
        return tuple(frames)
    tracks = _Tracks((frame.timestamp_us, frame.objects.tracks, frame.objects.poses) for frame in frames)
    complete = []
    for frame, rows in zip(frames, unknown):
        velocity = frame.objects.velocity.copy()
        for row in np.flatnonzero(rows):
            velocity[row] = velocity_at(*tracks.at(frame.objects.tracks[row], frame.timestamp_us))
        complete.append(replace(frame, objects=replace(frame.objects, velocity=velocity)))
    return tuple(complete)


class _Tracks:
    """All sightings by track, sorted by time."""

    def __init__(self, moments: Iterator[tuple[int, Sequence[str], Float64[np.ndarray, "N 3"]]]) -> None:
        self._by_name: dict[str, dict[int, Sighting]] = defaultdict(dict)
        for time_us, names, poses in moments:
            for name, (x, y, heading) in zip(names, poses.tolist()):
                self._by_name[name].setdefault(time_us, Sighting(time_us * 1e-6, x, y, heading))

    def at(self, name: str, time_us: int) -> tuple[list[Sighting], int]:
        """A track, and the number of its sighting at this moment."""
        times = sorted(self._by_name[name])
        return [self._by_name[name][time] for time in times], times.index(time_us)


def _unknown(velocity: Float64[np.ndarray, "N 2"], heading: Float64[np.ndarray, "N"]) -> Bool[np.ndarray, "N"]:
    return np.isnan(velocity).any(-1) | np.isnan(heading)


def _global_poses(objects: Objects, ego: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "N 3"]:
    places = _turned(objects.boxes[:, :2], ego[2]) + ego[:2]
    return np.column_stack([places, objects.boxes[:, 6] + ego[2]])


def _turned(vectors: Float64[np.ndarray, "*n 2"], angle: float) -> Float64[np.ndarray, "*n 2"]:
    cos, sin = math.cos(angle), math.sin(angle)
    return vectors @ np.array([[cos, sin], [-sin, cos]])


def _with_headings(objects: Objects) -> Objects:
    """Without the objects whose heading is still unknown, which count as lost."""
    known = np.isfinite(objects.boxes[:, 6])
    return Objects(
        boxes=objects.boxes[known],
        velocity=objects.velocity[known],
        names=objects.names[known],
        tracks=tuple(track for track, use in zip(objects.tracks, known) if use),
        lost=objects.lost + int((~known).sum()),
    )
