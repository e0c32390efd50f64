"""Kills every verb at random moments: python -m tests.kills [VERB ...] [--kills N] [--seed N].

Each command is killed with its whole process group at a moment drawn over its duration, and repeated
until it ends. Its results must be those of a command that nobody disturbed.
"""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from latentdrive.errors import LatentDriveError
from tests.support.forked import start
from tests.support.small_commands import LONGEST_S, VERBS, Result, Verb, undisturbed, write_given

REPEATS = 3


def main() -> int:
    """Kill; the exit status is 1 where a result differs or a command does not end."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__.splitlines()[0])
    parser.add_argument("verbs", nargs="*", metavar="VERB", help=f"of: {', '.join(verb.name for verb in VERBS)}")
    parser.add_argument("--kills", type=int, default=20, help="of each verb")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for the data; a new temporary one if none is named")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        base = options.folder or Path(temporary)
        return _kill_all(base.resolve(), options)


def _kill_all(base: Path, options: argparse.Namespace) -> int:
    given, faults = base / "given", 0
    if not (given / "clips").is_dir():
        write_given(given)
    for verb in VERBS:
        seconds, result = undisturbed(verb, given)
        if options.verbs and verb.name not in options.verbs:
            continue
        moments = [random.Random(f"{options.seed} {verb.name} {number}") for number in range(options.kills)]
        outcomes = [_killed(verb, given, base / "killed", result, rng, seconds) for rng in moments]
        wrong = [text for _, text in outcomes if text]
        hit = sum(killed for killed, _ in outcomes)
        print(
            f"{verb.name}: {seconds:.1f} s, killed {hit} times in {len(outcomes)} tries, {len(wrong)} faults",
            flush=True,
        )
        for text in wrong:
            print(f"  {text}", flush=True)
        faults += len(wrong)
    return 1 if faults else 0


def _killed(
    verb: Verb, given: Path, home: Path, expected: Result, rng: random.Random, seconds: float
) -> tuple[bool, str]:
    """Whether the kill met a running command, and what is wrong with the result; empty if nothing is."""
    shutil.rmtree(home, ignore_errors=True)
    (home / verb.name).mkdir(parents=True)
    log = home / "log.txt"
    words = verb.filled(given=given, home=home, caches=home / "caches")
    moment = rng.uniform(0.0, seconds)
    running = start(words, home / verb.name, log)
    met = running.wait(moment) is None
    if met:
        running.kill()
    for _ in range(REPEATS):
        again = start(words, home / verb.name, log)
        status = again.wait(LONGEST_S)
        if status == 0:
            return met, _difference(verb, home / verb.name, expected, f"killed after {moment:.2f} s")
        if status is None:
            again.kill()
            return met, f"killed after {moment:.2f} s, it does not end within {LONGEST_S} s"
    return met, f"killed after {moment:.2f} s, it ends with {status}: {log.read_text()[-1500:]}"


def _difference(verb: Verb, folder: Path, expected: Result, when: str) -> str:
    try:
        result = verb.result(folder)
    except (LatentDriveError, OSError, ValueError) as error:
        return f"{when}, its result can't be read: {error}"
    differing = [name for name in expected.keys() | result.keys() if expected.get(name) != result.get(name)]
    return f"{when}, {', '.join(sorted(differing)[:5])} differ" if differing else ""


if __name__ == "__main__":
    sys.exit(main())
