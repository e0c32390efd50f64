"""Folders of numbered images as video: 000000.png, 000001.png, ...

The other way in beside video.py's decoding; kitti.py reads its images here too.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from latentdrive.data.clips.clip_list import is_image_name
from latentdrive.data.picture_size import fitted
from latentdrive.errors import ConfigError, UnreadableClip, raise_if_out_of_files

TIMES = "times.txt"


def numbered_images(folder: Path) -> tuple[list[Path], np.ndarray]:
    """Images in the order of their numbers, and the numbers. Raises UnreadableClip for a gap or a number that comes twice."""
    try:
        names = [entry.name for entry in folder.iterdir() if is_image_name(entry.name)]
    except OSError as error:
        raise_if_out_of_files(error)
        raise UnreadableClip(folder, f"it can't be opened ({error.strerror}): is the disk mounted?") from error
    if not names:
        raise UnreadableClip(folder, "no numbered images in it (000000.png, 000001.png, ...)")
    numbers = np.array([int(re.search(r"(\d+)\.[^.]+$", name).group(1)) for name in names], np.int64)
    order = np.argsort(numbers, kind="stable")
    numbers = numbers[order]
    steps = np.diff(numbers)
    if (steps == 0).any():
        twice = int(numbers[int(np.flatnonzero(steps == 0)[0])])
        raise UnreadableClip(folder, f"number {twice} stands on two images: keep one camera a folder")
    if (steps > 1).any():
        before = int(numbers[int(np.flatnonzero(steps > 1)[0])])
        missing = int((steps - 1).sum())
        raise UnreadableClip(
            folder,
            f"image {before + 1} is missing ({missing} of {int(numbers[-1] - numbers[0]) + 1} are): restore it, "
            f"split the folder there, or write {TIMES} with the time of every image that is left and number them anew",
        )
    return [folder / names[k] for k in order], numbers


def image_times(folder: Path, numbers: np.ndarray, images_hz: float | None) -> Float64[np.ndarray, "T"]:
    """Seconds of every image: from times.txt (one number a line) where there is one, else number / images_hz."""
    beside = folder / TIMES
    if beside.is_file():
        return read_times(beside, len(numbers))
    if images_hz is None:
        raise ConfigError(
            f"{folder}: how many images a second? Give data.source.images_hz=10, or write {beside}, a time a line"
        )
    return numbers / images_hz


def read_times(path: Path, count: int) -> Float64[np.ndarray, "T"]:
    """`count` growing times in seconds, one a line. Raises UnreadableClip."""
    try:
        times = np.array([float(line) for line in path.read_text(encoding="utf-8").split()], np.float64)
    except (OSError, ValueError) as error:
        raise_if_out_of_files(error)
        raise UnreadableClip(path, f"not a list of times in seconds, one a line ({error})") from None
    if len(times) != count:
        raise UnreadableClip(path, f"{len(times)} times for {count} images: there must be one a line for each image")
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise UnreadableClip(path, "the times must be finite and grow from line to line")
    return times


def read_images(
    paths: list[Path], times_s: Float64[np.ndarray, "T"], size: tuple[int, int], fit: str
) -> Iterator[tuple[float, UInt8[np.ndarray, "H W 3"], tuple[int, int]]]:
    """As video.decode: time, RGB at (height, width), stored (height, width). Grey images get three equal channels."""
    for path, time_s in zip(paths, times_s):
        picture = load_image(path)
        stored = picture.shape[:2]
        yield float(time_s), fitted(picture, size, fit), stored


def load_image(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """One image as RGB. Raises UnreadableClip that names it."""
    try:
        packed = np.fromfile(path, np.uint8)
    except OSError as error:
        raise_if_out_of_files(error)
        raise UnreadableClip(path, f"it can't be opened ({error.strerror})") from error
    picture = cv2.imdecode(packed, cv2.IMREAD_COLOR) if len(packed) else None
    if picture is None:
        raise UnreadableClip(
            path, f"not a readable image ({len(packed)} bytes): copy it again, or remove the folder from the list"
        )
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
