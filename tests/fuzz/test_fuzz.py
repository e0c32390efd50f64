"""Every reader is given changed files: it reads them, or refuses them by name, within seconds and some hundred MB.

The readers run in a process of their own, so that a crash in a library is one input with a name.
`make fuzz` gives each of them ten times as many inputs.
"""

from pathlib import Path

import pytest

from tests.fuzz.harness import READ, REFUSED, Fuzzer
from tests.fuzz.running import MANY, fuzz
from tests.fuzz.table import KEPT, READERS

FROM_ELSEWHERE = tuple(name for name in READERS if name not in KEPT)


def test_no_changed_file_makes_a_reader_fail_otherwise_than_by_name(tmp_path: Path):
    fuzz(FROM_ELSEWHERE, tmp_path / "at")


@pytest.mark.slow
def test_nor_do_ten_times_as_many(tmp_path: Path):
    fuzz(FROM_ELSEWHERE, tmp_path / "at", count=MANY)


# Inputs that readers did not bear when `make fuzz` first tried them, one for each place that failed.
FOUND = {
    "lock note": (4399,),  # JSON that nests too deeply
    "synthetic scene": (1454,),  # a dictionary in place of the list of later lights
    "scenario": (1770, 1826, 3178),  # a coordinate of 1e200, an array as the map's name, numbers as names of lanes
    "video, mp4": (3462,),  # no frame later than the first
    "scoring store": (1098,),  # an infinite number of the rules
    "NAVSIM's weights": (4987,),  # cut inside a number
}


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name, seeds in FOUND.items() for seed in seeds])
def test_inputs_that_once_failed_are_read_or_refused(name: str, seed: int, tmp_path: Path):
    outcome = Fuzzer(READERS[name], tmp_path).attempt(seed)
    assert outcome in (READ, REFUSED), outcome
