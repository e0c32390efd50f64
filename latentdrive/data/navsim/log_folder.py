"""The log pickles of a NAVSIM data split: read once by several processes, kept in columns, and indexed.

Between navsim_log.py and navsim_logs.py. Columns and index lie in a cache folder; both are made anew for logs whose size or time
of change differs, and for them alone.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from latentdrive.data.navsim.folders import cache_name
from latentdrive.data.navsim.index import LogRows, NavsimIndex
from latentdrive.data.navsim.log import FORMAT, NavsimLog, open_log, stamp_of
from latentdrive.data.unreadable import UnreadableLog, raise_if_out_of_files
from latentdrive.errors import NoScenes, UnreadableLogFile
from latentdrive.files import read_arrays, write_atomic
from latentdrive.progress import Progress

INDEX, LOGS = "index.npz", "logs"  # in the cache folder of a data split
FEW = 4  # logs that are not worth starting processes for
Job = tuple[Path, Path]  # a log's pickle and its archive


class LogFolder:
    """The logs of a data split and their cache. folder: navsim_logs/SPLIT. cache: folder below which theirs is made.

    processes: how many read new logs at once. max_unreadable: share of logs that may be unreadable. progress: shows how far
    reading has come, or None. strangers: what else lies in the folder, known after `index`.
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
        """The index of all logs; what is new or changed is read first.

        Raises NoScenes where there is no log, TooManyUnreadable beyond the bound.
        """
        stamps = self._stamps()
        index = self._stored()
        known = {} if index is None else {index.name(k): k for k in range(len(index))}
        failed = {} if index is None else index.unreadable_logs()  # tried anew: a disk may have been mended since
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
        arrays = {one.name: getattr(index, one.name) for one in fields(NavsimIndex)}

        def write(new: Path) -> None:
            with open(new, "wb") as file:
                np.savez(file, **arrays)

        write_atomic(self.cache / INDEX, write)

    def _archive(self, name: str) -> Path:
        return self.cache / LOGS / f"{name}.npz"

    def _stamps(self) -> dict[str, tuple[int, int, int]]:
        """What every log is recognised by, in the order of their names; notes what else lies in the folder."""
        try:
            entries = sorted(self.folder.iterdir())
            logs = {one.stem: stamp_of(one) for one in entries if one.suffix == ".pkl" and one.is_file()}
        except OSError as error:
            raise_if_out_of_files(error)
            raise NoScenes(f"{self.folder} can't be opened ({error.strerror}): is the disk mounted?") from error
        self.strangers = tuple(one.name for one in entries if one.suffix != ".pkl" or one.stem not in logs)
        if not logs:
            raise NoScenes(
                f"{self.folder} holds no log (NAME.pkl), but {len(entries)} other entries: unpack OpenScene's meta data into it"
            )
        return logs

    def _stored(self) -> NavsimIndex | None:
        """The index of the last time; None where there is none, or one that is damaged or of another format."""
        try:
            index = NavsimIndex(**read_arrays(self.cache / INDEX))
        except (OSError, ValueError, TypeError) as error:
            raise_if_out_of_files(error)
            return None
        return index if (index.stamps[:, 0] == FORMAT).all() else None

    def _read(self, names: Sequence[str]) -> Iterator[tuple[str, LogRows]]:
        jobs = [(self.path(name), self._archive(name)) for name in names]
        with _mapped(self.processes if len(jobs) > FEW else 1) as results:
            done = results(jobs)
            if self.progress is not None and jobs:
                done = self.progress(done, what="reading logs", total=len(jobs))
            try:
                yield from done
            except BrokenProcessPool as error:
                raise UnreadableLogFile(
                    self.folder,
                    "a process that read logs was killed, for want of memory perhaps: lower the number of processes and run the "
                    "same command again; the logs that have been read are kept",
                ) from error


def _rows(job: Job) -> tuple[str, LogRows]:
    """Name and rows of one log, which is read (and cached) for it."""
    path, archive = job
    try:
        return path.stem, LogRows.of(open_log(path, archive))
    except UnreadableLogFile as error:
        return path.stem, LogRows.nothing(error.reason)


@contextmanager
def _mapped(processes: int) -> Iterator[Callable[[list[Job]], Iterator[tuple[str, LogRows]]]]:
    """A function that gives the `_rows` of every job, as they are ready; the pool ends with the block."""
    if processes <= 1:
        yield lambda jobs: map(_rows, jobs)
        return
    with ProcessPoolExecutor(processes) as pool:
        try:
            yield lambda jobs: (done.result() for done in as_completed([pool.submit(_rows, job) for job in jobs]))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
