"""Point clouds on disk: binary PCD files as OpenScene merges them from five lidars.

Beside sensor_images.py; navsim_scenes.py reads them into scenes, the built-in world writes them. Points are given in the
frame that the file holds them in: for NAVSIM that is the ego frame of their own moment.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from latentdrive.data.unreadable import raise_if_out_of_files
from latentdrive.errors import UnreadableScene, WrongShape
from latentdrive.files import write_atomic
from latentdrive.types import FROZEN

FIELDS = ("x", "y", "z", "intensity", "ring", "lidar_info")  # rows of what is read, in this order
LAYOUT = np.dtype([(name, "<f4" if k < 4 else "u1") for k, name in enumerate(FIELDS)])  # of what is written
KEYS = ("FIELDS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT", "VIEWPOINT", "POINTS", "DATA")
NUMBERS = {"F": {4: "<f4", 8: "<f8"}, "U": {1: "u1", 2: "<u2", 4: "<u4", 8: "<u8"}, "I": {1: "i1", 2: "<i2", 4: "<i4", 8: "<i8"}}  # fmt: skip
HEADER_BYTES = 4096  # the header is a few hundred bytes; what follows is data


@dataclass(**FROZEN)
class _Header:
    """record: layout of one point. points: how many there should be. start: bytes before the first."""

    record: np.dtype
    points: int
    start: int


def read_pcd(path: str | Path) -> Float32[np.ndarray, "6 n"]:
    """x, y, z (metres), intensity, ring and lidar_info of every point, whatever their order and number type in the file.

    Raises UnreadableScene that names the file: it can't be opened, is cut short, is empty, lacks a field or a line of the
    header, or holds its points as text or compressed.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise_if_out_of_files(error)
        raise UnreadableScene(path, f"the point cloud can't be opened ({error.strerror})") from error
    header = _header(path, content)
    held = (len(content) - header.start) // header.record.itemsize
    if held < header.points:
        raise UnreadableScene(
            path, f"it is cut short: {held} of the {header.points} points that its header announces. Copy it again"
        )
    if header.points == 0:
        raise UnreadableScene(path, "the point cloud is empty: copy it again")
    table = np.frombuffer(content, header.record, count=header.points, offset=header.start)
    points = np.empty((len(FIELDS), header.points), np.float32)
    for row, name in enumerate(FIELDS):
        points[row] = table[name]
    return points


def write_pcd(path: str | Path, points: Float32[np.ndarray, "6 n"]) -> None:
    """The same points as a file in OpenScene's layout: four float32, then ring and lidar_info as bytes. Atomic.

    Raises WrongShape where ring or lidar_info is no whole number from 0 to 255.
    """
    points = np.asarray(points)
    if points.ndim != 2 or len(points) != len(FIELDS):
        raise WrongShape(f"{path}: points must be [6, n] ({', '.join(FIELDS)}), got shape {points.shape}")
    labels = points[4:]
    if not ((labels >= 0) & (labels <= 255) & (labels == np.round(labels))).all():
        raise WrongShape(f"{path}: ring and lidar_info must be whole numbers from 0 to 255")
    table = np.empty(points.shape[1], LAYOUT)
    for row, name in enumerate(FIELDS):
        table[name] = points[row]
    kinds = [LAYOUT[name] for name in FIELDS]
    lines = [
        "# .PCD v0.7 - Point Cloud Data file format",
        "VERSION 0.7",
        f"FIELDS {' '.join(FIELDS)}",
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


def _header(path: Path, content: bytes) -> _Header:
    lines, start = _header_lines(path, content)
    if missing := [key for key in KEYS if key not in lines]:
        raise UnreadableScene(path, f"its header has no line {', '.join(missing)}: it is no intact PCD file")
    if lines["DATA"] != ["binary"]:
        raise UnreadableScene(path, f"DATA {' '.join(lines['DATA'])} can't be read, only DATA binary: convert the file")
    names = lines["FIELDS"]
    try:
        kinds = [NUMBERS[kind][int(size)] for kind, size in zip(lines["TYPE"], lines["SIZE"], strict=True)]
        counts = [int(count) for count in lines["COUNT"]]
        points, width, height = (int(lines[key][0]) for key in ("POINTS", "WIDTH", "HEIGHT"))
    except (KeyError, ValueError, IndexError):
        raise UnreadableScene(
            path, "its header does not say how a point is stored (SIZE, TYPE, COUNT, POINTS)"
        ) from None
    if not len(names) == len(kinds) == len(counts) or any(count != 1 for count in counts):
        raise UnreadableScene(path, f"every field must have one SIZE and TYPE, and COUNT 1; FIELDS {' '.join(names)}")
    if points != width * height or points < 0:
        raise UnreadableScene(
            path, f"POINTS {points} are not WIDTH {width} x HEIGHT {height}: it is no intact PCD file"
        )
    if lacking := [name for name in FIELDS if names.count(name) != 1]:
        raise UnreadableScene(path, f"field {', '.join(lacking)} must be there once; it has {' '.join(names)}")
    # Other fields may bear any name, even one twice: they are stepped over.
    labels = [name if name in FIELDS else f"_{k}" for k, name in enumerate(names)]
    return _Header(record=np.dtype(list(zip(labels, kinds))), points=points, start=start)


def _header_lines(path: Path, content: bytes) -> tuple[dict[str, list[str]], int]:
    """Words of every line up to DATA by their first word, and where the data begins."""
    lines: dict[str, list[str]] = {}
    start = 0
    while (end := content.find(b"\n", start, HEADER_BYTES)) >= 0:
        words = content[start:end].decode("ascii", errors="replace").split()
        start = end + 1
        if words and not words[0].startswith("#"):
            lines[words[0]] = words[1:]
            if words[0] == "DATA":
                return lines, start
    raise UnreadableScene(path, "no line DATA in its first 4096 bytes: it is no PCD file, or cut short. Copy it again")
