"""The audit counts what a mean hides."""

import numpy as np
import pytest

from latentdrive.evaluation.audit import audit
from latentdrive.evaluation.worst import worst
from latentdrive.pdms.versions import Version
from latentdrive.types import Trajectory
from tests.support.evaluation import make_results, states_ahead


def found(results, *, states=None, planned=None, human=None):
    states = np.stack([states_ahead()] * len(results)) if states is None else states
    human = np.full(len(results), np.nan) if human is None else np.array(human)
    return {one.name: one for one in audit(results, states, planned or {}, human)}


def test_progress_above_the_human_is_asked_only_where_the_human_is_known():
    one = found(make_results([0.9, 0.5, 0.9], ["d"] * 3), human=[0.8, 0.8, np.nan])["progress_above_human"]
    assert (one.count, one.of) == (1, 2) and one.share == 0.5


def test_a_car_that_rolls_back_for_one_step_reverses():
    states = np.stack([states_ahead(), states_ahead()])
    states[0, 20, 3], states[1, 20, 3] = -0.11, -0.1
    one = found(make_results([0.5, 0.5], ["d"] * 2), states=states)["reversing"]
    assert (one.count, one.of) == (1, 2)


def test_standing_is_moving_less_than_half_a_metre_in_4_s():
    states = np.stack([states_ahead(0.12), states_ahead(0.13)])  # 0.48 and 0.52 m
    assert found(make_results([0.5, 0.5], ["d"] * 2), states=states)["standing_still"].count == 1


def test_the_ceiling_is_a_score_of_1():
    assert found(make_results([1.0, 0.9999], ["d"] * 2))["at_the_ceiling"].count == 1


def test_extended_comfort_is_counted_where_it_is_known_and_not_asked_of_v1():
    one = found(make_results([0.5] * 3, ["d"] * 3, two_frame_extended_comfort=[0.0, 1.0, np.nan]))[
        "extended_comfort_failed"
    ]
    assert (one.count, one.of) == (1, 2)
    assert "extended_comfort_failed" not in found(make_results([0.5], ["d"], version=Version.PDMS_V1_1))


def test_a_plan_in_another_frame_has_every_pose_far_behind():
    back = np.zeros((8, 3))
    back[:, 0] = np.linspace(-11, -40, 8)
    turning_back = back.copy()
    turning_back[0, 0] = -9.0
    planned = {"t0": Trajectory(poses=back, dt_s=0.5), "t1": Trajectory(poses=turning_back, dt_s=0.5)}
    one = found(make_results([0.5] * 3, ["d"] * 3), planned=planned)["all_poses_behind"]
    assert (one.count, one.of) == (1, 2)


def test_a_plan_that_stays_within_half_a_metre_stands_whatever_the_car_does():
    planned = {
        "t0": Trajectory(poses=np.zeros((8, 3)), dt_s=0.5),
        "t1": Trajectory(poses=np.linspace([0, 0, 0], [0.4, 0.4, 0.0], 8), dt_s=0.5),  # ends 0.57 m away
    }
    results = found(make_results([0.5] * 2, ["d"] * 2), planned=planned)
    assert (results["plans_to_stand"].count, results["plans_to_stand"].of) == (1, 2)
    assert results["standing_still"].count == 0


def test_failed_scenes_are_asked_nothing():
    states = np.stack([states_ahead(), np.full((41, 11), np.nan)])
    failed = make_results([0.5, 0.0], ["d"] * 2, valid=np.array([True, False]), failures={"t1": "gone"})
    assert all(one.of <= 1 for one in found(failed, states=states, human=[0.1, np.nan]).values())


def test_the_worst_scenes_are_of_different_drives_first():
    results = make_results([0.1, 0.0, 0.2, 1.0, 0.05], ["a", "a", "b", "c", "a"])
    assert worst(results, 2) == [1, 2]
    assert worst(results, 3) == [1, 4, 2]
    assert worst(results, 9) == [1, 4, 0, 2]  # what scores 1 is not to be looked at


def test_nothing_to_ask_has_no_share():
    assert found(make_results([0.5], ["d"]))["progress_above_human"].share == pytest.approx(np.nan, nan_ok=True)
