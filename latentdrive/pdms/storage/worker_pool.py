"""Jobs over worker processes whose memory is watched. Under store.py: workers open maps and logs, which stay with them and grow.

Workers are spawned, not forked: the parent may hold threads of torch.
"""

import multiprocessing
import os
import resource
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from latentdrive.errors import StoreError

Job = TypeVar("Job")
Result = TypeVar("Result")
TRIES = 3  # pools in a row that may die before any job is done


class WorkerDied(Exception):
    """The process that worked on a job alone was killed."""


def run_jobs(
    work: Callable[[Job], Result], jobs: Sequence[Job], *, processes: int, memory_gb: float
) -> Iterator[tuple[Job, Result | WorkerDied]]:
    """Every job with its result, as they are ready. `work` and jobs are pickled to the workers; 1 process works in this one.

    memory_gb: when the workers' resident memory passes this together (libraries that they share count in each), they end after
    their present jobs and new ones begin, one fewer where that came at once. A job whose worker was killed is tried again alone before it is given up as WorkerDied.
    Raises StoreError where no worker can start.
    """
    if processes <= 1:
        yield from ((job, work(job)) for job in jobs)
        return
    waiting, suspects = deque(jobs), deque()
    workers, failures = processes, 0
    while waiting or suspects:
        alone = not waiting
        queue, count = (suspects, 1) if alone else (waiting, min(workers, len(waiting)))
        done, reason = 0, None
        pool = ProcessPoolExecutor(
            count, mp_context=multiprocessing.get_context("spawn"), initializer=_start, initargs=(work,)
        )
        pending: dict[Future, Any] = {}
        try:
            for one in _run(pool, queue, pending, count, memory_gb):
                done += 1
                yield one
            reason = "memory" if queue else None
        except BrokenProcessPool:
            reason = "killed"
            failures = failures + 1 if not done else 0
        finally:
            pool.shutdown(wait=reason is not None or not pending, cancel_futures=True)
        if reason == "killed" and failures >= TRIES and not alone:
            raise StoreError(
                f"{TRIES} times in a row the processes that prepare scenes died before any was ready: look for their message above, "
                "or use processes=1 to see it"
            )
        if reason == "killed":
            lost = list(pending.values())
            if alone:
                yield from (
                    (job, WorkerDied("the process that prepared it was killed, for want of memory perhaps"))
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
    """Results of one pool until the queue is empty or memory is full; `pending` holds what is at work."""
    used: dict[int, int] = {}
    full = False
    while pending or (queue and not full):
        while queue and not full and len(pending) < count:
            job = queue.popleft()
            pending[_submitted(pool, job, pending)] = job
        ready, _ = wait(pending, return_when=FIRST_COMPLETED)
        for future in ready:
            result, worker, resident = future.result()
            used[worker] = resident
            yield pending.pop(future), result
        full = full or sum(used.values()) > memory_gb * 1e9


def _submitted(pool: ProcessPoolExecutor, job: Any, pending: dict[Future, Any]) -> Future:
    try:
        return pool.submit(_measured, job)
    except BrokenProcessPool:
        pending[Future()] = job  # it was no longer in the queue
        raise


_work: Callable[[Any], Any] | None = None  # of this worker process


def _start(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    if (torch := sys.modules.get("torch")) is not None:  # `work` brought it
        torch.set_num_threads(1)  # the processes share the cores already
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    """A parent that is killed can't end its workers: they would wait for ever."""
    parent.join()
    os._exit(1)


def _measured(job: Any) -> tuple[Any, int, int]:
    return _work(job), os.getpid(), resident_bytes()


def resident_bytes() -> int:
    """Memory that this process holds now; where the system does not tell, the most that it ever held."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
