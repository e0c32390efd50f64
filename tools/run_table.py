"""Run a table of experiments: say what it costs, then run what is missing, and commit each result
when it is there.

    python tools/run_table.py planners --seeds 0 1 2 --dry-run
    python tools/run_table.py separation --seeds 0 1 2 -- data.path=data/world train:threads=1

The tables are in tools/tables/ (see table_rows.py). The words behind `--` are added to every
command, and NAME:key=value to the command NAME of every row. A row and seed is done when
docs/results/TABLE/ROW_seedN.json holds the key of its present configuration. A result with another
key is stale: the row runs again, and its run folder is moved aside. To stop the program press
Ctrl+C; the same command then continues in the run folders. The exit status is 0 if every row has
its result, 1 if some failed (they are named), 2 if the table is wrong, 130 if it was stopped.
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from table_results import minutes_of, scene_files, write_result
from table_rows import Run, key_of, runs_of, stored_key

from latentdrive.counting import counted
from latentdrive.errors import LatentDriveError
from latentdrive.files import write_atomic
from latentdrive.pipeline import pending
from latentdrive.run_folder import METRICS

LATENTDRIVE = (sys.executable, "-m", "latentdrive")
KEY = "key.txt"  # in a run folder: the key of the configuration that works there
GRACE_S = 60  # how long a command may take to end after Ctrl+C
RETRIES_S = (1, 5, 20)  # waiting times for git's index, which another program may hold for a moment


class RowFailed(LatentDriveError):
    """A command of a row ended without a result, or the result could not be committed."""


class RowState(StrEnum):
    """Where a row and seed stands."""

    DONE = "done"
    MISSING = "to run"
    STALE = "stale"
    BROKEN = "can't run"


WAITING = (RowState.MISSING, RowState.STALE)


@dataclass
class Clock:
    """Predicts how long the rest takes: the estimates, scaled by what finished rows took. All times are minutes."""

    estimated: float = 0.0
    taken: float = 0.0
    finished: list[str] = field(default_factory=list)

    def finish(self, run: Run, minutes: float) -> None:
        """Count a run that took `minutes`."""
        self.estimated, self.taken = self.estimated + run.minutes, self.taken + minutes
        self.finished.append(run.name)

    def left(self, waiting: Sequence[Run]) -> float:
        """The time that these runs will take."""
        return sum(run.minutes for run in waiting) * (self.taken / self.estimated if self.estimated else 1.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing of one table. Returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    own, extra = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", help="only these rows, in this order")
    parser.add_argument("--no-commit", action="store_true", help="write the results, but commit none")
    parser.add_argument("--dry-run", action="store_true", help="say what the table costs, and stop")
    options = parser.parse_args(own)
    try:
        runs = list(runs_of(options.table, rows=options.rows, seeds=options.seeds, extra=extra))
    except LatentDriveError as error:
        print(f"run_table.py: {error}", file=sys.stderr)
        return 2
    states = [progress_of(run) for run in runs]
    show_cost(runs, states)
    if options.dry_run:
        return 0
    try:
        failed = run_all(runs, waits=[state in WAITING for state, _ in states], commits=not options.no_commit)
    except KeyboardInterrupt:
        print("stopped; what is complete is kept: the same command goes on from here", file=sys.stderr)
        return 130
    for name, reason in failed.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    return 1 if failed else 0


def progress_of(run: Run) -> tuple[RowState, str]:
    """Where a run stands, and the reason if it can't run."""
    try:
        key, known = key_of(run), stored_key(run.result)
    except LatentDriveError as error:
        return RowState.BROKEN, str(error)
    return (RowState.MISSING if known is None else RowState.DONE if known == key else RowState.STALE), ""


def show_cost(runs: Sequence[Run], states: Sequence[tuple[RowState, str]]) -> None:
    """Print each run with its state and estimate, and what everything that is missing will take."""
    width = max(len(run.row) for run in runs)
    print(f"{'row':<{width}}  seed  {'state':<9}  minutes")
    for run, (state, reason) in zip(runs, states):
        seed = "–" if run.seed is None else run.seed
        print(f"{run.row:<{width}}  {seed:>4}  {state:<9}  {run.minutes:>7g}{f'  {reason}' if reason else ''}")
    missing = [run.minutes for run, (state, _) in zip(runs, states) if state in WAITING]
    print(f"to run: {len(missing)} of {len(runs)}, about {sum(missing):.0f} minutes", flush=True)


def run_all(runs: Sequence[Run], *, waits: Sequence[bool], commits: bool) -> dict[str, str]:
    """Run one row after the other. Returns the names of those that failed, with the reason.

    waits: for each run, whether the cost that was shown includes it.
    """
    failed, clock = {}, Clock()
    for place, run in enumerate(runs):
        try:
            minutes = run_one(run, commits=commits)
        except LatentDriveError as error:
            failed[run.name] = str(error)
            print(f"{run.table}, {run.name}: FAILED: {error}", flush=True)
            continue
        if minutes is not None:
            clock.finish(run, minutes)
            rest = [later for later, waiting in zip(runs[place + 1 :], waits[place + 1 :]) if waiting]
            print(
                f"{run.table}, {run.name}: done in {minutes:.1f} minutes (estimate: {run.minutes:g}). "
                f"So far {clock.taken:.0f} minutes for {counted(len(clock.finished), 'row')}, "
                f"{len(rest)} left: about {clock.left(rest):.0f} minutes",
                flush=True,
            )
    return failed


def run_one(run: Run, *, commits: bool) -> float | None:
    """Run a row with one seed and keep its result. Raises LatentDriveError.

    Returns the minutes it took, None if the result was there already. In a run folder of the same
    key the finished commands are skipped, as far as nothing before them has run again.
    """
    key, known, started = key_of(run), stored_key(run.result), time.monotonic()
    if known == key:
        print(f"{run.table}, {run.name}: done before", flush=True)
        if commits:  # an earlier run may have been stopped between writing and committing
            commit([run.result, *scene_files(run)], run)
        return None
    if known is not None:
        print(f"{run.table}, {run.name}: made by another configuration ({known}, now {key}): runs again", flush=True)
    make_room(run.folder, key)
    for step in pending(run.steps):
        print(f"{run.table}, {run.name}: latentdrive {shlex.join(step.words)}", flush=True)
        if status := launch(step.words):
            raise RowFailed(f"{step.name} ended with status {status}; its log is in {step.out}")
        if not (step.out / METRICS).is_file():
            raise RowFailed(f"{step.name} ended without {step.out / METRICS}")
    paths = write_result(run, key)
    if commits:
        commit(paths, run)
    return max((time.monotonic() - started) / 60, minutes_of(run))


def make_room(folder: Path, key: str) -> None:
    """Make `folder` the run folder of this key.

    What another configuration left there is moved aside under its own key; what this one left aside
    earlier comes back.
    """
    if folder.is_dir():
        stamp = folder / KEY
        other = stamp.read_text(encoding="utf-8").strip() if stamp.is_file() else "unknown"
        if other == key:
            return
        aside = folder.with_name(f"{folder.name}.{other}")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    own = folder.with_name(f"{folder.name}.{key}")
    if own.is_dir():
        own.rename(folder)
    write_atomic(folder / KEY, lambda new: new.write_text(f"{key}\n", encoding="utf-8") and None)


def launch(words: Sequence[str]) -> int:
    """Run `latentdrive` and return its exit status. If this program is stopped, the command is
    stopped and waited for.
    """
    process = subprocess.Popen([*LATENTDRIVE, *words], process_group=0)  # so that Ctrl+C reaches this program alone
    try:
        return process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        raise
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def commit(paths: Sequence[Path], run: Run) -> None:
    """Commit these files and nothing else that may be staged. Does nothing if they are committed
    already.

    Raises RowFailed.
    """
    names = [str(path) for path in paths]
    for wait_s in (*RETRIES_S, None):
        try:
            if git("status", "--porcelain", "--", *names):
                git("add", "--", *names)
                git("commit", "-q", "-m", f"Result: {run.table}, {run.name}", "--", *names)
            return
        except subprocess.CalledProcessError as error:
            if wait_s is None or "index.lock" not in error.stderr:
                reason = error.stderr.strip() or error.stdout.strip()
                raise RowFailed(f"{run.result} is written but not committed: {reason}; repeat the command") from None
            time.sleep(wait_s)


def git(*words: str) -> str:
    """What git prints."""
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a shell's background job ignores SIGINT otherwise
        signal.signal(number, signal.default_int_handler)
    raise SystemExit(main())
