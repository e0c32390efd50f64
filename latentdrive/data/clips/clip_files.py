"""Files that clips are made of: a list of paths that may be a million long, and folders of numbered images.

`ClipList` says what lies under `data.path`: one video, a folder of videos, a folder of numbered
images, or a text file with one path a line. The image functions below it read such a folder as a
video; kitti.py uses them too.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float64, Int64, UInt8

from latentdrive.counting import counted
from latentdrive.data.picture_files import PICTURE_DAMAGE, opened_picture
from latentdrive.data.picture_size import Stored, fitted
from latentdrive.errors import ConfigError, NoClips, UnreadableClip, raise_if_out_of_files

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".wmv", ".flv", ".gif"}
    | {".hevc", ".h265", ".265", ".h264", ".264"}
)
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
LIST_SUFFIXES = frozenset({".txt", ".lst", ".list"})
TIMES = "times.txt"  # beside numbered images: seconds of each, one a line
MOST_DIGITS = 18  # of an image's number: all such numbers have 64 bits
CHUNK = 1 << 24  # bytes of a list file that are searched for line breaks together


class ClipList:
    """Paths by index, without a Path object each. `root` is the folder that keys are relative to.

    The paths of a folder are one byte string with int64 offsets (about 100 bytes a clip). A text
    list stays on disk and is mapped into memory. No clip is opened.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(os.path.abspath(Path(path).expanduser()))  # keys must not depend on how the folder is spelt
        if not path.exists():
            raise NoClips(
                f"data.path={path} does not exist. Give a video, a folder of videos, a folder of numbered images, "
                "or a text file with one path a line: data.path=FOLDER"
            )
        if not (path.is_file() or path.is_dir()):
            raise NoClips(
                f"data.path={path} is neither a file nor a folder: give a video, a folder or a list of videos, "
                "data.path=FOLDER"
            )
        if path.is_file() and path.suffix.lower() in LIST_SUFFIXES:
            self.root = path.parent
            self._bytes, self._starts, self._ends = _map_lines(path)
        else:
            self.root = path if path.is_dir() and not _is_image_folder(path) else path.parent
            self._bytes, self._starts, self._ends = _pack(_walk(path))
        if len(self._starts) == 0:
            raise NoClips(
                f"data.path={path} holds no video ({', '.join(sorted(VIDEO_SUFFIXES))}) and no folder of numbered "
                "images. List the folder with ls, or give another one: data.path=FOLDER"
            )

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Path:
        line = bytes(self._bytes[self._starts[index] : self._ends[index]])
        return self.root / os.fsdecode(line.strip())

    def key(self, index: int) -> str:
        """Unique name of the clip: its path below the root, or the path as listed if it lies elsewhere."""
        path = self[index]
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.as_posix()


def _is_image_name(name: str) -> bool:
    """Whether a file name ends in a number and an image suffix: 000017.png, frame_17.jpg."""
    stem, suffix = os.path.splitext(name)
    return suffix.lower() in IMAGE_SUFFIXES and stem[-1:].isdecimal()


def _is_image_folder(folder: str | Path) -> bool:
    """Whether a folder holds images, and all of its images are numbered."""
    with os.scandir(folder) as entries:
        images = [entry.name for entry in entries if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES]
    return bool(images) and all(_is_image_name(name) for name in images)


def _walk(path: Path) -> Iterator[str]:
    """Clips under `path`, depth first and sorted by name within each folder; names that begin with
    a dot are skipped.
    """
    if path.is_file():
        yield os.fspath(path)
        return
    if _is_image_folder(path):
        yield os.fspath(path)
    with os.scandir(path) as scanned:
        entries = sorted((entry.name, entry.is_dir()) for entry in scanned if not entry.name.startswith("."))
    for name, is_folder in entries:
        if is_folder:
            yield from _walk(path / name)
        elif os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES:
            yield os.path.join(path, name)


def _pack(paths: Iterator[str]) -> tuple[memoryview, Int64[np.ndarray, "N"], Int64[np.ndarray, "N"]]:
    """All paths as one byte string, and where each starts and ends in it."""
    packed, ends = bytearray(), []
    for path in paths:
        packed += os.fsencode(path)
        ends.append(len(packed))
    ends = np.asarray(ends, np.int64)
    return memoryview(packed), np.concatenate([np.zeros(min(1, len(ends)), np.int64), ends[:-1]]), ends


def _map_lines(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The bytes of a text file, which stays on disk, and the start and end of each line that is not blank."""
    if path.stat().st_size == 0:
        return np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64)
    text = np.memmap(path, np.uint8, "r")
    breaks = [np.flatnonzero(text[at : at + CHUNK] == ord("\n")) + at for at in range(0, len(text), CHUNK)]
    ends = np.concatenate([*breaks, [len(text)]]).astype(np.int64)
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)
    filled = ends > starts
    # Lines of a carriage return or a space alone are blank, too.
    short = np.flatnonzero(filled & (ends - starts <= 2))
    filled[short] = [bool(bytes(text[starts[i] : ends[i]]).strip()) for i in short]
    return text, starts[filled], ends[filled]


# ---- numbered images: 000000.png, 000001.png, ... ----


def numbered_images(folder: Path) -> tuple[list[Path], Int64[np.ndarray, "T"]]:
    """Images in the order of their numbers, and the numbers. Raises UnreadableClip if a number is
    missing or comes twice.
    """
    try:
        names = [entry.name for entry in folder.iterdir() if _is_image_name(entry.name)]
    except OSError as error:
        raise_if_out_of_files(error)
        raise UnreadableClip(folder, f"it can't be opened ({error.strerror}): is the disk mounted?") from error
    if not names:
        raise UnreadableClip(folder, "it holds no numbered images (000000.png, 000001.png, ...)")
    digits = [re.search(r"(\d+)\.[^.]+$", name).group(1) for name in names]
    if longest := [name for name, number in zip(names, digits) if len(number) > MOST_DIGITS]:
        raise UnreadableClip(
            folder, f"{longest[0]} has a number of more than {MOST_DIGITS} digits: renumber the images"
        )
    numbers = np.array([int(number) for number in digits], np.int64)
    order = np.argsort(numbers, kind="stable")
    numbers = numbers[order]
    steps = np.diff(numbers)
    if (steps == 0).any():
        twice = int(numbers[int(np.flatnonzero(steps == 0)[0])])
        raise UnreadableClip(
            folder, f"two images have the number {twice}: keep the images of one camera in each folder"
        )
    if (steps > 1).any():
        before = int(numbers[int(np.flatnonzero(steps > 1)[0])])
        missing = int((steps - 1).sum())
        raise UnreadableClip(
            folder,
            f"image {before + 1} is missing ({missing} of {int(numbers[-1] - numbers[0]) + 1} are). Restore it, split "
            f"the folder there, or renumber the images and write {TIMES} with the time of each of them",
        )
    return [folder / names[k] for k in order], numbers


def image_times(folder: Path, numbers: Int64[np.ndarray, "T"], images_hz: float | None) -> Float64[np.ndarray, "T"]:
    """Seconds of every image: from times.txt if the folder has one, else number / images_hz."""
    path = folder / TIMES
    if path.is_file():
        return read_times(path, len(numbers))
    if images_hz is None:
        raise ConfigError(
            f"{folder}: the rate of its images is unknown. Give data.options.images_hz=10, or write {path} with one "
            "time a line"
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
        raise UnreadableClip(
            path, f"it holds {counted(len(times), 'time')} for {counted(count, 'image')}: write one line for each image"
        )
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise UnreadableClip(path, "the times must be finite and grow from line to line")
    return times


def read_images(
    paths: list[Path], times_s: Float64[np.ndarray, "T"], size: tuple[int, int], fit: str
) -> Iterator[tuple[float, UInt8[np.ndarray, "H W 3"], Stored]]:
    """Time, RGB at `size` and stored shape of every image, as `video.decode` gives them for a video."""
    for path, time_s in zip(paths, times_s):
        picture = _load_image(path)
        yield float(time_s), fitted(picture, size, fit), Stored(*picture.shape[:2])


def _load_image(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """One image as RGB; a grey one gets three equal channels. Raises UnreadableClip."""
    try:
        packed = np.fromfile(path, np.uint8)
    except OSError as error:
        raise_if_out_of_files(error)
        raise UnreadableClip(path, f"it can't be opened ({error.strerror})") from error
    picture = None
    with suppress(cv2.error, *PICTURE_DAMAGE), opened_picture(BytesIO(packed)):  # first: is it too large?
        picture = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    if picture is None:
        raise UnreadableClip(
            path,
            f"not a readable image ({counted(len(packed), 'byte')}): copy it again, or remove the folder from the list",
        )
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
