"""Flips single bits in files that we write and read back, and counts what comes of it."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from tests.fuzz.harness import Fault, Fuzzer
from tests.fuzz.table import READERS

FLIPS = 100  # in each kind of file


def flip_bits(reader: str, folder: Path, *, flips: int = FLIPS) -> None:
    """Flip bits in every file of a reader, one at a time; fails where one is read as something else, or not by name."""
    fuzzer = Fuzzer(replace(READERS[reader], checked=True), folder)
    faults: list[Fault] = []
    for name in fuzzer.names:
        outcomes: Counter[str] = Counter()
        for seed in range(flips):
            result = fuzzer.flip(name, seed)
            outcomes[result if isinstance(result, str) else "faults"] += 1
            faults += [result] if isinstance(result, Fault) else []
        print(f"{reader}, {name}: {dict(outcomes)}")
    shown = [f"{fault.file}, seed {fault.seed}, {fault.where}: {fault.what}" for fault in faults[:5]]
    assert not faults, f"{len(faults)} of {flips * len(fuzzer.names)} flips were not told: " + "\n".join(shown)
