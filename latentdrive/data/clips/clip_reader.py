"""What all readers of clips have in common: from frames, track and camera to a clip and its facts.

Below video.py and kitti.py, which say where frames, poses and cameras are. Frames pass through assembly.py; poses are the
recorded ones, or estimated by ego_motion.py from the same frames at a larger size, or absent.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from latentdrive.data.clips.clip_source import ClipFacts, Part, anchored
from latentdrive.data.clips.resampling import Assembled, Assembler
from latentdrive.data.clips.road_speed import CAMERA_HEIGHT_M
from latentdrive.data.clips.sidecars import Camera, Track
from latentdrive.data.clips.visual_odometry import EgoMotion, estimate_ego_motion, guessed_intrinsics, work_size
from latentdrive.data.picture_size import fit_picture, scaled_intrinsics
from latentdrive.errors import ConfigError, UnreadableClip, raise_if_out_of_files
from latentdrive.types import FROZEN, ClipTruth, DrivingClip, PoseSource

READER_VERSION = 2  # raise it when the same file would give other frames or poses: caches are then made anew
WEAK_EVIDENCE = 0.2  # road evidence below which the note warns

# Time in seconds, RGB [height, width, 3] at the size asked for, (height, width) of the stored picture.
Frames = Iterator[tuple[float, np.ndarray, tuple[int, int]]]


@dataclass(frozen=True, kw_only=True)
class ReaderOptions:
    """How clips are read; see VideoFolder for the meaning of each."""

    rate_hz: float
    height: int
    width: int
    fit: str
    images_hz: float | None
    poses: str
    field_of_view_deg: float

    def __post_init__(self) -> None:
        if self.rate_hz <= 0 or self.height < 8 or self.width < 8:
            raise ConfigError(
                "data: rate_hz must be above 0 and height, width at least 8; "
                f"got {self.rate_hz}, {self.height}, {self.width}"
            )
        choices = {"fit": ("stretch", "crop"), "poses": ("recorded", "visual_odometry", "none")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(f"data.source.{name} must be one of {', '.join(allowed)}; got {getattr(self, name)}")


@dataclass(**FROZEN)
class _Ego:
    """How the ego of a clip moved, as in DrivingClip. note: for the card."""

    poses: Float32[np.ndarray, "T 3"] | None = None
    speed_mps: Float32[np.ndarray, "T"] | None = None
    source: PoseSource = PoseSource.NONE
    causal: Bool[np.ndarray, "T"] | None = None
    note: str = ""


class ClipReader(ABC):
    """A ClipSource and ReadableSource over files. Subclasses say where things are."""

    def __init__(self, *, options: ReaderOptions, part: Part) -> None:
        self.options, self.part = options, part
        self.rate_hz, self.height, self.width = float(options.rate_hz), options.height, options.width

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def location(self, index: int) -> Path:
        """File or folder of the clip."""

    @abstractmethod
    def key(self, index: int) -> str:
        """Unique name of the clip."""

    @abstractmethod
    def drive(self, index: int) -> str:
        """What is resampled together in a bootstrap."""

    @abstractmethod
    def files(self, index: int) -> list[Path]:
        """Every file that decides the clip; the first must exist."""

    @abstractmethod
    def frames(self, index: int, size: tuple[int, int], fit: str) -> Frames:
        """The clip's frames in order of presentation."""

    @abstractmethod
    def track(self, index: int, first_s: float, last_s: float) -> Track | None:
        """Recorded poses that cover these times, or None."""

    @abstractmethod
    def camera(self, index: int) -> Camera | None:
        """The camera in pixels of the stored picture, or None."""

    @abstractmethod
    def header_duration_s(self, index: int) -> float | None:
        """Length without decoding; None where nothing says it."""

    def truth(self, index: int) -> ClipTruth | None:
        """What the world knows of the whole clip; real recordings have none."""
        return None

    def __getitem__(self, index: int) -> DrivingClip:
        clip, _ = self.read(index)
        return self.part.of(clip, self.location(index))

    def identity(self, index: int) -> dict[str, Any]:
        """Everything that decides what `read` gives: files by size and time of change, and our options."""
        options = self.options
        return {
            "reader": f"{type(self).__name__} {READER_VERSION}",
            "files": [_stamp(file, required=at == 0) for at, file in enumerate(self.files(index))],
            "picture": [options.rate_hz, options.height, options.width, options.fit, options.images_hz],
            "poses": [options.poses, options.field_of_view_deg],
        }

    def read(self, index: int) -> tuple[DrivingClip, ClipFacts]:
        """The whole clip and what was counted. Raises UnreadableClip."""
        assembler, size, stored = Assembler(rate_hz=self.rate_hz), (self.height, self.width), (0, 0)
        for time_s, frame, stored_now in self.frames(index, size, self.options.fit):
            assembler.add(time_s, frame)
            stored = stored_now
        found = assembler.finish(self.location(index))
        view = fit_picture(stored, size, self.options.fit).view
        camera = self.camera(index) or Camera(intrinsics=None, camera_to_ego=None)
        intrinsics = camera.intrinsics
        if intrinsics is not None:
            intrinsics = scaled_intrinsics(intrinsics, view=view, stored=stored, size=size)
        ego = self._ego(index, found, camera, stored)
        clip = DrivingClip(
            frames=found.frames,
            times_s=found.times_s,
            shots=found.shots,
            ego_poses=ego.poses,
            ego_speed_mps=ego.speed_mps,
            pose_source=ego.source,
            intrinsics=intrinsics,
            key=self.key(index),
            drive=self.drive(index),
            poses_causal=ego.causal,
        )
        facts = ClipFacts(
            frames_read=found.frames_read,
            repeated=found.repeated,
            cuts=found.cuts,
            holes=found.holes,
            standstill_s=round(found.standstill_s, 3),
            duration_s=float(found.times_s[-1] - found.times_s[0]),
            source_hz=found.source_hz,
            source_height=stored[0],
            source_width=stored[1],
            view=view,
            camera_to_ego=None if camera.camera_to_ego is None else camera.camera_to_ego.tolist(),
            pose_note=ego.note,
        )
        return clip, facts

    def _ego(self, index: int, found: Assembled, camera: Camera, stored: tuple[int, int]) -> _Ego:
        if self.options.poses == "none":
            return _Ego()
        track = self.track(index, found.times_s[0], found.times_s[-1])
        if track is not None:
            poses, speed = track.at(found.times_s)
            return _Ego(
                poses=anchored(poses),
                speed_mps=speed.astype(np.float32),
                source=PoseSource.RECORDED,
                # Poses and frames have clocks of their own: half a step of the frames counts as now.
                causal=track.reach_s(found.times_s) - found.times_s <= 0.5 / self.rate_hz,
                note=track.note,
            )
        if self.options.poses == "recorded":
            return _Ego()
        motion, note = self._odometry(index, found, camera, stored)
        return _Ego(poses=motion.poses, speed_mps=motion.speed_mps, source=PoseSource.VISUAL_ODOMETRY, note=note)

    def _odometry(self, index: int, found: Assembled, camera: Camera, stored: tuple[int, int]) -> tuple[EgoMotion, str]:
        """Estimated motion from a second pass over the frames, at a size where corners can be tracked."""
        size = work_size(stored)
        intrinsics, whence = guessed_intrinsics(size, self.options.field_of_view_deg), "guessed"
        if camera.intrinsics is not None:
            whole = (0.0, 0.0, 1.0, 1.0)
            intrinsics = scaled_intrinsics(camera.intrinsics, view=whole, stored=stored, size=size).astype(np.float64)
            whence = "given"
        wanted = set(found.times_s.tolist())
        frames = self.frames(index, size, "stretch")
        pictures = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for time_s, frame, _ in frames if time_s in wanted]
        motion = estimate_ego_motion(pictures, found.times_s, found.shots, intrinsics)
        focal = intrinsics[0, 0] / size[1]
        note = (
            f"visual odometry, scale-free: metres if the camera is {CAMERA_HEIGHT_M} m above a flat road; focal length "
            f"{focal:.3f} of the picture's width ({whence}); road evidence {motion.road_evidence:.2f}"
            + ("" if motion.road_evidence >= WEAK_EVIDENCE else ", weak: the speed is a guess")
        )
        return motion, note


def _stamp(file: Path, *, required: bool) -> list[str | int] | None:
    """Name, size and time of change (of a folder: of its files together); None for an optional file that is absent."""
    try:
        found = file.stat()
        if file.is_dir():
            inside = [entry.stat() for entry in os.scandir(file)]
            total, newest = sum(one.st_size for one in inside), max((one.st_mtime_ns for one in inside), default=0)
            return [os.fspath(file.resolve()), total, max(newest, found.st_mtime_ns)]
    except OSError as error:
        raise_if_out_of_files(error)
        if required:
            raise UnreadableClip(file, f"it can't be opened ({error.strerror}): is the disk mounted?") from error
        return None
    return [os.fspath(file.resolve()), found.st_size, found.st_mtime_ns]
