"""NAVSIM logs as clips with recorded poses: one camera of each log, for training and labelling with a codebook.

Beside data/clips/kitti.py and video.py, on the logs that log_folder.py keeps. Frames come at 2 Hz,
at the logs' own time stamps, so a transition lasts 0.5 s or a multiple of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from latentdrive.counting import counted
from latentdrive.data.clips.clip_source import ClipFacts, ClipOptions, Frames, Part
from latentdrive.data.clips.decoding import Damage
from latentdrive.data.clips.file_clips import FileClips
from latentdrive.data.clips.sidecars import Camera, Track
from latentdrive.data.navsim.frames import CAMERAS
from latentdrive.data.navsim.index import NavsimIndex
from latentdrive.data.navsim.log import NavsimLog
from latentdrive.data.navsim.log_folder import LogFolder, navsim_folders
from latentdrive.data.navsim.log_reading import current_index
from latentdrive.data.navsim.scene_filter import SceneFilter, choose_split
from latentdrive.data.navsim.scenes import camera_to_ego
from latentdrive.data.navsim.sensor_files import image_size, read_image
from latentdrive.data.picture_size import Stored, fit_picture, fitted
from latentdrive.errors import ConfigError, NoClips, NoScenes, TooShort, UnreadableClip, UnreadableScene
from latentdrive.geometry import nearest_rows
from latentdrive.types import FROZEN, DrivingClip

# Two frames whose pictures look like a cut still belong to one shot if their distance is within
# this share of a step.
EVEN = 0.25
NO_IMAGE, DOWNLOAD = "no image of", "Download this sensor, or choose a split without this log"


@dataclass(**FROZEN)
class _Lost:
    """Frames that could not be used in the last pass over a clip. absent: paths of images that are not there."""

    absent: list[Path] = field(default_factory=list)
    damaged: list[UnreadableScene] = field(default_factory=list)

    def notes(self, frames: int) -> list[str]:
        """One sentence for each kind of loss."""
        text = []
        if self.absent:
            text.append(f"{len(self.absent)} of {frames} images are not there, the first one: {self.absent[0]}")
        if self.damaged:
            text.append(f"{len(self.damaged)} of {frames} images are damaged, the first one: {self.damaged[0]}")
        return text


class NavsimClips(FileClips):
    """The logs of one split (a ClipSource). Each log is one clip, with all of its frames.

    part.path, data_split, part.split, splits, cache_folder, processes: as in NavsimLogs. Of the
    split's filter, only log_names and tokens count: they select the logs with these names that hold
    at least one of these tokens. camera: cam_f0 (front) or another camera. A frame whose image is
    absent or damaged is left out, and ends the shot. An unreadable log is an unreadable clip.
    """

    identity_name = "NavsimClips"

    def __init__(
        self,
        *,
        options: ClipOptions,
        part: Part,
        splits: str | None,
        data_split: str | None,
        camera: str,
        cache_folder: str,
        processes: int,
    ) -> None:
        super().__init__(options=options, part=part)
        if camera not in CAMERAS:
            raise ConfigError(f"data.source.camera must be one of {', '.join(CAMERAS)}; got {camera}")
        chosen = choose_split(data_split=data_split, split=part.split, splits=splits, filter={})
        self.camera_name = camera
        try:
            logs, self.blobs = navsim_folders(part.path, chosen.data_split)
            # No bound here: unreadable logs are unreadable clips, which the reader of the clips
            # counts and bounds.
            cache = Path(cache_folder).expanduser()
            self._folder = LogFolder(logs, cache=cache)
            index = current_index(self._folder, processes=processes, max_unreadable=1.0)
        except NoScenes as error:
            raise NoClips(str(error)) from error
        self.names, self._durations_s = [], []
        for name, duration_s in _chosen(index, chosen.filter):
            self.names.append(name)
            self._durations_s.append(duration_s)
        if not self.names:
            raise NoClips(
                f"none of the {counted(len(index), 'log')} in {logs} belongs to {chosen.name}: choose another split"
            )
        self._lost = _Lost()
        self._last: tuple[str, NavsimLog] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes, which open logs on their own."""
        return self.__dict__ | {"_last": None}

    def __len__(self) -> int:
        return len(self.names)

    def location(self, index: int) -> Path:
        """The log's pickle."""
        return self._folder.path(self.names[index])

    def key(self, index: int) -> str:
        """Name of the log."""
        return self.names[index]

    def drive(self, index: int) -> str:
        """Name of the log; `statistics.recording_of` knows which logs are pieces of one recording."""
        return self.names[index]

    def files(self, index: int) -> list[Path]:
        """The log's pickle, and the folder of its images."""
        return [self.location(index), self.blobs / self.names[index] / self.camera_name.upper()]

    def identity(self, index: int) -> dict[str, Any]:
        """As for every clip source, with the camera and the other columns of the log that clips carry."""
        return super().identity(index) | {"camera": self.camera_name, "of_the_log": ["commands", "ego_motion"]}

    def read(self, index: int) -> tuple[DrivingClip, ClipFacts]:
        """The whole clip. The facts' pose_note says which frames are missing.

        Raises UnreadableClip, which names missing images where these are why the rest can't be used.
        """
        try:
            clip, facts = super().read(index)
        except TooShort:
            raise
        except UnreadableClip as error:
            if not self._lost.absent or NO_IMAGE in error.reason:
                raise
            absent = _Lost(absent=self._lost.absent).notes(len(self._rows(index)[0]))[0]
            raise UnreadableClip(
                error.path, f"{absent}, and the others are too far apart in time. {DOWNLOAD} ({error.reason})"
            ) from error
        # At 2 Hz, pictures of real driving differ as much as across a cut. A log is one recording:
        # only holes end a shot.
        shots = _without_cuts(clip.shots, clip.times_s, 1.0 / self.rate_hz)
        rows, times = self._rows(index)
        log, rows_of_frames = self._log(index), rows[nearest_rows(times, clip.times_s)]
        clip = replace(clip, shots=shots, commands=log.commands[rows_of_frames].astype(np.int64))
        if self.options.poses != "none":
            clip = replace(clip, ego_motion=log.motion[rows_of_frames])
        facts = replace(facts, cuts=0, holes=int(shots[-1]))
        notes = [facts.pose_note, *self._lost.notes(len(self._rows(index)[0]))]
        return clip, replace(facts, pose_note="; ".join(filter(None, notes)))

    def frames(self, index: int, size: tuple[int, int], fit: str, damage: Damage | None = None) -> Frames:
        """The images that are there, with seconds since the log's first frame.

        Raises UnreadableClip if there is none.
        """
        self._lost = lost = _Lost()
        log, (rows, times) = self._log(index), self._rows(index)
        usable = 0
        for row, time_s in zip(rows, times):
            path = self.blobs / log.image(int(row), self.camera_name)
            if not path.is_file():
                lost.absent.append(path)
                continue
            try:
                picture, stored = self._picture(path, size, fit)
            except UnreadableScene as error:
                lost.damaged.append(error)
                continue
            usable += 1
            yield float(time_s), picture, stored
        if not usable:
            reason = "; ".join(lost.notes(len(rows))) or "it has no usable frame"
            raise UnreadableClip(
                self.location(index),
                f"{NO_IMAGE} {self.camera_name}: {reason}. {DOWNLOAD}",
            )

    def track(self, index: int, first_s: float, last_s: float) -> Track | None:
        """Poses of the rear axle and forward speeds, as logged."""
        log = self._log(index)
        rows, times = self._rows(index)
        return Track(
            times_s=times,
            poses=log.poses[rows],
            speed_mps=log.motion[rows, 0].astype(np.float64),
            note="recorded: NAVSIM log, metres, of the rear axle",
        )

    def camera(self, index: int) -> Camera | None:
        """Calibration at the log's first usable frame."""
        log, k = self._log(index), CAMERAS.index(self.camera_name)
        known = [row for row in self._rows(index)[0] if np.isfinite(log.intrinsics[row, k]).all()]
        if not known:
            return None
        row = int(known[0])
        return Camera(intrinsics=log.intrinsics[row, k], camera_to_ego=camera_to_ego(log, row, self.camera_name))

    def header_duration_s(self, index: int) -> float | None:
        """Seconds from the log's first time stamp to its last; None for an unreadable log."""
        return self._durations_s[index]

    def _log(self, index: int) -> NavsimLog:
        name = self.names[index]
        if self._last is None or self._last[0] != name:
            self._last = name, self._folder.open(name)
        return self._last[1]

    def _rows(self, index: int) -> tuple[Int64[np.ndarray, "T"], Float64[np.ndarray, "T"]]:
        """Usable frames and their seconds since the first one."""
        log = self._log(index)
        rows = np.flatnonzero(log.problems == 0)
        times = log.timestamps_us[rows]
        return rows, (times - times[:1]) * 1e-6

    def _picture(self, path: Path, size: tuple[int, int], fit: str) -> tuple[np.ndarray, Stored]:
        plan = fit_picture(image_size(path), size, fit)
        picture, stored = read_image(path, plan.scaled)
        return fitted(picture, size, fit), Stored(*stored)


def _chosen(index: NavsimIndex, filter: SceneFilter) -> Iterator[tuple[str, float | None]]:
    """Name and seconds of the logs that log_names and tokens of a filter select; None for the
    seconds of an unreadable log.
    """
    names = None if filter.log_names is None else set(filter.log_names)
    listed = np.ones(len(index.tokens), bool)
    if filter.tokens is not None:
        listed = np.isin(index.tokens, np.array([token.encode() for token in filter.tokens], np.bytes_))
    for k in range(len(index)):
        frames, name = slice(index.ends[k], index.ends[k + 1]), index.name(k)
        if names is not None and name not in names:
            continue
        if index.unreadable[k]:
            yield name, None
        elif filter.tokens is None or listed[frames].any():
            times = index.timestamps_us[frames][index.problems[frames] == 0]
            yield name, float(np.ptp(times)) * 1e-6 if len(times) else 0.0


def _without_cuts(
    shots: Int64[np.ndarray, "T"], times_s: Float64[np.ndarray, "T"], step_s: float
) -> Int64[np.ndarray, "T"]:
    """Shots without cuts: shots whose frames are a step apart are joined."""
    even = np.abs(np.diff(times_s) - step_s) <= EVEN * step_s
    return np.concatenate([[0], np.cumsum((np.diff(shots) != 0) & ~even)]).astype(np.int64)
