"""The pool of worker processes: no job is lost, whichever process dies, and memory stays below its bound."""

import mmap
import os
import signal
import time
from collections.abc import Callable, Iterable
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import pytest

from latentdrive.errors import StoreError, WorkerDied
from latentdrive.worker_pool import resident_bytes, run_jobs


def square(job: int) -> int:
    return job * job


def die_at_two(job: int) -> int:
    if job == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return job * job


def die(job: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(job: int) -> None:
    raise StoreError(f"job {job} is refused")


class TwoArguments(Exception):
    """Can be pickled, but not read back: pickle gives it one argument."""

    def __init__(self, file: str, line: int) -> None:
        super().__init__(f"{file}:{line}")


def refuse_oddly(job: int) -> None:
    raise TwoArguments("log", job)


def process_id(job: int) -> int:
    return os.getpid()


def note_and_sleep(job: Path) -> None:
    job.write_text(str(os.getpid()))
    time.sleep(60.0)


def run_notes(jobs: list[Path]) -> None:
    os.setpgrp()  # a terminal sends Ctrl+C to the whole group
    list(run_jobs(note_and_sleep, jobs, processes=2))


def wait_for(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 30.0
    while not happened() and time.monotonic() < until:
        time.sleep(0.02)


def test_one_process_works_in_order_in_this_one():
    assert list(run_jobs(square, [3, 1, 2], processes=1)) == [(3, 9), (1, 1), (2, 4)]


def test_progress_sees_every_job_and_no_bar_is_shown_without_jobs():
    shown = []

    def progress(items: Iterable[Any], *, what: str, total: int) -> Iterable[Any]:
        shown.append((what, total))
        return items

    assert list(run_jobs(square, [3, 1], processes=1, progress=progress, what="numbers")) == [(3, 9), (1, 1)]
    assert list(run_jobs(square, [], processes=2, progress=progress, what="numbers")) == []
    assert shown == [("numbers", 2)]


def test_a_job_that_kills_its_worker_is_given_up_and_no_other_is():
    done = dict(run_jobs(die_at_two, [1, 2, 3, 4], processes=2, memory_gb=8.0))
    assert isinstance(done.pop(2), WorkerDied) and done == {1: 1, 3: 9, 4: 16}


def test_workers_that_die_again_and_again_end_the_pool():
    with pytest.raises(WorkerDied, match=r"died 3 times in a row before any of 9 jobs was done.*processes=1"):
        list(run_jobs(die, list(range(9)), processes=2))


def test_an_error_in_a_worker_is_raised_with_its_type_and_text():
    with pytest.raises(StoreError, match=r"^job 7 is refused$"):
        list(run_jobs(refuse, [7], processes=2))


def test_an_error_that_pickle_cannot_bring_over_keeps_its_name_and_text():
    with pytest.raises(RuntimeError, match=r"^TwoArguments: log:7$"):
        list(run_jobs(refuse_oddly, [7], processes=2))


def test_workers_end_when_their_memory_is_full_and_fewer_new_ones_go_on():
    done = dict(run_jobs(process_id, [0, 1, 2, 3], processes=2, memory_gb=1e-3))  # every process holds more
    assert len(done) == 4 and len(set(done.values())) >= 3 and os.getpid() not in done.values()
    shared = dict(run_jobs(process_id, [0, 1, 2, 3], processes=2, memory_gb=8.0))
    assert len(set(shared.values())) <= 2


def test_ctrl_c_ends_the_workers_without_waiting_for_their_jobs(tmp_path: Path):
    jobs = [tmp_path / "one", tmp_path / "two"]
    parent = get_context("fork").Process(target=run_notes, args=(jobs,))
    parent.start()
    wait_for(lambda: all(job.exists() and job.read_text() for job in jobs))
    os.killpg(parent.pid, signal.SIGINT)
    parent.join(30.0)
    assert parent.exitcode == 1
    for job in jobs:
        with pytest.raises(ProcessLookupError):
            os.kill(int(job.read_text()), 0)


def test_resident_memory_grows_with_what_is_held():
    before = resident_bytes()
    # Pages of its own: an allocator may serve a large object from memory that the process already holds.
    with mmap.mmap(-1, 100_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        held.write(b"x" * len(held))
        assert resident_bytes() - before > 50_000_000


class Odd:
    """Can be sent, but not read back."""

    def __reduce__(self) -> tuple:
        return int, ("no number",)


def give_oddly(job: int) -> Odd:
    return Odd()


def test_a_result_that_can_not_be_read_back_is_no_killed_worker():
    with pytest.raises(RuntimeError, match=r"^a result can't be read back \(ValueError: invalid literal"):
        list(run_jobs(give_oddly, [7], processes=2))


def test_a_result_that_can_not_be_sent_is_no_killed_worker():
    with pytest.raises((AttributeError, RuntimeError), match=r"pickle"):
        list(run_jobs(give_unsendable, [7], processes=2))


def give_unsendable(job: int) -> object:
    return lambda: job


def test_an_interrupt_of_the_parent_alone_ends_it_and_its_workers_at_once(tmp_path: Path):
    jobs = [tmp_path / "one", tmp_path / "two"]
    parent = get_context("fork").Process(target=run_notes, args=(jobs,))
    parent.start()
    wait_for(lambda: all(job.exists() and job.read_text() for job in jobs))
    begun = time.monotonic()
    os.kill(parent.pid, signal.SIGINT)
    parent.join(30.0)
    assert parent.exitcode == 1 and time.monotonic() - begun < 20.0  # the jobs take 60
    for job in jobs:
        with pytest.raises(ProcessLookupError):
            os.kill(int(job.read_text()), 0)


def test_an_error_in_the_progress_bar_ends_the_workers(tmp_path: Path):
    def broken(items: Iterable[Any], *, what: str, total: int) -> Iterable[Any]:
        for _ in items:
            raise ZeroDivisionError

    begun = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        list(run_jobs(note_or_sleep, [tmp_path / "one", tmp_path / "slow"], processes=2, progress=broken))
    assert time.monotonic() - begun < 30.0 and not active_children()


def note_or_sleep(job: Path) -> None:
    if job.name == "slow":
        time.sleep(60.0)
