"""The commands of a soak: which run, when they are killed, when the disk is full, and what must be true of them."""

import shutil
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from latentdrive.errors import LatentDriveError
from tests.support.forked import Running, start
from tests.support.small_commands import LONGEST_S, VERBS, Result, Verb

AT_ONCE, HOMES, CACHES = 2, 3, 2
KILLED, FULL, OTHER = 0.35, 0.2, 0.15  # shares of the commands that are killed, meet a full disk, or have another seed
FULL_S = 8.0  # how long the disk stays full
SPARE_BYTES = (0, 4_000, 200_000)  # that a full disk has left
KEPT = ("world", "codebook", "codes", "teacher", "expected", "student", "planner", "scores")  # results that must stay
PAUSE_S = 0.05


@dataclass(kw_only=True)
class _Job:
    """A command under way; mutable, because it is killed once.

    dies: the moment to kill it, or None. own: whether it has the seed of the expected result.
    """

    running: Running
    verb: Verb
    home: Path
    dies: float | None
    own: bool
    killed: bool = False


class Soak:
    """Runs random commands. expected: duration and result of every verb when nobody disturbs it.

    faults: what must not be, one sentence each. outcomes: how the commands ended.
    """

    def __init__(self, *, given: Path, disk: Path, expected: Mapping[str, tuple[float, Result]], rng: Random) -> None:
        self.given, self.disk, self.expected, self.rng = given, disk, expected, rng
        self.faults: list[str] = []
        self.outcomes: Counter[str] = Counter()
        self._jobs: list[_Job] = []
        self._finished: dict[tuple[Path, str], Result] = {}
        self._empty_at: float | None = None  # when the disk gets its space back
        self._logs = given / "soak_logs"
        self._logs.mkdir(exist_ok=True)

    def run(self, commands: int) -> None:
        """Run so many commands to their ends."""
        begun = 0
        while begun < commands or self._jobs:
            if begun < commands and len(self._jobs) < AT_ONCE:
                self._begin(begun)
                begun += 1
            self._free_the_disk()
            self._kill()
            self._collect()
            time.sleep(PAUSE_S)
        self._free_the_disk(now=True)

    def last_look(self) -> list[str]:
        """What is wrong on the disk at the end."""
        faults = []
        for (home, name), result in self._finished.items():
            faults += self._compared(home, name, result, "it was finished, and at the end")
        for home in sorted(self.disk.glob("home*")):
            for verb in VERBS:
                if (home / verb.name).is_dir() and (home, verb.name) not in self._finished:
                    faults += self._opened(home, verb)
        return faults

    def _begin(self, number: int) -> None:
        verb = self.rng.choice(VERBS)
        home = self.disk / f"home{self.rng.randrange(HOMES)}"
        caches = self.disk / f"caches{self.rng.randrange(CACHES)}"
        own = verb.name not in ("codebook", "student") or self.rng.random() > OTHER
        (home / verb.name).mkdir(parents=True, exist_ok=True)
        words = verb.filled(given=self.given, home=home, caches=caches) + ([] if own else ["seed=5"])
        seconds = self.expected[verb.name][0]
        dies = time.monotonic() + self.rng.uniform(0, 1.2 * seconds) if self.rng.random() < KILLED else None
        if self.rng.random() < FULL and self._empty_at is None:
            self._fill_the_disk()
        running = start(words, home / verb.name, self._logs / f"{number:04d}-{verb.name}.log")
        self._jobs.append(_Job(running=running, verb=verb, home=home, dies=dies, own=own))

    def _kill(self) -> None:
        for job in self._jobs:
            if job.dies is not None and time.monotonic() > job.dies and not job.killed:
                job.killed = True
                self._end(job, job.running.kill())
            elif time.monotonic() - job.running.since > LONGEST_S:
                self.faults.append(f"{self._name(job)}: no end within {LONGEST_S} s")
                job.killed = True
                self._end(job, job.running.kill())

    def _collect(self) -> None:
        for job in list(self._jobs):
            if (status := job.running.wait(0.0)) is not None:
                self._end(job, status)

    def _end(self, job: _Job, status: int | None) -> None:
        self._jobs = [other for other in self._jobs if other is not job]
        said = job.running.log.read_text(encoding="utf-8", errors="replace") if job.running.log.is_file() else ""
        if "Traceback (most recent call last)" in said:
            self.faults.append(f"{self._name(job)}: a traceback: {said[-700:]}")
        self.outcomes["killed" if job.killed else "done" if status == 0 else "refused"] += 1
        if not job.killed and status not in (0, 1):
            self.faults.append(f"{self._name(job)}: it ended with {status}: {said[-700:]}")
        alone = not any((other.home, other.verb.name) == (job.home, job.verb.name) for other in self._jobs)
        if status == 0 and job.own and alone and job.verb.name in KEPT:
            expected = self.expected[job.verb.name][1]
            self._finished[job.home, job.verb.name] = expected
            self.faults += self._compared(job.home, job.verb.name, expected, "it ended with status 0, and")

    def _compared(self, home: Path, name: str, expected: Result, when: str) -> list[str]:
        verb = next(verb for verb in VERBS if verb.name == name)
        try:
            result = verb.result(home / name)
        except (LatentDriveError, OSError, ValueError) as error:
            return [f"{home.name}, {name}: {when} its result can't be read: {error}"]
        differing = sorted(key for key in expected if expected[key] != result.get(key))
        return [f"{home.name}, {name}: {when} {', '.join(differing[:5])} differ"] if differing else []

    def _opened(self, home: Path, verb: Verb) -> list[str]:
        """What was never finished opens, or is refused by name, or is not there."""
        try:
            verb.result(home / verb.name)
        except (LatentDriveError, FileNotFoundError):
            pass
        except (OSError, ValueError) as error:
            return [f"{home.name}, {verb.name}: unfinished, and {type(error).__name__}: {error}"]
        return []

    def _fill_the_disk(self) -> None:
        free = shutil.disk_usage(self.disk).free
        size = max(0, free - self.rng.choice(SPARE_BYTES))
        try:
            with open(self.disk / "ballast", "wb") as file:
                for at in range(0, size, 1 << 20):
                    file.write(b"x" * min(1 << 20, size - at))
        except OSError:
            pass  # the commands that run have taken the rest
        self._empty_at = time.monotonic() + self.rng.uniform(1.0, FULL_S)

    def _free_the_disk(self, *, now: bool = False) -> None:
        if self._empty_at is not None and (now or time.monotonic() > self._empty_at):
            (self.disk / "ballast").unlink(missing_ok=True)
            self._empty_at = None

    def _name(self, job: _Job) -> str:
        return f"{job.running.log.stem} in {job.home.name}"
