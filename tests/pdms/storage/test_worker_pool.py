"""Jobs over worker processes: none is lost, whoever dies, and memory is kept below its bound."""

import os
import signal

from latentdrive.pdms.storage.worker_pool import WorkerDied, resident_bytes, run_jobs


def square(job: int) -> int:
    return job * job


def die_at_two(job: int) -> int:
    if job == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return job * job


def who(job: int) -> int:
    return os.getpid()


def test_one_process_works_in_order_in_this_one():
    assert list(run_jobs(square, [3, 1, 2], processes=1, memory_gb=1.0)) == [(3, 9), (1, 1), (2, 4)]


def test_a_job_that_kills_its_worker_is_given_up_and_no_other_is():
    done = dict(run_jobs(die_at_two, [1, 2, 3, 4], processes=2, memory_gb=8.0))
    assert isinstance(done.pop(2), WorkerDied) and done == {1: 1, 3: 9, 4: 16}


def test_workers_end_when_their_memory_is_full_and_fewer_new_ones_go_on():
    done = dict(run_jobs(who, [0, 1, 2, 3], processes=2, memory_gb=1e-3))  # every process holds more
    assert len(done) == 4 and len(set(done.values())) >= 3 and os.getpid() not in done.values()
    kept = dict(run_jobs(who, [0, 1, 2, 3], processes=2, memory_gb=8.0))
    assert len(set(kept.values())) <= 2


def test_resident_memory_grows_with_what_is_held():
    before = resident_bytes()
    held = b"x" * 100_000_000
    assert resident_bytes() - before > 50_000_000 and held
