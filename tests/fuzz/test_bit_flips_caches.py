"""A flipped bit in what a run keeps for itself is refused by name, or changes nothing, or the entry is made anew."""

from pathlib import Path

import pytest

from tests.fuzz.bit_flips import flip_bits


@pytest.mark.parametrize("reader", ["frame cache", "planner's cache", "resume state", "latent store"])
def test_no_flipped_bit_is_read_as_something_else(reader: str, tmp_path: Path):
    flip_bits(reader, tmp_path)
