"""What a run keeps for itself is changed as files from elsewhere are: it is made anew, or refused by name."""

from pathlib import Path

import pytest

from tests.fuzz.running import MANY, fuzz
from tests.fuzz.table import KEPT


def test_no_changed_cache_makes_a_reader_fail_otherwise_than_by_name(tmp_path: Path):
    fuzz(KEPT, tmp_path / "at")


@pytest.mark.slow
def test_nor_do_ten_times_as_many(tmp_path: Path):
    fuzz(KEPT, tmp_path / "at", count=MANY)
