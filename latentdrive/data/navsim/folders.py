"""Where things lie in a folder of OpenScene data, and which sensor files of it are there.

Below navsim_logs.py, navsim_synthetic.py and navsim_clips.py. Most people have the logs and a part of the sensors.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from latentdrive.data.unreadable import raise_if_out_of_files
from latentdrive.errors import NoScenes
from latentdrive.types import FROZEN

LOGS, BLOBS = "navsim_logs", "sensor_blobs"
LAYOUT = f"it must hold {LOGS}/SPLIT/LOG.pkl and {BLOBS}/SPLIT/LOG/CAM_F0/*.jpg (SPLIT is mini, trainval, test, ...)"


@dataclass(**FROZEN)
class SensorFiles:
    """Files of one sensor. needed: by the scenes looked at. absent: of those. example: one that is not there."""

    needed: int
    absent: int
    example: str


def navsim_folders(path: str | Path, data_split: str) -> tuple[Path, Path]:
    """Folder of the logs and of the sensor blobs of a data split; the second one need not be there.

    Raises NoScenes that says which folder is missing and what must be there.
    """
    root = Path(path).expanduser()
    logs = root / LOGS / data_split
    if logs.is_dir():
        return logs, root / BLOBS / data_split
    for folder in (root, root / LOGS):
        if not folder.is_dir():
            where = "" if root.is_absolute() else f" (below {Path.cwd()})"
            raise NoScenes(
                f"there is no folder {folder}{where}; of data.path={path}: {LAYOUT}. Give that folder: data.path=FOLDER"
            )
    there = ", ".join(sorted(one.name for one in (root / LOGS).iterdir() if one.is_dir())) or "no folder at all"
    raise NoScenes(
        f"there is no folder {logs}; {root / LOGS} holds {there}. Choose one of them (data.scenes.data_split), or {LAYOUT}"
    )


def cache_name(folder: Path) -> str:
    """Name of what is cached of a folder; folders of one name at different places have different ones."""
    return f"{folder.name}-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:10]}"


def missing_files(folder: Path, needed: Mapping[str, Iterable[str]]) -> dict[str, SensorFiles]:
    """Which of the paths (below `folder`, by sensor) are not there; no file is opened."""
    listed: dict[str, set[str]] = {}
    found = {}
    for sensor, paths in needed.items():
        asked = sorted(set(paths))
        absent = [path for path in asked if not is_there(folder, path, listed)]
        found[sensor] = SensorFiles(needed=len(asked), absent=len(absent), example=absent[0] if absent else "")
    return found


def is_there(folder: Path, path: str, listed: dict[str, set[str]]) -> bool:
    """Whether a file is in its folder, which is listed once. listed: what was seen so far, by folder."""
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
