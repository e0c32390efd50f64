"""A split in two: every log once, scenes as before."""

import divide_split
import pytest

from latentdrive.data.navsim.scene_filter import read_split
from tests.support.navsim_fixture import write_split


def divide(folder, *words: str) -> None:
    divide_split.main([str(folder), "train", *words])


def test_every_log_is_in_one_of_the_two_and_nothing_else_changes(tmp_path):
    logs = [f"log{number}" for number in range(10)]
    write_split(tmp_path, "train", data_split="trainval", log_names=logs, tokens=["0123456789abcdef"])
    divide(tmp_path, "--share", "0.3", "--names", "few", "many")
    whole, few, many = (read_split(tmp_path, name) for name in ("train", "few", "many"))
    assert len(few.filter.log_names) == 3 and sorted([*few.filter.log_names, *many.filter.log_names]) == logs
    assert few.filter.tokens == many.filter.tokens == whole.filter.tokens and few.data_split == "trainval"
    before = few.filter.log_names
    divide(tmp_path, "--share", "0.3", "--names", "few", "many", "--seed", "1")
    assert read_split(tmp_path, "few").filter.log_names != before


def test_a_part_without_logs_is_refused(tmp_path):
    write_split(tmp_path, "train", data_split="trainval", log_names=["a", "b"])
    with pytest.raises(SystemExit, match=r"names 2 logs, of which --share 0.1 is 0"):
        divide(tmp_path, "--share", "0.1", "--names", "few", "many")
