"""Reading NAVSIM logs into the cache: new and changed logs are read once, by several processes.

After log_folder.py, which says where logs and their cache lie.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from latentdrive.data.navsim.index import LogRows, NavsimIndex
from latentdrive.data.navsim.log import open_log
from latentdrive.data.navsim.log_folder import LogFolder
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.errors import UnreadableLogFile, WorkerDied
from latentdrive.progress import Progress
from latentdrive.worker_pool import run_jobs

FEW = 4  # up to this many new logs are read without worker processes
Job = tuple[Path, Path]  # a log's pickle and its archive


def current_index(
    logs: LogFolder, *, processes: int, max_unreadable: float, progress: Progress | None = None
) -> NavsimIndex:
    """The index of all logs. Exactly the logs whose size or time of change differs are read first.

    processes: how many read new logs at once. max_unreadable: share of logs that may be unreadable.
    progress: shows how far reading has come, or None. Raises NoScenes if there is no log, and
    TooManyUnreadable if more than max_unreadable can't be read.
    """
    stamps, index = logs.stamps(), logs.stored_index()
    known = {} if index is None else {index.name(k): k for k in range(len(index))}
    failed = {} if index is None else index.unreadable_logs()  # read again: the disk may have been repaired since
    new = [
        name
        for name in stamps
        if name not in known or name in failed or tuple(index.stamps[known[name]].tolist()) != stamps[name]
    ]
    if index is None or new or len(known) != len(stamps):
        rows = dict(_read(logs, new, processes=processes, progress=progress))
        rows = {name: rows[name] if name in rows else index.rows(known[name]) for name in stamps}
        index = NavsimIndex.of(rows, stamps)
        logs.save(index)
    bound = UnreadableLog(clips=len(index), max_unreadable=max_unreadable, file=None)
    for number, (name, reason) in enumerate(index.unreadable_logs().items()):
        bound.add(number, UnreadableLogFile(logs.path(name), reason))
    return index


def _read(
    logs: LogFolder, names: Sequence[str], *, processes: int, progress: Progress | None
) -> Iterator[tuple[str, LogRows]]:
    jobs = [(logs.path(name), logs.archive(name)) for name in names]
    processes = processes if len(jobs) > FEW else 1
    for (path, _), rows in run_jobs(_rows, jobs, processes=processes, progress=progress, what="reading logs"):
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
