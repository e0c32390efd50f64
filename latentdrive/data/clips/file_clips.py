"""From files to a clip: the walk that every source of recorded clips shares.

Subclasses (video.py, kitti.py, comma2k19.py, data/navsim/clip_source.py) say where frames, poses
and the camera are. Frames pass through resampling.py. Poses are recorded, or estimated by the
odometry that the options name.
"""

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from latentdrive.data.clips.clip_source import ClipFacts, ClipOptions, EgoTrack, Frames, Part, anchored
from latentdrive.data.clips.decoding import Damage
from latentdrive.data.clips.resampling import Resampled, Resampler
from latentdrive.data.clips.sidecars import Camera, Track
from latentdrive.data.picture_size import Stored, fit_picture, scaled_intrinsics
from latentdrive.errors import UnreadableClip, raise_if_out_of_files
from latentdrive.types import ClipTruth, DrivingClip, PoseSource

READER = "reader"  # key of an identity: the source and its version
# Raise it when intact files would give other frames or poses: caches, stores and cards then name other clips. Where
# only damaged or odd files are read in another way, raise frame_cache.FORMAT, which makes the caches again.
READING_VERSION = 2


class FileClips(ABC):
    """A source of clips from files (a ClipSource and ReadableSource). Subclasses say where frames,
    poses and the camera are.
    """

    identity_name: ClassVar[str]  # names the source in every cache entry: it must stay, whatever the class is called

    def __init__(self, *, options: ClipOptions, part: Part) -> None:
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
        """Name of the recording that the clip belongs to."""

    @abstractmethod
    def files(self, index: int) -> list[Path]:
        """Every file that decides the clip; the first must exist."""

    @abstractmethod
    def frames(self, index: int, size: tuple[int, int], fit: str, damage: Damage | None = None) -> Frames:
        """The clip's frames in order of presentation. damage: filled with what could not be decoded."""

    @abstractmethod
    def track(self, index: int, first_s: float, last_s: float) -> Track | None:
        """Recorded poses that cover these times, or None."""

    @abstractmethod
    def camera(self, index: int) -> Camera | None:
        """The camera in pixels of the stored picture, or None."""

    @abstractmethod
    def header_duration_s(self, index: int) -> float | None:
        """Length in seconds without decoding; None if nothing says it."""

    def truth(self, index: int) -> ClipTruth | None:
        """The built-in world's ground truth of the whole clip; recordings have none."""
        return None

    def __getitem__(self, index: int) -> DrivingClip:
        clip, _ = self.read(index)
        return self.part.of(clip, self.location(index), piece=self.is_piece(index))

    def is_piece(self, index: int) -> bool:
        """Whether the clip before or after it is of the same recording. Clips come in the order of their names."""
        near = [place for place in (index - 1, index + 1) if 0 <= place < len(self)]
        return self.drive(index) in [self.drive(place) for place in near]

    def identity(self, index: int) -> dict[str, Any]:
        """Everything that decides the bytes of `read`: our options, and files by size and time of change."""
        options = self.options
        told = {} if options.video_hz is None else {"video_hz": options.video_hz}  # absent as before there was the key
        return {
            READER: f"{self.identity_name} {READING_VERSION}",
            "files": [_stamp(file, required=place == 0) for place, file in enumerate(self.files(index))],
            "picture": [options.rate_hz, options.height, options.width, options.fit, options.images_hz],
            "poses": [options.poses, options.field_of_view_deg],
            **told,
        }

    def read(self, index: int) -> tuple[DrivingClip, ClipFacts]:
        """The whole clip and its facts. Raises UnreadableClip."""
        size, damage = (self.height, self.width), Damage()
        resampled, stored = self._resampled(index, size, damage)
        view = fit_picture(stored.shown, size, self.options.fit).view
        camera = self.camera(index) or Camera(intrinsics=None, camera_to_ego=None)
        intrinsics = camera.intrinsics
        if intrinsics is not None:
            intrinsics = scaled_intrinsics(intrinsics, view=view, stored=stored[:2], size=size)
        ego = self._ego(index, resampled, camera, stored)
        clip = DrivingClip(
            frames=resampled.frames,
            times_s=resampled.times_s,
            shots=resampled.shots,
            ego_poses=ego.poses,
            ego_speed_mps=ego.speed_mps,
            pose_source=ego.source,
            intrinsics=intrinsics,
            key=self.key(index),
            drive=self.drive(index),
            known_poses=ego.known,
        )
        facts = ClipFacts(
            frames_read=resampled.frames_read,
            repeated=resampled.repeated,
            cuts=resampled.cuts,
            holes=resampled.holes,
            standstill_s=round(resampled.standstill_s, 3),
            duration_s=float(resampled.times_s[-1] - resampled.times_s[0]),
            source_hz=resampled.source_hz,
            source_height=stored.shown[0],
            source_width=stored.shown[1],
            view=view,
            camera_to_ego=None if camera.camera_to_ego is None else camera.camera_to_ego.tolist(),
            pose_note=ego.note,
            damaged=damage.reported,
            dropped=damage.dropped,
            damage_note=damage.note,
        )
        return clip, facts

    def _resampled(self, index: int, size: tuple[int, int], damage: Damage) -> tuple[Resampled, Stored]:
        """Frames of the clip at `rate_hz`, and the shape of the last picture in its file."""
        resampler, stored, gaps = Resampler(rate_hz=self.rate_hz), Stored(0, 0), 0
        for time_s, frame, shape in self.frames(index, size, self.options.fit, damage):
            resampler.add(time_s, frame, after_gap=damage.gaps > gaps)
            stored, gaps = shape, damage.gaps
        try:
            return resampler.finish(self.location(index)), stored
        except UnreadableClip as error:
            if not damage.note:
                raise
            raise UnreadableClip(error.path, f"{damage.note}. What is left is no clip: {error.reason}") from None

    def _ego(self, index: int, resampled: Resampled, camera: Camera, stored: Stored) -> EgoTrack:
        times_s, poses = resampled.times_s, self.options.poses
        track = None if poses == "none" else self.track(index, times_s[0], times_s[-1])
        if track is not None:
            recorded, speed = track.at(times_s)
            return EgoTrack(
                poses=anchored(recorded, recorded[0]),
                speed_mps=speed.astype(np.float32),
                source=PoseSource.RECORDED,
                # Poses and frames have clocks of their own: a pose is carried on for half a step of
                # the frames.
                known=anchored(track.known_at(times_s, recent_s=0.5 / self.rate_hz), recorded[0]),
                note=track.note,
            )
        if poses != "visual_odometry":
            return EgoTrack()
        return self.options.odometry(
            lambda size: self.frames(index, size, "stretch"),
            times_s=times_s,
            shots=resampled.shots,
            stored=stored,
            intrinsics=camera.intrinsics,
            field_of_view_deg=self.options.field_of_view_deg,
        )


def _stamp(file: Path, *, required: bool) -> list[str | int] | None:
    """Name, size and time of change (of a folder: of its files together); None for an optional file that is absent."""
    try:
        stat = file.stat()
        if file.is_dir():
            inside = [entry.stat() for entry in os.scandir(file)]
            total, newest = (
                sum(entry.st_size for entry in inside),
                max((entry.st_mtime_ns for entry in inside), default=0),
            )
            return [os.fspath(file.resolve()), total, max(newest, stat.st_mtime_ns)]
    except ValueError as error:  # a name that no file can have
        raise UnreadableClip(file, f"it can't be opened ({error}): correct the list") from None
    except OSError as error:
        raise_if_out_of_files(error)
        if required:
            raise UnreadableClip(file, f"it can't be opened ({error.strerror}): is the disk mounted?") from error
        return None
    return [os.fspath(file.resolve()), stat.st_size, stat.st_mtime_ns]
