"""A list of clip paths that may be a million long: bytes and offsets, never a list of Path objects.

First thing data/clips/video.py does: what lies under `data.path`? A file, a folder searched in sorted order, a folder of
numbered images, or a text file with one path a line. Nothing is opened here but the text file.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from latentdrive.errors import NoClips

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".wmv", ".flv", ".gif"}
    | {".hevc", ".h265", ".265", ".h264", ".264"}
)
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
LIST_SUFFIXES = frozenset({".txt", ".lst", ".list"})
CHUNK = 1 << 24  # bytes of a list file that are looked at together


class ClipList:
    """Paths by index. `root` is the folder that keys are relative to.

    Holds one byte string of all paths and int64 offsets (about 100 bytes a clip); a text list stays on disk and is mapped.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(os.path.abspath(Path(path).expanduser()))  # keys are the same however the folder is spelt
        if not path.exists():
            raise NoClips(
                f"data.path={path} does not exist. Give a video, a folder of videos, a folder of numbered images, "
                "or a text file with one path a line: data.path=FOLDER"
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
                "images. Look there with ls, or give another folder: data.path=FOLDER"
            )

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Path:
        line = bytes(self._bytes[self._starts[index] : self._ends[index]])
        return self.root / os.fsdecode(line.strip())

    def key(self, index: int) -> str:
        """Unique name of the clip: its path relative to the root, or as listed where it lies elsewhere."""
        path = self[index]
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.as_posix()


def is_image_name(name: str) -> bool:
    """Whether a file name ends in a number and an image suffix: 000017.png, frame_17.jpg."""
    stem, suffix = os.path.splitext(name)
    return suffix.lower() in IMAGE_SUFFIXES and stem[-1:].isdigit()


def _is_image_folder(folder: str | Path) -> bool:
    """Whether a folder holds images, and all of its images are numbered."""
    with os.scandir(folder) as entries:
        images = [entry.name for entry in entries if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES]
    return bool(images) and all(is_image_name(name) for name in images)


def _walk(path: Path) -> Iterator[str]:
    """Clips under `path`, depth first, sorted by name within each folder; names that begin with a dot are left out."""
    if path.is_file():
        yield os.fspath(path)
        return
    if _is_image_folder(path):
        yield os.fspath(path)
    with os.scandir(path) as found:
        entries = sorted((entry.name, entry.is_dir()) for entry in found if not entry.name.startswith("."))
    for name, is_folder in entries:
        if is_folder:
            yield from _walk(path / name)
        elif os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES:
            yield os.path.join(path, name)


def _pack(paths: Iterator[str]) -> tuple[memoryview, np.ndarray, np.ndarray]:
    packed, ends = bytearray(), []
    for path in paths:
        packed += os.fsencode(path)
        ends.append(len(packed))
    ends = np.asarray(ends, np.int64)
    return memoryview(packed), np.concatenate([np.zeros(min(1, len(ends)), np.int64), ends[:-1]]), ends


def _map_lines(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start and end of each line that is not blank; the file itself stays on disk."""
    if path.stat().st_size == 0:
        return np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64)
    text = np.memmap(path, np.uint8, "r")
    breaks = [np.flatnonzero(text[at : at + CHUNK] == ord("\n")) + at for at in range(0, len(text), CHUNK)]
    ends = np.concatenate([*breaks, [len(text)]]).astype(np.int64)
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)
    filled = ends > starts
    # A line of one carriage return or blank is no path either.
    lone = np.flatnonzero(filled & (ends - starts <= 2))
    filled[lone] = [bool(bytes(text[starts[i] : ends[i]]).strip()) for i in lone]
    return text, starts[filled], ends[filled]
