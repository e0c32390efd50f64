"""Driving video on disk as clips: mp4, hevc, mkv, gif, or folders of numbered images.

First step of the walk. One file is one clip: decoded once, at training size, by presentation times; repeated frames
dropped, cuts found, resampled to `rate_hz` (assembly.py), with poses and camera from files beside it (sidecars.py).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from latentdrive.data.clips.clip_list import ClipList
from latentdrive.data.clips.clip_reader import ClipReader, Frames, ReaderOptions
from latentdrive.data.clips.clip_source import Part
from latentdrive.data.clips.image_folder import TIMES, image_times, numbered_images, read_images
from latentdrive.data.clips.sidecars import Camera, Track, read_camera, read_track, sidecar
from latentdrive.data.picture_size import fit_picture
from latentdrive.errors import UnreadableClip, raise_if_out_of_files
from latentdrive.types import ClipTruth

OPEN_TRUTHS = 1024  # clips whose truth a process keeps in memory
# How much earlier than the header says the last frame may end: intact files are exact to a frame, edit lists to a few.
TRUNCATED_SHARE, TRUNCATED_S = 0.01, 0.3


class VideoFolder(ClipReader):
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
        options = ReaderOptions(
            rate_hz=rate_hz,
            height=height,
            width=width,
            fit=fit,
            images_hz=images_hz,
            poses=poses,
            field_of_view_deg=field_of_view_deg,
        )
        super().__init__(options=options, part=Part(name=part, train_share=train_share, gap_s=gap_s))
        self.clips = ClipList(path)
        self._truths: dict[int, ClipTruth | None] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def location(self, index: int) -> Path:
        """File or folder of the clip."""
        return self.clips[index]

    def key(self, index: int) -> str:
        """Path of the clip below the folder."""
        return self.clips.key(index)

    def drive(self, index: int) -> str:
        """One drive a file: its key without the suffix."""
        key = self.key(index)
        return key if self.location(index).is_dir() else os.path.splitext(key)[0]

    def files(self, index: int) -> list[Path]:
        """The video (or folder), poses and camera beside it, and times.txt in a folder."""
        path = self.location(index)
        beside = [sidecar(path, ".poses.csv"), sidecar(path, ".camera.json")]
        return [path, *beside, path / TIMES] if path.is_dir() else [path, *beside]

    def frames(self, index: int, size: tuple[int, int], fit: str) -> Frames:
        """Frames by presentation time, at (height, width)."""
        path = self.location(index)
        if not path.is_dir():
            return decode(path, size, fit)
        images, numbers = numbered_images(path)
        return read_images(images, image_times(path, numbers, self.options.images_hz), size, fit)

    def track(self, index: int, first_s: float, last_s: float) -> Track | None:
        """Poses beside the video, or None."""
        beside = sidecar(self.location(index), ".poses.csv")
        return read_track(beside, first_s=first_s, last_s=last_s, slack_s=0.5 / self.rate_hz)

    def camera(self, index: int) -> Camera | None:
        """The camera beside the video, or None."""
        return read_camera(sidecar(self.location(index), ".camera.json"))

    def header_duration_s(self, index: int) -> float | None:
        """Length by the container's header; a folder of images counts its files."""
        path = self.location(index)
        if path.is_dir():
            return len(os.listdir(path)) / self.options.images_hz if self.options.images_hz else None
        with _opened(path) as container:
            return _header_duration_s(container)

    def truth(self, index: int) -> ClipTruth | None:
        """What the world knows of the whole clip; None for real video."""
        from latentdrive.data.clips.clip_truth import read_truth  # beside the world's writer; not needed for real video

        if index not in self._truths:
            beside = sidecar(self.location(index), ".truth.npz")
            truth = replace(read_truth(beside), key=self.key(index)) if beside.is_file() else None
            if len(self._truths) >= OPEN_TRUTHS:
                self._truths.clear()
            self._truths[index] = truth
        return self._truths[index]


def decode(path: Path, size: tuple[int, int], fit: str) -> Frames:
    """Frames of a video in order of presentation: time in seconds, RGB at (height, width), stored (height, width).

    Raises UnreadableClip where the container or a frame can't be read, or the video ends earlier than its header says.
    """
    with _opened(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        expected_s = _header_duration_s(container)
        start_s = float((stream.start_time or 0) * stream.time_base)
        count, end_s = 0, 0.0
        for picture in container.decode(stream):
            # Raw hevc has no presentation times: its rate is all there is.
            time_s = picture.time if picture.time is not None else count / float(stream.guessed_rate or 25)
            count += 1
            end_s = time_s + float((picture.duration or 0) * stream.time_base)
            yield time_s, *_picture(picture, size, fit)
        if count and expected_s is not None:
            seen_s = end_s - start_s
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
        raise_if_out_of_files(error)
        raise UnreadableClip(
            path,
            f"not a readable video ({error.strerror}): it may be truncated or no video at all. Try ffplay, copy it again",
        ) from error
    except OSError as error:
        raise_if_out_of_files(error)
        raise UnreadableClip(path, f"it can't be opened ({error.strerror}): is the disk mounted?") from error


def _header_duration_s(container: av.container.InputContainer) -> float | None:
    stream = container.streams.video[0]
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if len(container.streams) == 1 and container.duration:
        # Matroska states no length per stream; with sound the container's may be the sound's.
        return container.duration / av.time_base
    return None
