"""Fuzz readers by name: python -m tests.fuzz [READER ...] [--count N] [--first SEED].

One input again, kept for a look at it: python -m tests.fuzz READER --first SEED --count 1 --keep FILE.
"""

import argparse
import faulthandler
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.harness import Fault, Fuzzer, Reader
from tests.fuzz.table import READERS


def main() -> int:
    """Fuzz; the exit status is 1 where there are faults."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of: {', '.join(READERS)}")
    parser.add_argument("--count", type=int, default=500, help="inputs of each reader")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--keep", type=Path, help="where to write the last changed file")
    parser.add_argument("--at", type=Path, help="file that always names the input at hand, for a crash")
    options = parser.parse_args()
    faulthandler.enable()
    faults = 0
    for name in options.readers or READERS:
        faults += _fuzz(READERS[name], options)
    return 1 if faults else 0


def _fuzz(reader: Reader, options: argparse.Namespace) -> int:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    before = os.times()
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        fuzzer = Fuzzer(reader, Path(folder))
        seeds = range(options.first, options.first + max(1, round(reader.share * options.count)))
        outcomes, faults = fuzzer.run(seeds, at=lambda seed: _note(options.at, reader.name, seed))
        if options.keep is not None:
            options.keep.write_bytes(fuzzer.input(seeds[-1])[1])
    after = os.times()
    _tell(reader.name, outcomes, faults, after.user + after.system - before.user - before.system)
    return len(faults)


def _note(file: Path | None, name: str, seed: int) -> None:
    if file is not None:
        file.write_text(f"{name} {seed}", encoding="utf-8")


def _tell(name: str, outcomes: Counter, faults: list[Fault], seconds: float) -> None:
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    print(f"{name}: {sum(outcomes.values())} inputs, {counts} ({seconds:.1f} s)", flush=True)
    for fault in faults:
        print(f"  seed {fault.seed}, {fault.file}: {fault.where}\n{fault.what}", flush=True)
        print(f"  again: python -m tests.fuzz '{name}' --first {fault.seed} --count 1 --keep FILE", flush=True)


if __name__ == "__main__":
    sys.exit(main())
