"""Files beside a video with the car's poses and the camera: NAME.poses.csv and NAME.camera.json.

The built-in world writes them, and users may supply them for videos of their own. The third file
that the world writes, NAME.truth.npz, is read by clip_truth.py.
"""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from latentdrive.errors import UnreadableClip, raise_if_out_of_files
from latentdrive.geometry import compose, interpolate_poses, nearest_rows, relative_pose
from latentdrive.plain_files import read_json
from latentdrive.types import FROZEN

POSE_COLUMNS = ("time_s", "x_m", "y_m", "heading_rad", "speed_mps")
SAME_TIME_S = 1e-3  # two times closer than this are the same moment, rounded
CLOCK_S = 1e-6  # finest step of time stamps: a pose that is later by less is not later


@dataclass(**FROZEN)
class Track:
    """Recorded poses of the ego over time: seconds, (x, y in metres, heading in radians), forward
    speed in m/s. note: for the card.
    """

    times_s: Float64[np.ndarray, "T"]
    poses: Float64[np.ndarray, "T 3"]
    speed_mps: Float64[np.ndarray, "T"]
    note: str

    def at(self, times_s: Float64[np.ndarray, "N"]) -> tuple[Float64[np.ndarray, "N 3"], Float64[np.ndarray, "N"]]:
        """Poses (in the frame of the recorded ones) and speeds at other times, interpolated between recorded ones."""
        times_s = self._rounded(times_s)
        poses = interpolate_poses(self.times_s, self.poses, times_s)
        return poses, np.interp(times_s, self.times_s, self.speed_mps)

    def known_at(self, times_s: Float64[np.ndarray, "N"], *, recent_s: float) -> Float64[np.ndarray, "N 3"]:
        """Poses (in the frame of the recorded ones) at ascending times, each from poses recorded up to it.

        The last recorded pose is carried on by repeating the motion that led to it, for at most `recent_s` seconds.
        NaN where no pose is so recent, and where `at` of the time before uses a pose recorded after this last one.
        """
        last = np.searchsorted(self.times_s, times_s + CLOCK_S, side="right") - 1
        seen_s = self.times_s[np.maximum(last, 0)]
        age_s = np.maximum(times_s - seen_s, 0.0)
        same = age_s <= SAME_TIME_S
        poses = interpolate_poses(self.times_s, self.poses, seen_s)
        earlier = interpolate_poses(self.times_s, self.poses, seen_s - age_s)
        known = np.where(same[:, None], poses, compose(poses, relative_pose(earlier, poses)))
        unknown = (last < 0) | (age_s > recent_s) | (~same & (seen_s - age_s < self.times_s[0]))
        unknown[1:] |= self._reach_s(times_s)[:-1] > seen_s[1:]
        known[unknown] = np.nan
        return known

    def _reach_s(self, times_s: Float64[np.ndarray, "N"]) -> Float64[np.ndarray, "N"]:
        """For each of these times, that of the latest recorded pose that `at` uses; it grows with the time."""
        rows = np.searchsorted(self.times_s, self._rounded(times_s))
        return self.times_s[np.minimum(rows, len(self.times_s) - 1)]

    def _rounded(self, times_s: Float64[np.ndarray, "N"]) -> Float64[np.ndarray, "N"]:
        """The same times; one within rounding of a recorded pose becomes that pose's, so `at` needs
        no later pose for it.
        """
        nearest = self.times_s[nearest_rows(self.times_s, times_s)]
        return np.where(np.abs(nearest - times_s) <= SAME_TIME_S, nearest, times_s)


@dataclass(**FROZEN)
class Camera:
    """One camera. intrinsics: in pixels of the stored picture. camera_to_ego: in metres. Each may be None."""

    intrinsics: Float64[np.ndarray, "3 3"] | None
    camera_to_ego: Float64[np.ndarray, "4 4"] | None


def sidecar(clip: Path, suffix: str) -> Path:
    """The file beside `clip` with another suffix: drive.mp4 → drive.poses.csv; frames/ → frames.poses.csv."""
    return clip.parent / ((clip.name if os.path.isdir(clip) else clip.stem) + suffix)


def read_track(path: Path, *, first_s: float, last_s: float, slack_s: float) -> Track | None:
    """The poses beside a clip, checked; None if there is no such file.

    first_s, last_s: times of the first and last frame; the poses must cover them up to `slack_s`.
    Raises UnreadableClip for other columns, text in place of numbers, NaN, times out of order, or
    poses that end early.
    """
    if not path.is_file():
        return None
    try:
        with open(path, newline="", encoding="utf-8", errors="replace") as file:
            rows = list(csv.reader(file))
    except (OSError, csv.Error) as error:
        raise_if_out_of_files(error)
        raise UnreadableClip(path, f"it can't be read as a table ({error}): correct it, or remove the file") from None
    if not rows or tuple(name.strip() for name in rows[0]) != POSE_COLUMNS:
        raise UnreadableClip(
            path, f"the first line must be {','.join(POSE_COLUMNS)}, it is {','.join(rows[0] if rows else [])[:80]!r}"
        )
    try:
        numbers = [[float(value) for value in row] for row in rows[1:] if row]
        if odd := [len(row) for row in numbers if len(row) != len(POSE_COLUMNS)]:
            raise ValueError(f"it holds {odd[0]}")
        table = np.array(numbers, np.float64).reshape(-1, len(POSE_COLUMNS))
    except ValueError as error:
        raise UnreadableClip(
            path, f"a row does not hold five numbers ({error}): correct it, or remove the file"
        ) from None
    if not len(table):
        raise UnreadableClip(path, "it holds no poses below the header: write them, or remove the file")
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0]
        raise UnreadableClip(
            path,
            f"{POSE_COLUMNS[column]} in row {row + 1} (time {table[row, 0]:.3f} s) is {table[row, column]}: "
            "interpolate it, cut the video there, or remove the file to use the clip without poses",
        )
    if (np.diff(table[:, 0]) <= 0).any():
        row = int(np.flatnonzero(np.diff(table[:, 0]) <= 0)[0]) + 2
        raise UnreadableClip(path, f"time_s does not grow at row {row}: sort the rows and remove repeated ones")
    if table[0, 0] > first_s + slack_s or table[-1, 0] < last_s - slack_s:
        raise UnreadableClip(
            path,
            f"poses from {table[0, 0]:.2f} to {table[-1, 0]:.2f} s do not cover the video, "
            f"{first_s:.2f} to {last_s:.2f} s: cut the video to the poses, or remove the file to use the clip "
            "without poses",
        )
    return Track(times_s=table[:, 0], poses=table[:, 1:4], speed_mps=table[:, 4], note=f"recorded: {path.name}, metres")


def read_camera(path: Path) -> Camera | None:
    """The camera beside a clip; None if there is no such file. Raises UnreadableClip for anything
    but 3 x 3 and 4 x 4 numbers.
    """
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        matrices = [
            None if content.get(name) is None else np.array(content[name], np.float64).reshape(size, size)
            for name, size in (("intrinsics", 3), ("camera_to_ego", 4))
        ]
    except (OSError, ValueError, AttributeError, TypeError, OverflowError) as error:
        raise_if_out_of_files(error)
        raise UnreadableClip(
            path, f'not a camera ({error}): write {{"intrinsics": 3 x 3, "camera_to_ego": 4 x 4}} or remove the file'
        ) from None
    if any(matrix is not None and not np.isfinite(matrix).all() for matrix in matrices):
        raise UnreadableClip(path, "a number is NaN or infinite: correct it or remove the file")
    return Camera(intrinsics=matrices[0], camera_to_ego=matrices[1])
