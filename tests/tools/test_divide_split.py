"""A split in two: every log once, scenes as before."""

import divide_split
import numpy as np
import pytest

from latentdrive.data.navsim.scene_filter import read_split
from latentdrive.statistics import recording_of
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


def test_the_logs_of_one_recording_stay_together(tmp_path):
    drives = [f"2021.05.25.14.16.10_veh-{number}" for number in range(6)]
    logs = [f"{drive}_{piece:05d}_{piece + 90:05d}" for drive in drives for piece in (0, 100, 200, 300)]
    write_split(tmp_path, "train", data_split="trainval", log_names=[*logs, "alone"], tokens=["0123456789abcdef"])
    for seed in range(8):
        divide(tmp_path, "--share", "0.3", "--names", "few", "many", "--seed", str(seed))
        few, many = (read_split(tmp_path, name).filter.log_names for name in ("few", "many"))
        assert sorted([*few, *many]) == sorted([*logs, "alone"]) and 7 <= len(few) <= 9  # 8 of 25 logs
        assert not {recording_of(log) for log in few} & {recording_of(log) for log in many}


def test_logs_that_are_recordings_of_their_own_are_divided_as_ever(tmp_path):
    logs = [f"latentdrive_train_{number:05d}" for number in range(40)]
    first = divide_split.divide(logs, 0.1, 0)
    mixed = np.random.default_rng(0).permutation(40)
    assert [number for number, is_first in enumerate(first) if is_first] == sorted(mixed[:4].tolist())


def test_a_part_without_logs_is_refused(tmp_path):
    write_split(tmp_path, "train", data_split="trainval", log_names=["a", "b"])
    with pytest.raises(SystemExit, match=r"names 2 logs of 2 drives, of which --share 0.1 is 0"):
        divide(tmp_path, "--share", "0.1", "--names", "few", "many")
