"""Driving video on disk as clips: mp4, hevc, mkv, gif, or folders of numbered images.

The first step of the walk. One file is one clip. It is decoded once, at training size and by
presentation times, and resampled to `rate_hz` (resampling.py); poses and the camera come from files
beside it (sidecars.py).
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from latentdrive.data.clips.clip_files import TIMES, ClipList, image_times, numbered_images, read_images
from latentdrive.data.clips.clip_source import ClipOptions, Frames, Part
from latentdrive.data.clips.file_clips import FileClips
from latentdrive.data.clips.sidecars import Camera, Track, read_camera, read_track, sidecar
from latentdrive.data.picture_size import fit_picture
from latentdrive.errors import ConfigError, UnreadableClip, raise_if_out_of_files
from latentdrive.types import ClipTruth

# How much earlier than its header says a video may end: intact files are exact to a frame, edit
# lists to a few.
TRUNCATED_SHARE, TRUNCATED_S = 0.01, 0.3
DRIVES = ("pieces", "folder", "file")
PIECE = re.compile(r"_\d{3,}$")  # at the end of a piece's name, without the suffix
RAW_HZ = 25.0  # frames a second of raw hevc that states no rate


class VideoFolder(FileClips):
    """Clips of a folder, a file, or a list of files.

    part.path: a video, a folder searched recursively in sorted order, a folder of numbered images,
    or a text file with one path a line. Recorded poses are NAME.poses.csv beside the video,
    intrinsics NAME.camera.json. truth: reads the built-in world's ground truth from a file beside
    the video, given its path and the clip's key; None where nothing is to be read. drives: which
    files are of one recording: `pieces` (NAME_000.mp4, NAME_001.mp4 and so on, with three digits or
    more), `folder` (all files of a folder) or `file` (each file is a recording).
    """

    identity_name = "VideoFolder"

    def __init__(
        self,
        *,
        options: ClipOptions,
        part: Part,
        truth: Callable[[Path, str], ClipTruth | None] | None,
        drives: str = "file",
    ) -> None:
        super().__init__(options=options, part=part)
        if drives not in DRIVES:
            raise ConfigError(f"data.source.drives must be {', '.join(DRIVES[:-1])} or {DRIVES[-1]}; got {drives}")
        self.clips, self.drives = ClipList(part.path), drives
        self._truth = truth

    def __len__(self) -> int:
        return len(self.clips)

    def location(self, index: int) -> Path:
        """File or folder of the clip."""
        return self.clips[index]

    def key(self, index: int) -> str:
        """Path of the clip below the folder."""
        return self.clips.key(index)

    def drive(self, index: int) -> str:
        """The recording: the key without the suffix, and without what tells pieces apart."""
        if self.drives == "folder":
            return os.path.dirname(self.key(index)) or self.clips.root.name
        name = self._name(index)
        return PIECE.sub("", name) if self._in_pieces(index) else name

    def is_piece(self, index: int) -> bool:
        """Whether its name is that of a piece; a list may hold the other pieces anywhere."""
        return self.drive(index) != self._name(index)

    def _name(self, index: int) -> str:
        key = self.key(index)
        return key if self.location(index).is_dir() else os.path.splitext(key)[0]

    def _in_pieces(self, index: int) -> bool:
        return self.drives == "pieces" and not self.location(index).is_dir()

    def files(self, index: int) -> list[Path]:
        """The video (or folder), poses and camera beside it, and times.txt in a folder."""
        path = self.location(index)
        sidecars = [sidecar(path, ".poses.csv"), sidecar(path, ".camera.json")]
        return [path, *sidecars, path / TIMES] if path.is_dir() else [path, *sidecars]

    def frames(self, index: int, size: tuple[int, int], fit: str) -> Frames:
        """Frames by presentation time, at (height, width)."""
        path = self.location(index)
        if not path.is_dir():
            return decode(path, size, fit)
        images, numbers = numbered_images(path)
        return read_images(images, image_times(path, numbers, self.options.images_hz), size, fit)

    def track(self, index: int, first_s: float, last_s: float) -> Track | None:
        """Poses beside the video, or None."""
        path = sidecar(self.location(index), ".poses.csv")
        return read_track(path, first_s=first_s, last_s=last_s, slack_s=0.5 / self.rate_hz)

    def camera(self, index: int) -> Camera | None:
        """The camera beside the video, or None."""
        return read_camera(sidecar(self.location(index), ".camera.json"))

    def header_duration_s(self, index: int) -> float | None:
        """Length by the container's header; for a folder of images, by the number of its files."""
        path = self.location(index)
        if path.is_dir():
            return len(os.listdir(path)) / self.options.images_hz if self.options.images_hz else None
        with _opened(path) as container:
            return _header_duration_s(container)

    def truth(self, index: int) -> ClipTruth | None:
        """The built-in world's ground truth of the whole clip; None for real video."""
        return (
            None if self._truth is None else self._truth(sidecar(self.location(index), ".truth.npz"), self.key(index))
        )


def decode(path: Path, size: tuple[int, int], fit: str) -> Frames:
    """Frames of a video in order of presentation: time in seconds, RGB at (height, width), stored (height, width).

    Raises UnreadableClip if the container or a frame can't be read, or the video ends earlier than
    its header says.
    """
    with _opened(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        expected_s = _header_duration_s(container)
        start_s = float((stream.start_time or 0) * stream.time_base)
        count, end_s = 0, 0.0
        for picture in container.decode(stream):
            # Raw hevc has no presentation times, only a rate.
            time_s = picture.time if picture.time is not None else count / float(stream.guessed_rate or RAW_HZ)
            count += 1
            end_s = time_s + float((picture.duration or 0) * stream.time_base)
            yield time_s, *_picture(picture, size, fit)
        if count and expected_s is not None:
            decoded_s = end_s - start_s
            if decoded_s < expected_s * (1 - TRUNCATED_SHARE) - TRUNCATED_S:
                raise UnreadableClip(
                    path,
                    f"truncated: its header says {expected_s:.1f} s, only {decoded_s:.1f} s can be decoded. "
                    "Copy it again",
                )


def _picture(
    picture: av.VideoFrame, size: tuple[int, int], fit: str
) -> tuple[UInt8[np.ndarray, "H W 3"], tuple[int, int]]:
    """RGB at `size`, turned upright (telephones record sideways), and the upright picture's stored (height, width)."""
    turns = round(picture.rotation / 90) % 4
    stored = (picture.width, picture.height) if turns % 2 else (picture.height, picture.width)
    plan = fit_picture(stored, size, fit)
    height, width = plan.scaled[::-1] if turns % 2 else plan.scaled
    image = picture.reformat(width=width, height=height, format="rgb24", interpolation="AREA").to_ndarray()
    if turns:
        image = np.rot90(image, turns)
    return image[plan.top : plan.top + size[0], plan.left : plan.left + size[1]], stored


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
            f"not a readable video ({error.strerror}): it may be truncated or no video at all. "
            "Try ffplay, or copy it again",
        ) from error
    except OSError as error:
        raise_if_out_of_files(error)
        raise UnreadableClip(path, f"it can't be opened ({error.strerror}): is the disk mounted?") from error


def _header_duration_s(container: av.container.InputContainer) -> float | None:
    stream = container.streams.video[0]
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if len(container.streams) == 1 and container.duration:
        # Matroska states the container's length alone, and with sound that may be the sound's
        # length.
        return container.duration / av.time_base
    return None
