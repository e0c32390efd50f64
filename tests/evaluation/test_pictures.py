"""Pictures of the worst scenes: which scenes are chosen, and what their files are called."""

import numpy as np

from latentdrive.evaluation.pictures import worst_rows
from tests.support.evaluation import make_results


def test_the_worst_scenes_are_of_different_drives_first():
    results = make_results([0.1, 0.0, 0.2, 1.0, 0.05], ["a", "a", "b", "c", "a"])
    assert worst_rows(results, 2) == [1, 2]
    assert worst_rows(results, 3) == [1, 4, 2]
    assert worst_rows(results, 9) == [1, 4, 0, 2]  # a scene that scores 1 is left out


def test_logs_of_one_recording_are_one_drive():
    logs = [
        f"2021.05.25.14.16.10_veh-{drive}_{number:05d}_{number + 9:05d}" for drive, number in ((1, 0), (1, 50), (2, 0))
    ]
    assert worst_rows(make_results([0.1, 0.2, 0.3], logs), 2) == [0, 2]


def test_failed_scenes_are_left_out():
    failed = make_results([0.0, 0.5], ["a", "b"], valid=np.array([False, True]), failures={"t0": "gone"})
    assert worst_rows(failed, 2) == [1]
