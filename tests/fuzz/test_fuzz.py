"""Every reader is given changed files: it reads them, or refuses them by name, within seconds and some hundred MB.

The readers run in a process of their own, so that a crash in a library is one input with a name.
`make fuzz` gives each of them ten times as many inputs.
"""

from pathlib import Path

import pytest

from tests.fuzz.running import MANY, fuzz
from tests.fuzz.table import KEPT, READERS

FROM_ELSEWHERE = tuple(name for name in READERS if name not in KEPT)


def test_no_changed_file_makes_a_reader_fail_otherwise_than_by_name(tmp_path: Path):
    fuzz(FROM_ELSEWHERE, tmp_path / "at")


@pytest.mark.slow
def test_nor_do_ten_times_as_many(tmp_path: Path):
    fuzz(FROM_ELSEWHERE, tmp_path / "at", count=MANY)
