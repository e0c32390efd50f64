"""Sensor files of recorded scenes: camera images (JPEG), point clouds (PCD), and which of them are there.

Below scenes.py, which puts them into a Scene; the built-in world writes point clouds in the same
layout. Damaged files are named in the error, and half a picture never passes for a whole one.
Points come in the file's own frame, which for NAVSIM is the ego frame of their own moment.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from latentdrive.counting import counted
from latentdrive.data.picture_files import PICTURE_DAMAGE, opened_picture
from latentdrive.errors import UnreadableScene, WrongShape, raise_if_out_of_files
from latentdrive.files import write_atomic
from latentdrive.types import FROZEN

Size = tuple[int, int]  # height, width in pixels

POINT_FIELDS = ("x", "y", "z", "intensity", "ring", "lidar_info")  # rows of a point array, in this order
POINT_LAYOUT = np.dtype([(name, "<f4" if k < 4 else "u1") for k, name in enumerate(POINT_FIELDS)])  # OpenScene's
HEADER_KEYS = ("FIELDS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT", "VIEWPOINT", "POINTS", "DATA")
HEADER_BYTES = 4096  # a header has a few hundred bytes; everything after this is data
NUMBER_TYPES = {
    "F": {4: "<f4", 8: "<f8"},
    "U": {1: "u1", 2: "<u2", 4: "<u4", 8: "<u8"},
    "I": {1: "i1", 2: "<i2", 4: "<i4", 8: "<i8"},
}


@dataclass(**FROZEN)
class SensorFiles:
    """Files of one sensor.

    needed: by the scenes that were checked. absent: how many of these. example: one absent file.
    """

    needed: int
    absent: int
    example: str


@dataclass(**FROZEN)
class _PointHeader:
    """record: layout of one point. points: how many there should be. start: byte of the first one."""

    record: np.dtype
    points: int
    start: int


def read_image(path: str | Path, at_least: Size | None) -> tuple[UInt8[np.ndarray, "H W 3"], Size]:
    """The picture as RGB, decoded by Pillow as in the NAVSIM devkit, and its stored size.

    at_least: decode at 1/2, 1/4 or 1/8 of the size, which is many times faster, as long as height
    and width stay at or above these; None: as stored. Raises UnreadableScene, with the file's name,
    if it is absent, cut short, or no image.
    """
    with _opened(path) as image:
        stored = (image.height, image.width)
        if at_least is not None:
            image.draft("RGB", (at_least[1], at_least[0]))
        return np.asarray(image.convert("RGB")), stored


def image_size(path: str | Path) -> Size:
    """The stored size, from the file's header alone. Raises UnreadableScene as `read_image` does."""
    with _opened(path) as image:
        return image.height, image.width


def read_pcd(path: str | Path) -> Float32[np.ndarray, "6 n"]:
    """All points, with rows POINT_FIELDS (x, y, z in metres), whatever the order and number types in the file.

    Raises UnreadableScene, with the file's name, if it can't be opened, is cut short or empty,
    lacks a field or a header line, or stores its points as text or compressed.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise_if_out_of_files(error)
        raise UnreadableScene(path, f"the point cloud can't be opened ({error.strerror})") from error
    header = _point_header(path, content)
    stored = (len(content) - header.start) // header.record.itemsize
    if stored < header.points:
        raise UnreadableScene(
            path,
            f"it is cut short: {stored} of the {counted(header.points, 'point')} that its header announces. Copy "
            "it again",
        )
    if header.points == 0:
        raise UnreadableScene(path, "the point cloud is empty: copy it again")
    table = np.frombuffer(content, header.record, count=header.points, offset=header.start)
    points = np.empty((len(POINT_FIELDS), header.points), np.float32)
    for row, name in enumerate(POINT_FIELDS):
        points[row] = table[name]
    return points


def write_pcd(path: str | Path, points: Float32[np.ndarray, "6 n"]) -> None:
    """Write points in OpenScene's layout (four float32, then ring and lidar_info as bytes), whole or not at all.

    Raises WrongShape unless ring and lidar_info are whole numbers from 0 to 255.
    """
    points = np.asarray(points)
    if points.ndim != 2 or len(points) != len(POINT_FIELDS):
        raise WrongShape(f"{path}: points must be [6, n] ({', '.join(POINT_FIELDS)}), got shape {points.shape}")
    labels = points[4:]
    if not ((labels >= 0) & (labels <= 255) & (labels == np.round(labels))).all():
        raise WrongShape(f"{path}: ring and lidar_info must be whole numbers from 0 to 255")
    table = np.empty(points.shape[1], POINT_LAYOUT)
    for row, name in enumerate(POINT_FIELDS):
        table[name] = points[row]
    kinds = [POINT_LAYOUT[name] for name in POINT_FIELDS]
    lines = [
        "# .PCD v0.7 - Point Cloud Data file format",
        "VERSION 0.7",
        f"FIELDS {' '.join(POINT_FIELDS)}",
        f"SIZE {' '.join(str(kind.itemsize) for kind in kinds)}",
        f"TYPE {' '.join(kind.kind.upper() for kind in kinds)}",
        f"COUNT {' '.join('1' for _ in kinds)}",
        f"WIDTH {len(table)}",
        "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(table)}",
        "DATA binary",
    ]
    content = ("\n".join(lines) + "\n").encode("ascii") + table.tobytes()
    write_atomic(path, lambda new: new.write_bytes(content))


def missing_files(folder: Path, needed: Mapping[str, Iterable[str]]) -> dict[str, SensorFiles]:
    """Which files are absent. needed: paths below `folder`, by sensor. Folders are listed; no file is opened."""
    listed: dict[str, set[str]] = {}
    files = {}
    for sensor, paths in needed.items():
        distinct = sorted(set(paths))
        absent = [path for path in distinct if not is_there(folder, path, listed)]
        files[sensor] = SensorFiles(needed=len(distinct), absent=len(absent), example=absent[0] if absent else "")
    return files


def is_there(folder: Path, path: str, listed: dict[str, set[str]]) -> bool:
    """Whether `path` below `folder` exists. listed: file names by folder; each folder is listed once and added here."""
    parent, _, name = path.rpartition("/")
    if parent not in listed:
        listed[parent] = _names(folder / parent)
    return bool(name) and name in listed[parent]


def _names(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(folder)}
    except OSError as error:
        raise_if_out_of_files(error)
        return set()


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    try:
        with opened_picture(path) as image:
            yield image
    except FileNotFoundError as error:
        raise UnreadableScene(
            path, "the image is not there: download this sensor, or ask for fewer cameras (data.scenes.cameras)"
        ) from error
    except PICTURE_DAMAGE as error:
        raise_if_out_of_files(error)
        raise UnreadableScene(path, f"the image is damaged ({_without_path(error)}): copy it again") from error


def _without_path(error: Exception) -> str:
    """Pillow's message without the path, which the error names already."""
    return str(error).split(" '/")[0].split("\n")[0] or type(error).__name__


def _point_header(path: Path, content: bytes) -> _PointHeader:
    lines, start = _header_lines(path, content)
    if missing := [key for key in HEADER_KEYS if key not in lines]:
        raise UnreadableScene(path, f"its header has no line {', '.join(missing)}: it is no intact PCD file")
    if lines["DATA"] != ["binary"]:
        raise UnreadableScene(path, f"DATA {' '.join(lines['DATA'])} can't be read, only DATA binary: convert the file")
    names = lines["FIELDS"]
    try:
        kinds = [NUMBER_TYPES[kind][int(size)] for kind, size in zip(lines["TYPE"], lines["SIZE"], strict=True)]
        counts = [int(count) for count in lines["COUNT"]]
        points, width, height = (int(lines[key][0]) for key in ("POINTS", "WIDTH", "HEIGHT"))
    except (KeyError, ValueError, IndexError):
        raise UnreadableScene(
            path, "its header does not say how a point is stored (SIZE, TYPE, COUNT, POINTS): copy the file again"
        ) from None
    if not len(names) == len(kinds) == len(counts) or any(count != 1 for count in counts):
        raise UnreadableScene(path, f"every field must have one SIZE and TYPE, and COUNT 1; FIELDS {' '.join(names)}")
    if points != width * height or points < 0:
        raise UnreadableScene(
            path, f"POINTS {points} are not WIDTH {width} x HEIGHT {height}: it is no intact PCD file"
        )
    if lacking := [name for name in POINT_FIELDS if names.count(name) != 1]:
        raise UnreadableScene(path, f"field {', '.join(lacking)} must be there once; it has {' '.join(names)}")
    # Other fields are skipped, so they get names that can't clash: a file may use one name twice.
    labels = [name if name in POINT_FIELDS else f"_{k}" for k, name in enumerate(names)]
    return _PointHeader(record=np.dtype(list(zip(labels, kinds))), points=points, start=start)


def _header_lines(path: Path, content: bytes) -> tuple[dict[str, list[str]], int]:
    """The header's lines up to DATA, as words by the line's first word, and the byte where the data begins."""
    lines: dict[str, list[str]] = {}
    start = 0
    while (end := content.find(b"\n", start, HEADER_BYTES)) >= 0:
        words = content[start:end].decode("ascii", errors="replace").split()
        start = end + 1
        if words and not words[0].startswith("#"):
            lines[words[0]] = words[1:]
            if words[0] == "DATA":
                return lines, start
    raise UnreadableScene(
        path, f"no line DATA in its first {HEADER_BYTES} bytes: it is no PCD file, or cut short. Copy it again"
    )
