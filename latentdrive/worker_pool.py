"""The one pool of worker processes: preparing scenes, reading logs and writing worlds all run their jobs here.

Workers are spawned and not forked, because the parent may hold threads of torch. A worker keeps
what its work opens (maps, logs, a renderer) from one job to the next, so its memory may grow: it is
watched.
"""

import math
import multiprocessing
import os
import pickle
import resource
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from latentdrive.counting import counted
from latentdrive.errors import WorkerDied
from latentdrive.progress import Progress

Job = TypeVar("Job")
Result = TypeVar("Result")
TRIES = 3  # pools in a row that may die before any job is done


def run_jobs(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    processes: int,
    memory_gb: float = math.inf,
    progress: Progress | None = None,
    what: str = "",
) -> Iterator[tuple[Job, Result | WorkerDied]]:
    """Yield every job with its result, in the order in which jobs finish.

    work: is pickled to the workers, and called in this process where `processes` is 1 or less. What
    it opens for many jobs it should keep on itself and leave out of its pickled state. memory_gb:
    bound on the resident memory of all workers together (shared libraries count once for each).
    Above it, workers end after their present jobs, and new ones take over; if the bound is reached
    at once again, there is one worker fewer. progress, what: how to show the finished jobs, and
    their name there.

    A job whose worker was killed is tried once more with a single worker; if that is killed too,
    the job's result is a WorkerDied, and the other jobs go on. An exception that `work` raises ends
    the pool and is raised here; one that can't be pickled and read back comes as a RuntimeError with
    its type and text, and so does a result that can't. Raises WorkerDied where workers die again and
    again before any job is done. Whatever ends the pool early, Ctrl+C too, ends its workers at once.
    """
    with closing(_results(work, jobs, processes, memory_gb)) as results:  # an error in `progress` ends them, too
        yield from results if progress is None or not jobs else progress(results, what=what, total=len(jobs))


def _results(
    work: Callable[[Job], Result], jobs: Sequence[Job], processes: int, memory_gb: float
) -> Iterator[tuple[Job, Result | WorkerDied]]:
    if processes <= 1:
        yield from ((job, work(job)) for job in jobs)
        return
    waiting, suspects = deque(jobs), deque()
    workers, failures = processes, 0
    while waiting or suspects:
        alone = not waiting
        queue, count = (suspects, 1) if alone else (waiting, min(workers, len(waiting)))
        done, reason = 0, None
        others = set(multiprocessing.active_children())
        pool = ProcessPoolExecutor(
            count, mp_context=multiprocessing.get_context("spawn"), initializer=_start, initargs=(work,)
        )
        pending: dict[Future, Any] = {}
        try:
            for result in _run(pool, queue, pending, count, memory_gb):
                done += 1
                yield result
            reason = "memory" if queue else None
        except BrokenProcessPool:
            reason = "killed"
            failures = failures + 1 if not done else 0
        finally:
            if reason is None and pending:  # an error, Ctrl+C, or nobody wants the other results
                for worker in set(multiprocessing.active_children()) - others:
                    worker.kill()
            pool.shutdown(wait=True, cancel_futures=True)
        if reason == "killed" and failures >= TRIES and not alone:
            raise WorkerDied(
                f"worker processes died {TRIES} times in a row before any of {counted(len(jobs), 'job')} was "
                "done: see their messages above, or set processes=1 to get the error itself"
            )
        if reason == "killed":
            lost = list(pending.values())
            if alone:
                yield from (
                    (job, WorkerDied("the process that worked on it was killed, perhaps for want of memory"))
                    for job in lost
                )
            else:
                suspects.extend(lost)
                workers = max(1, workers - 1)
        elif reason == "memory" and done <= 2 * count:
            workers = max(1, workers - 1)


def _run(
    pool: ProcessPoolExecutor, queue: deque, pending: dict[Future, Any], count: int, memory_gb: float
) -> Iterator[tuple[Any, Any]]:
    """Yield results of one pool until the queue is empty or memory is full. `pending` holds the jobs at work."""
    used: dict[int, int] = {}
    full = False
    while pending or (queue and not full):
        while queue and not full and len(pending) < count:
            job = queue.popleft()
            pending[_submitted(pool, job, pending)] = job
        ready, _ = wait(pending, return_when=FIRST_COMPLETED)
        for future in ready:
            content, worker, resident = future.result()
            used[worker] = resident
            yield pending.pop(future), _read_back(content)
        full = full or sum(used.values()) > memory_gb * 1e9


def _submitted(pool: ProcessPoolExecutor, job: Any, pending: dict[Future, Any]) -> Future:
    try:
        return pool.submit(_measured, job)
    except BrokenProcessPool:
        pending[Future()] = job  # it has already left the queue
        raise


def _read_back(content: bytes) -> Any:
    """The result of a job. Read here, and not by the pool, which takes any error in reading for a killed worker."""
    try:
        return pickle.loads(content)
    except Exception as error:
        raise RuntimeError(f"a result can't be read back ({type(error).__name__}: {error})") from error


_work: Callable[[Any], Any] | None = None  # the function that this worker process runs


def _start(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl+C ends a worker at once; the parent alone reports it
    if (torch := sys.modules.get("torch")) is not None:  # `work` imported it
        torch.set_num_threads(1)  # the workers together use all cores
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    """End this worker when its parent ends: a parent that is killed can't do it, and the worker would wait for ever."""
    parent.join()
    os._exit(1)


def _measured(job: Any) -> tuple[bytes, int, int]:
    try:
        result = pickle.dumps(_work(job), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        if not _can_be_sent(error):  # reading it would break the pool, as if the worker had been killed
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        raise
    return result, os.getpid(), resident_bytes()


def _can_be_sent(error: Exception) -> bool:
    """Whether the parent process can read the error as pickle sends it."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True


@contextmanager
def deaths_of_loaders() -> Iterator[None]:
    """Raise WorkerDied where torch says that a worker process of a DataLoader was killed, at any place in the block."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        reason = str(error).splitlines()[0]
        raise WorkerDied(
            f"a process that reads data was killed, perhaps for want of memory ({reason}): lower the number of "
            "workers, and repeat the command with the same out=FOLDER, which goes on after the last saved step"
        ) from error


def resident_bytes() -> int:
    """Memory that this process holds now or, where the system does not tell, the most that it ever held."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
