"""The folder of a NAVSIM data split: where logs and sensors lie, and what is kept of the logs.

Between log.py, which holds one log in columns, and the sources of scenes and clips. Columns and
index lie in a cache folder; log_reading.py brings them up to date.
"""

import hashlib
from dataclasses import fields
from pathlib import Path

import numpy as np

from latentdrive.counting import counted
from latentdrive.data.navsim.index import NavsimIndex
from latentdrive.data.navsim.log import FORMAT, NavsimLog, open_log, stamp_of
from latentdrive.errors import NoScenes, raise_if_out_of_files
from latentdrive.files import read_arrays, write_atomic

LOGS, BLOBS = "navsim_logs", "sensor_blobs"
LAYOUT = f"{LOGS}/SPLIT/LOG.pkl and {BLOBS}/SPLIT/LOG/CAM_F0/*.jpg (SPLIT is mini, trainval, test, ...)"
INDEX, COLUMNS = "index.npz", "logs"  # a file and a folder in the cache folder of a data split


def navsim_folders(path: str | Path, data_split: str) -> tuple[Path, Path]:
    """Folders of a data split's logs and of its sensor blobs; the second one may be absent.

    Raises NoScenes that says which folder is missing and what it must hold.
    """
    root = Path(path).expanduser()
    logs = root / LOGS / data_split
    if logs.is_dir():
        return logs, root / BLOBS / data_split
    for folder in (root, root / LOGS):
        if not folder.is_dir():
            below = "" if root.is_absolute() else f" (below {Path.cwd()})"
            raise NoScenes(
                f"there is no folder {folder}{below}; data.path={path} must name a folder that holds {LAYOUT}. "
                "Give that folder: data.path=FOLDER"
            )
    others = ", ".join(sorted(entry.name for entry in (root / LOGS).iterdir() if entry.is_dir())) or "no folder at all"
    raise NoScenes(
        f"there is no folder {logs}; {root / LOGS} holds {others}. Choose one of these (data.source.data_split), or "
        f"another data.path with {LAYOUT}"
    )


def cache_name(folder: Path) -> str:
    """Name for what is cached of a folder. It differs between folders of one name at different places."""
    return f"{folder.name}-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:10]}"


class LogFolder:
    """The logs of a data split and their cache.

    folder: navsim_logs/SPLIT. cache: below it, this folder's own cache is made. strangers: other
    entries of the folder, known after `stamps`.
    """

    def __init__(self, folder: Path, *, cache: Path) -> None:
        self.folder, self.cache = folder, cache / cache_name(folder)
        self.strangers: tuple[str, ...] = ()

    def path(self, name: str) -> Path:
        """A log's pickle."""
        return self.folder / f"{name}.pkl"

    def open(self, name: str) -> NavsimLog:
        """One log. Raises UnreadableLogFile."""
        return open_log(self.path(name), self.archive(name))

    def save(self, index: NavsimIndex) -> None:
        """Keep an index of this folder for the next time."""
        arrays = {column.name: getattr(index, column.name) for column in fields(NavsimIndex)}

        def write(new: Path) -> None:
            with open(new, "wb") as file:
                np.savez(file, **arrays)

        write_atomic(self.cache / INDEX, write)

    def archive(self, name: str) -> Path:
        """Where the columns of a log are kept."""
        return self.cache / COLUMNS / f"{name}.npz"

    def stamps(self) -> dict[str, tuple[int, int, int]]:
        """The stamp of every log, in the order of their names. Other entries of the folder become `strangers`."""
        try:
            entries = sorted(self.folder.iterdir())
            logs = {entry.stem: stamp_of(entry) for entry in entries if entry.suffix == ".pkl" and entry.is_file()}
        except OSError as error:
            raise_if_out_of_files(error)
            raise NoScenes(f"{self.folder} can't be opened ({error.strerror}): is the disk mounted?") from error
        self.strangers = tuple(entry.name for entry in entries if entry.suffix != ".pkl" or entry.stem not in logs)
        if not logs:
            raise NoScenes(
                f"{self.folder} holds no log (NAME.pkl) among its {counted(len(entries), 'entry', 'entries')}: "
                "unpack OpenScene's meta data into it"
            )
        return logs

    def stored_index(self) -> NavsimIndex | None:
        """The stored index; None if there is none, or if it is damaged or of another format."""
        try:
            index = NavsimIndex(**read_arrays(self.cache / INDEX))
        except (OSError, ValueError, TypeError) as error:
            raise_if_out_of_files(error)
            return None
        return index if (index.stamps[:, 0] == FORMAT).all() else None
