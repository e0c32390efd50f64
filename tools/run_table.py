"""Run a table of experiments: say what it costs, then run what is missing, and keep and commit each result as it comes.

    python tools/run_table.py planners --seeds 0 1 2 --dry-run
    python tools/run_table.py separation --seeds 0 1 2 -- data.path=data/world train:threads=1

Tables stand in tools/tables/ (see table_rows.py). What follows `--` is added to every command; NAME:key=value to the command NAME
of every row alone. A row and seed whose docs/results/TABLE/ROW_seedN.json has the key of its present configuration is there; one
with another key is stale and made anew, its run folder moved aside. Stop it (Ctrl+C) and repeat the command: it goes on in the run folders.
Ends with status 0 where every row has its result, 1 where some failed (they are named), 130 where it was stopped.
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

from latentdrive.errors import LatentDriveError
from latentdrive.files import write_atomic
from latentdrive.run_folder import METRICS

LATENTDRIVE = (sys.executable, "-m", "latentdrive")
KEY = "key.txt"  # in a run folder: of the configuration that works there
LAST_WORDS_S = 60  # that a command has to end after Ctrl+C
RETRIES_S = (1, 5, 20)  # git's index may be another's for a moment


class RowFailed(LatentDriveError):
    """A command of a row ended without a result, or the result could not be kept."""


class State(StrEnum):
    """Of a row and seed."""

    THERE = "there"
    MISSING = "to run"
    STALE = "stale"
    BROKEN = "can't run"


WAITING = (State.MISSING, State.STALE)


@dataclass
class Clock:
    """How long what is left will take: the estimates, times what finished rows took of theirs. All in minutes."""

    estimated: float = 0.0
    taken: float = 0.0
    finished: list[str] = field(default_factory=list)

    def finish(self, run: Run, minutes: float) -> None:
        """A run came to its end."""
        self.estimated, self.taken = self.estimated + run.minutes, self.taken + minutes
        self.finished.append(run.name)

    def left(self, waiting: Sequence[Run]) -> float:
        """For these runs."""
        return sum(run.minutes for run in waiting) * (self.taken / self.estimated if self.estimated else 1.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing of one table; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    own, extra = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", help="only these rows, in this order")
    parser.add_argument("--no-commit", action="store_true", help="for trials: write results, commit none")
    parser.add_argument("--dry-run", action="store_true", help="say what it costs, and stop")
    options = parser.parse_args(own)
    try:
        runs = list(runs_of(options.table, rows=options.rows, seeds=options.seeds, extra=extra))
    except LatentDriveError as error:
        print(f"run_table.py: {error}", file=sys.stderr)
        return 2
    states = [state_of(run) for run in runs]
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


def state_of(run: Run) -> tuple[State, str]:
    """Whether a run has its result, and why it can have none."""
    try:
        key, found = key_of(run), stored_key(run.result)
    except LatentDriveError as error:
        return State.BROKEN, str(error)
    return (State.MISSING if found is None else State.THERE if found == key else State.STALE), ""


def show_cost(runs: Sequence[Run], states: Sequence[tuple[State, str]]) -> None:
    """A line a run with its state and estimate, and what all that is missing will take."""
    width = max(len(run.row) for run in runs)
    print(f"{'row':<{width}}  seed  {'state':<9}  minutes")
    for run, (state, reason) in zip(runs, states):
        seed = "–" if run.seed is None else run.seed
        print(f"{run.row:<{width}}  {seed:>4}  {state:<9}  {run.minutes:>7g}{f'  {reason}' if reason else ''}")
    missing = [run.minutes for run, (state, _) in zip(runs, states) if state in WAITING]
    print(f"to run: {len(missing)} of {len(runs)}, about {sum(missing):.0f} minutes", flush=True)


def run_all(runs: Sequence[Run], *, waits: Sequence[bool], commits: bool) -> dict[str, str]:
    """Run one after the other; returns the names of those that failed, with the reason. waits: which were counted in the cost."""
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
            rest = [one for one, waiting in zip(runs[place + 1 :], waits[place + 1 :]) if waiting]
            print(
                f"{run.table}, {run.name}: done in {minutes:.1f} minutes (estimate: {run.minutes:g}). So far {clock.taken:.0f} minutes "
                f"for {len(clock.finished)} rows, {len(rest)} left: about {clock.left(rest):.0f} minutes",
                flush=True,
            )
    return failed


def run_one(run: Run, *, commits: bool) -> float | None:
    """Run a row with one seed, keep its result; returns the minutes it took, None where it is there already. Raises LatentDriveError."""
    key, found, started = key_of(run), stored_key(run.result), time.monotonic()
    if found == key:
        print(f"{run.table}, {run.name}: there already", flush=True)
        if commits:  # an earlier run may have ended between the two
            commit([run.result, *scene_files(run)], run)
        return None
    if found is not None:
        print(f"{run.table}, {run.name}: made by another configuration ({found}, now {key}): once more", flush=True)
    make_room(run.folder, key)
    for step in run.commands:
        words = run.words(step)
        print(f"{run.table}, {run.name}: latentdrive {shlex.join(words)}", flush=True)
        if status := launch(words):
            raise RowFailed(f"{step} ended with status {status}; its log is in {run.folder / step}")
        if not (run.folder / step / METRICS).is_file():
            raise RowFailed(f"{step} ended without {run.folder / step / METRICS}")
    paths = write_result(run, key)
    if commits:
        commit(paths, run)
    return max((time.monotonic() - started) / 60, minutes_of(run))


def make_room(folder: Path, key: str) -> None:
    """Let `folder` be the one of this key: what another configuration left there moves aside, and comes back with its own key."""
    if folder.is_dir():
        stamp = folder / KEY
        found = stamp.read_text(encoding="utf-8").strip() if stamp.is_file() else "unknown"
        if found == key:
            return
        aside = folder.with_name(f"{folder.name}.{found}")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    own = folder.with_name(f"{folder.name}.{key}")
    if own.is_dir():
        own.rename(folder)
    write_atomic(folder / KEY, lambda new: new.write_text(f"{key}\n", encoding="utf-8") and None)


def launch(words: Sequence[str]) -> int:
    """Run `latentdrive`; its exit status. Where this program is stopped the command is stopped once, and waited for."""
    process = subprocess.Popen([*LATENTDRIVE, *words], process_group=0)  # Ctrl+C reaches us alone
    try:
        return process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(LAST_WORDS_S)
        raise
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def commit(paths: Sequence[Path], run: Run) -> None:
    """Commit these files alone, as they are, whatever else is staged; nothing where they are committed already. Raises RowFailed."""
    names = [str(path) for path in paths]
    for wait in (*RETRIES_S, None):
        try:
            if git("status", "--porcelain", "--", *names):
                git("add", "--", *names)
                git("commit", "-q", "-m", f"Result: {run.table}, {run.name}", "--", *names)
            return
        except subprocess.CalledProcessError as error:
            if wait is None or "index.lock" not in error.stderr:
                raise RowFailed(
                    f"{run.result} is written but not committed: {error.stderr.strip() or error.stdout.strip()}; repeat the command"
                ) from None
            time.sleep(wait)


def git(*words: str) -> str:
    """What git prints."""
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # also where a shell has it ignored, for the background
        signal.signal(one, signal.default_int_handler)
    raise SystemExit(main())
