"""The folder of a NAVSIM data split: where logs and sensors lie, and the logs themselves, read once and indexed.

Between log.py, which holds one log in columns, and the sources of scenes and clips. New logs are
read by several processes. Columns and index lie in a cache folder, and are remade for exactly the
logs whose size or time of change differs.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from latentdrive.data.navsim.index import LogRows, NavsimIndex
from latentdrive.data.navsim.log import FORMAT, NavsimLog, open_log, stamp_of
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.errors import NoScenes, UnreadableLogFile, WorkerDied, raise_if_out_of_files
from latentdrive.files import read_arrays, write_atomic
from latentdrive.progress import Progress
from latentdrive.worker_pool import run_jobs

LOGS, BLOBS = "navsim_logs", "sensor_blobs"
LAYOUT = f"{LOGS}/SPLIT/LOG.pkl and {BLOBS}/SPLIT/LOG/CAM_F0/*.jpg (SPLIT is mini, trainval, test, ...)"
INDEX, COLUMNS = "index.npz", "logs"  # in the cache folder of a data split
FEW = 4  # so few logs are read in this process
Job = tuple[Path, Path]  # a log's pickle and its archive


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
        f"there is no folder {logs}; {root / LOGS} holds {others}. Choose one of these (data.scenes.data_split), or "
        f"another data.path with {LAYOUT}"
    )


def cache_name(folder: Path) -> str:
    """Name for what is cached of a folder. It differs between folders of one name at different places."""
    return f"{folder.name}-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:10]}"


class LogFolder:
    """The logs of a data split and their cache.

    folder: navsim_logs/SPLIT. cache: below it, this folder's own cache is made. processes: how many
    read new logs at once. max_unreadable: share of logs that may be unreadable. progress: shows how
    far reading has come, or None. strangers: other entries of the folder, known after `index`.
    """

    def __init__(
        self, folder: Path, *, cache: Path, processes: int, max_unreadable: float, progress: Progress | None = None
    ) -> None:
        self.folder, self.processes, self.max_unreadable, self.progress = folder, processes, max_unreadable, progress
        self.cache = cache / cache_name(folder)
        self.strangers: tuple[str, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes, which show no progress."""
        return self.__dict__ | {"progress": None}

    def path(self, name: str) -> Path:
        """A log's pickle."""
        return self.folder / f"{name}.pkl"

    def open(self, name: str) -> NavsimLog:
        """One log. Raises UnreadableLogFile."""
        return open_log(self.path(name), self._archive(name))

    def index(self) -> NavsimIndex:
        """The index of all logs. New and changed logs are read first.

        Raises NoScenes if there is no log, and TooManyUnreadable if more than max_unreadable can't be read.
        """
        stamps = self._stamps()
        index = self._stored()
        known = {} if index is None else {index.name(k): k for k in range(len(index))}
        failed = {} if index is None else index.unreadable_logs()  # read again: the disk may have been repaired since
        new = [
            name
            for name in stamps
            if name not in known or name in failed or tuple(index.stamps[known[name]].tolist()) != stamps[name]
        ]
        if index is None or new or len(known) != len(stamps):
            rows = dict(self._read(new))
            rows = {name: rows[name] if name in rows else index.rows(known[name]) for name in stamps}
            index = NavsimIndex.of(rows, stamps)
            self.save(index)
        bound = UnreadableLog(clips=len(index), max_unreadable=self.max_unreadable, file=None)
        for number, (name, reason) in enumerate(index.unreadable_logs().items()):
            bound.add(number, UnreadableLogFile(self.path(name), reason))
        return index

    def save(self, index: NavsimIndex) -> None:
        """Keep an index of this folder for the next time."""
        arrays = {column.name: getattr(index, column.name) for column in fields(NavsimIndex)}

        def write(new: Path) -> None:
            with open(new, "wb") as file:
                np.savez(file, **arrays)

        write_atomic(self.cache / INDEX, write)

    def _archive(self, name: str) -> Path:
        return self.cache / COLUMNS / f"{name}.npz"

    def _stamps(self) -> dict[str, tuple[int, int, int]]:
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
                f"{self.folder} holds no log (NAME.pkl) among its {len(entries)} entries: unpack OpenScene's meta data "
                "into it"
            )
        return logs

    def _stored(self) -> NavsimIndex | None:
        """The stored index; None if there is none, or if it is damaged or of another format."""
        try:
            index = NavsimIndex(**read_arrays(self.cache / INDEX))
        except (OSError, ValueError, TypeError) as error:
            raise_if_out_of_files(error)
            return None
        return index if (index.stamps[:, 0] == FORMAT).all() else None

    def _read(self, names: Sequence[str]) -> Iterator[tuple[str, LogRows]]:
        jobs = [(self.path(name), self._archive(name)) for name in names]
        processes = self.processes if len(jobs) > FEW else 1
        for (path, _), rows in run_jobs(_rows, jobs, processes=processes, progress=self.progress, what="reading logs"):
            if isinstance(rows, WorkerDied):
                raise UnreadableLogFile(
                    path,
                    "the process that read this log was killed twice, perhaps for want of memory: lower the number of "
                    "processes, or remove the log, and run the same command again; logs that have been read are kept",
                )
            yield path.stem, rows


def _rows(job: Job) -> LogRows:
    """Rows of one log, which is read (and cached) for them."""
    path, archive = job
    try:
        return LogRows.of(open_log(path, archive))
    except UnreadableLogFile as error:
        return LogRows.nothing(error.reason)
