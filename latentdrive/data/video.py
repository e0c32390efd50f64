"""Driving video on disk as clips: mp4, hevc, mkv, gif, or folders of numbered images.

First step of the walk. One file is one clip: decoded once, at training size, by presentation times; repeated frames
dropped, cuts found, resampled to `rate_hz` (assembly.py), with poses and camera from files beside it (sidecars.py).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from latentdrive.data.assembly import Assembled, Assembler, fit_picture
from latentdrive.data.clip_list import ClipList
from latentdrive.data.image_folder import TIMES, image_times, numbered_images, read_images
from latentdrive.data.parts import ClipFacts, Part, anchored
from latentdrive.data.sidecars import SUFFIXES, read_camera, read_track, scaled_intrinsics, sidecar
from latentdrive.errors import ConfigError, UnreadableClip
from latentdrive.types import ClipTruth, DrivingClip, PoseSource

READER_VERSION = 1  # raise it when the same file would give other frames: caches are then made anew
OPEN_TRUTHS = 1024  # clips whose truth a process keeps in memory
TRUNCATED_SHARE, TRUNCATED_S = 0.1, 1.0  # how much earlier than the header says the last frame may come


class VideoFolder:
    """Clips of a folder, a file, or a list of files (a ClipSource).

    path: video, folder searched recursively in sorted order, folder of numbered images, or text file with one path a
    line. rate_hz: frames a second after resampling. height, width: training size in pixels. fit: stretch, or crop (the
    middle, undistorted). part, train_share, gap_s: see Part. images_hz: rate of numbered images that have no times.txt.
    poses: recorded (NAME.poses.csv beside the video), visual_odometry (recorded where there are, else estimated,
    scale-free), or none. field_of_view_deg: horizontal, guessed where no NAME.camera.json gives intrinsics.
    """

    def __init__(
        self,
        *,
        path: str,
        rate_hz: float,
        height: int,
        width: int,
        fit: str,
        part: str,
        train_share: float,
        gap_s: float,
        images_hz: float | None,
        poses: str,
        field_of_view_deg: float,
    ) -> None:
        if rate_hz <= 0 or height < 8 or width < 8:
            raise ConfigError(
                f"data: rate_hz must be above 0 and height, width at least 8; got {rate_hz}, {height}, {width}"
            )
        _check_choice("fit", fit, ("stretch", "crop"))
        _check_choice("poses", poses, ("recorded", "visual_odometry", "none"))
        self.rate_hz, self.height, self.width = float(rate_hz), height, width
        self.fit, self.poses, self.images_hz, self.field_of_view_deg = fit, poses, images_hz, field_of_view_deg
        self.part = Part(name=part, train_share=train_share, gap_s=gap_s)
        self.clips = ClipList(path)
        self._truths: dict[int, ClipTruth | None] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> DrivingClip:
        clip, _ = self.read(index)
        return self.part.of(clip, self.location(index))

    def location(self, index: int) -> Path:
        """File or folder of the clip."""
        return self.clips[index]

    def read(self, index: int) -> tuple[DrivingClip, ClipFacts]:
        """The whole clip and what was counted. Raises UnreadableClip."""
        path = self.location(index)
        assembler = Assembler(rate_hz=self.rate_hz)
        stored = (0, 0)
        for time_s, frame, size in self._frames(path):
            assembler.add(time_s, frame)
            stored = size
        return self._finish(path, self.clips.key(index), assembler.finish(path), stored)

    def identity(self, index: int) -> dict[str, Any]:
        """Everything that decides what `read` gives: the file and its sidecars by size and time, and our options."""
        path = self.location(index)
        files = [path, *(sidecar(path, suffix) for suffix in SUFFIXES[:2])]
        if path.is_dir():
            files += [path / TIMES]
        return {
            "reader": f"VideoFolder {READER_VERSION}",
            "files": [_stamp(file, required=file == path) for file in files],
            "options": [
                self.rate_hz,
                self.height,
                self.width,
                self.fit,
                self.poses,
                self.images_hz,
                self.field_of_view_deg,
            ],
        }

    def header_duration_s(self, index: int) -> float | None:
        """Length by the container's header; a folder of images counts its files."""
        path = self.location(index)
        if path.is_dir():
            return len(os.listdir(path)) / self.images_hz if self.images_hz else None
        with _opened(path) as container:
            return _header_duration_s(container)

    def truth(self, index: int) -> ClipTruth | None:
        """What the world knows of the whole clip; None for real video."""
        from latentdrive.data.clip_truth import read_truth  # beside the world's writer; not needed for real video

        if index not in self._truths:
            beside = sidecar(self.location(index), ".truth.npz")
            truth = replace(read_truth(beside), key=self.clips.key(index)) if beside.is_file() else None
            if len(self._truths) >= OPEN_TRUTHS:
                self._truths.clear()
            self._truths[index] = truth
        return self._truths[index]

    def _frames(self, path: Path) -> Iterator[tuple[float, np.ndarray, tuple[int, int]]]:
        if path.is_dir():
            images, numbers = numbered_images(path)
            times = image_times(path, numbers, self.images_hz)
            return read_images(images, times, (self.height, self.width), self.fit)
        return decode(path, (self.height, self.width), self.fit)

    def _finish(self, path: Path, key: str, found: Assembled, stored: tuple[int, int]) -> tuple[DrivingClip, ClipFacts]:
        view = fit_picture(stored, (self.height, self.width), self.fit).view
        camera = read_camera(sidecar(path, ".camera.json"))
        intrinsics = None
        if camera is not None and camera.intrinsics is not None:
            intrinsics = scaled_intrinsics(camera.intrinsics, view=view, stored=stored, size=(self.height, self.width))
        poses, speed, source, note = self._ego(path, found)
        clip = DrivingClip(
            frames=found.frames,
            times_s=found.times_s,
            shots=found.shots,
            ego_poses=poses,
            ego_speed_mps=speed,
            pose_source=source,
            intrinsics=intrinsics,
            key=key,
            drive=key if path.is_dir() else os.path.splitext(key)[0],
        )
        mount = None if camera is None or camera.camera_to_ego is None else camera.camera_to_ego.tolist()
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
            camera_to_ego=mount,
            pose_note=note,
        )
        return clip, facts

    def _ego(self, path: Path, found: Assembled) -> tuple[np.ndarray | None, np.ndarray | None, PoseSource, str]:
        """Poses relative to the first frame, speed, where they are from, and a note for the card."""
        if self.poses == "none":
            return None, None, PoseSource.NONE, ""
        times = found.times_s
        beside = sidecar(path, ".poses.csv")
        track = read_track(beside, first_s=times[0], last_s=times[-1], slack_s=0.5 / self.rate_hz)
        if track is None:
            return None, None, PoseSource.NONE, ""
        poses, speed = track.at(times)
        return anchored(poses), speed.astype(np.float32), PoseSource.RECORDED, f"recorded: {beside.name}, metres"


def decode(
    path: Path, size: tuple[int, int], fit: str
) -> Iterator[tuple[float, UInt8[np.ndarray, "H W 3"], tuple[int, int]]]:
    """Frames of a video in order of presentation: time in seconds, RGB at (height, width), stored (height, width).

    Raises UnreadableClip where the container or a frame can't be read, or the video ends much earlier than its header says.
    """
    with _opened(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        expected_s = _header_duration_s(container)
        start_s = float((stream.start_time or 0) * stream.time_base)
        count, time_s = 0, None
        for picture in container.decode(stream):
            # Raw hevc has no presentation times: its rate is all there is.
            time_s = picture.time if picture.time is not None else count / float(stream.guessed_rate or 25)
            count += 1
            yield time_s, *_picture(picture, size, fit)
        if count and expected_s is not None:
            seen_s = time_s - start_s
            if seen_s < expected_s * (1 - TRUNCATED_SHARE) - TRUNCATED_S:
                raise UnreadableClip(
                    path,
                    f"truncated: its header says {expected_s:.1f} s, only {seen_s:.1f} s can be decoded. Copy it again",
                )


def _picture(picture: av.VideoFrame, size: tuple[int, int], fit: str) -> tuple[np.ndarray, tuple[int, int]]:
    """RGB at training size, upright (telephones record sideways), and the upright stored (height, width)."""
    turns = round(picture.rotation / 90) % 4
    stored = (picture.width, picture.height) if turns % 2 else (picture.height, picture.width)
    fitted = fit_picture(stored, size, fit)
    height, width = fitted.scaled[::-1] if turns % 2 else fitted.scaled
    image = picture.reformat(width=width, height=height, format="rgb24", interpolation="AREA").to_ndarray()
    if turns:
        image = np.rot90(image, turns)
    return image[fitted.top : fitted.top + size[0], fitted.left : fitted.left + size[1]], stored


@contextmanager
def _opened(path: Path) -> Iterator[av.container.InputContainer]:
    """The container, with FFmpeg's errors turned into UnreadableClip."""
    try:
        if path.stat().st_size == 0:
            raise UnreadableClip(path, "the file is empty (0 bytes): copy it again")
        with av.open(os.fspath(path), metadata_errors="replace") as container:
            if not container.streams.video:
                raise UnreadableClip(path, "it holds no video stream")
            yield container
    except av.error.FFmpegError as error:
        raise UnreadableClip(
            path,
            f"not a readable video ({error.strerror}): it may be truncated or no video at all. Try ffplay, copy it again",
        ) from error
    except OSError as error:
        raise UnreadableClip(path, f"it can't be opened ({error.strerror}): is the disk mounted?") from error


def _header_duration_s(container: av.container.InputContainer) -> float | None:
    stream = container.streams.video[0]
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if len(container.streams) == 1 and container.duration:
        # Matroska states no length per stream; with sound the container's may be the sound's.
        return container.duration / av.time_base
    return None


def _stamp(file: Path, *, required: bool) -> list[str | int] | None:
    """Name, size and time of change (of a folder: of its files together); None for an optional file that is absent."""
    try:
        found = file.stat()
        if file.is_dir():
            inside = [entry.stat() for entry in os.scandir(file)]
            total, newest = sum(one.st_size for one in inside), max((one.st_mtime_ns for one in inside), default=0)
            return [os.fspath(file.resolve()), total, max(newest, found.st_mtime_ns)]
    except OSError as error:
        if required:
            raise UnreadableClip(file, f"it can't be opened ({error.strerror}): is the disk mounted?") from error
        return None
    return [os.fspath(file.resolve()), found.st_size, found.st_mtime_ns]


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"data.{name} must be one of {', '.join(choices)}; got {value}")
