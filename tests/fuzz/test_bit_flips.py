"""A flipped bit in a file of ours is refused by name, or changes nothing that is read, or the file is made anew."""

from pathlib import Path

import pytest

from tests.fuzz.bit_flips import flip_bits

KINDS = (
    "checkpoint",
    "scoring store",
    "cache of NAVSIM logs",
    "cache of synthetic scenes",
    "dictionary",
    "trajectories",
    "evaluation",
    "submission",
)


@pytest.mark.parametrize("reader", KINDS)
def test_no_flipped_bit_is_read_as_something_else(reader: str, tmp_path: Path):
    flip_bits(reader, tmp_path)
