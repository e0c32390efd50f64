"""Driving video on disk as clips: mp4, hevc, mkv, gif, or folders of numbered images.

The first step of the walk. One file is one clip. It is decoded once (container.py, decoding.py), at
training size and by presentation times, and resampled to `rate_hz` (resampling.py); poses and the
camera come from files beside it (sidecars.py).
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from latentdrive.data.clips.clip_files import TIMES, ClipList, image_times, numbered_images, read_images
from latentdrive.data.clips.clip_source import ClipOptions, Frames, Part
from latentdrive.data.clips.container import errors_named, opened
from latentdrive.data.clips.decoding import Damage, usable_frames
from latentdrive.data.clips.file_clips import FileClips
from latentdrive.data.clips.sidecars import Camera, Track, read_camera, read_track, sidecar
from latentdrive.data.picture_size import Stored, fit_picture
from latentdrive.errors import ConfigError
from latentdrive.types import ClipTruth

DRIVES = ("pieces", "folder", "file")
PIECE = re.compile(r"_\d{3,}$")  # at the end of a piece's name, without the suffix


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
        return key if os.path.isdir(self.location(index)) else os.path.splitext(key)[0]

    def _in_pieces(self, index: int) -> bool:
        return self.drives == "pieces" and not os.path.isdir(self.location(index))

    def files(self, index: int) -> list[Path]:
        """The video (or folder), poses and camera beside it, and times.txt in a folder."""
        path = self.location(index)
        sidecars = [sidecar(path, ".poses.csv"), sidecar(path, ".camera.json")]
        return [path, *sidecars, path / TIMES] if os.path.isdir(path) else [path, *sidecars]

    def frames(self, index: int, size: tuple[int, int], fit: str, damage: Damage | None = None) -> Frames:
        """Frames by presentation time, at (height, width)."""
        path = self.location(index)
        if not os.path.isdir(path):
            return decode(path, size, fit, told_hz=self.options.video_hz, damage=damage)
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
        if os.path.isdir(path):
            return len(os.listdir(path)) / self.options.images_hz if self.options.images_hz else None
        with opened(path, self.options.video_hz) as video:
            return video.duration_s

    def truth(self, index: int) -> ClipTruth | None:
        """The built-in world's ground truth of the whole clip; None for real video."""
        return (
            None if self._truth is None else self._truth(sidecar(self.location(index), ".truth.npz"), self.key(index))
        )


def decode(
    path: Path, size: tuple[int, int], fit: str, *, told_hz: float | None = None, damage: Damage | None = None
) -> Frames:
    """Frames of a video in order of presentation: time in seconds, RGB at (height, width), and how it is stored.

    told_hz: frames a second, for a video that states none or a wrong one. damage: filled with what can't be used.
    Raises UnreadableClip if the container can't be read, the video ends earlier than its header says, or it is raw and
    nothing tells its rate.
    """
    # One scaler for all pictures, and one look at the matrix: a picture whose side data was looked at is freed late,
    # and with a scaler of its own it would keep threads, at which a forked process hangs.
    scaler, orientation = VideoReformatter(), None
    for video, number, picture in usable_frames(path, told_hz=told_hz, damage=damage or Damage()):
        with errors_named(path):
            orientation = orientation or _orientation(picture)
            frame, stored = _upright(picture, scaler, orientation, video.pixel_aspect, size, fit)
        yield video.time_of(number, picture), frame, stored


def _upright(
    picture: av.VideoFrame,
    scaler: VideoReformatter,
    orientation: tuple[int, int, bool],
    pixel_aspect: float,
    size: tuple[int, int],
    fit: str,
) -> tuple[UInt8[np.ndarray, "H W 3"], Stored]:
    """RGB at `size` as a player shows it, upright and with square pixels, and its shape in the file, upright."""
    across, down, turned = orientation
    if turned:
        stored = Stored(height=picture.width, width=picture.height, pixel_aspect=1 / pixel_aspect)
    else:
        stored = Stored(height=picture.height, width=picture.width, pixel_aspect=pixel_aspect)
    plan = fit_picture(stored.shown, size, fit)
    height, width = plan.scaled[::-1] if turned else plan.scaled
    scaled = scaler.reformat(picture, width=width, height=height, format="rgb24", interpolation="AREA")
    image = scaled.to_ndarray()
    image = (image.transpose(1, 0, 2) if turned else image)[::down, ::across]
    return image[plan.top : plan.top + size[0], plan.left : plan.left + size[1]], stored


def _orientation(picture: av.VideoFrame) -> tuple[int, int, bool]:
    """How a stored picture becomes upright: axes exchanged or not, and then read forwards (1) or backwards (-1).

    Telephones record sideways, and some cameras mirrored; the header says so with a matrix.
    """
    data = picture.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 1, False
    (a, b, _), (c, d, _), _ = np.frombuffer(bytes(data), "<i4").reshape(3, 3)  # right = a x + c y, down = b x + d y
    turned = abs(int(b)) > abs(int(a))
    across, down = (c, b) if turned else (a, d)
    return (-1 if across < 0 else 1), (-1 if down < 0 else 1), turned
