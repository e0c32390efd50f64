"""The audit counts what a mean hides."""

import numpy as np
import pytest

from latentdrive.evaluation.audit import audit
from latentdrive.pdms.versions import Version
from latentdrive.types import Trajectory
from tests.support.evaluation import make_results, states_ahead


def findings(results, *, states=None, planned=None, human=None):
    states = np.stack([states_ahead()] * len(results)) if states is None else states
    human = np.full(len(results), np.nan) if human is None else np.array(human)
    return {finding.name: finding for finding in audit(results, states, planned or {}, human)}


def test_progress_above_the_human_is_examined_only_where_the_human_is_known():
    finding = findings(make_results([0.9, 0.5, 0.9], ["d"] * 3), human=[0.8, 0.8, np.nan])["progress_above_human"]
    assert (finding.count, finding.of) == (1, 2) and finding.share == 0.5


def test_a_car_that_rolls_back_for_one_step_reverses():
    states = np.stack([states_ahead(), states_ahead()])
    states[0, 20, 3], states[1, 20, 3] = -0.11, -0.1
    finding = findings(make_results([0.5, 0.5], ["d"] * 2), states=states)["reversing"]
    assert (finding.count, finding.of) == (1, 2)


def test_standing_is_moving_less_than_half_a_metre_in_4_s():
    states = np.stack([states_ahead(0.12), states_ahead(0.13)])  # 0.48 and 0.52 m
    assert findings(make_results([0.5, 0.5], ["d"] * 2), states=states)["standing_still"].count == 1


def test_the_ceiling_is_a_score_of_1():
    assert findings(make_results([1.0, 0.9999], ["d"] * 2))["at_the_ceiling"].count == 1


def test_extended_comfort_is_counted_where_it_is_known_and_not_examined_in_v1():
    finding = findings(make_results([0.5] * 3, ["d"] * 3, two_frame_extended_comfort=[0.0, 1.0, np.nan]))[
        "extended_comfort_failed"
    ]
    assert (finding.count, finding.of) == (1, 2)
    assert "extended_comfort_failed" not in findings(make_results([0.5], ["d"], version=Version.PDMS_V1_1))


def test_a_plan_in_another_frame_has_every_pose_far_behind():
    back = np.zeros((8, 3))
    back[:, 0] = np.linspace(-11, -40, 8)
    turning_back = back.copy()
    turning_back[0, 0] = -9.0
    planned = {"t0": Trajectory(poses=back, dt_s=0.5), "t1": Trajectory(poses=turning_back, dt_s=0.5)}
    finding = findings(make_results([0.5] * 3, ["d"] * 3), planned=planned)["all_poses_behind"]
    assert (finding.count, finding.of) == (1, 2)


def test_a_plan_that_stays_within_half_a_metre_stands_even_if_the_car_moves():
    planned = {
        "t0": Trajectory(poses=np.zeros((8, 3)), dt_s=0.5),
        "t1": Trajectory(poses=np.linspace([0, 0, 0], [0.4, 0.4, 0.0], 8), dt_s=0.5),  # ends 0.57 m away
    }
    results = findings(make_results([0.5] * 2, ["d"] * 2), planned=planned)
    assert (results["plans_to_stand"].count, results["plans_to_stand"].of) == (1, 2)
    assert results["standing_still"].count == 0


def test_failed_scenes_are_not_examined():
    states = np.stack([states_ahead(), np.full((41, 11), np.nan)])
    failed = make_results([0.5, 0.0], ["d"] * 2, valid=np.array([True, False]), failures={"t1": "gone"})
    assert all(finding.of <= 1 for finding in findings(failed, states=states, human=[0.1, np.nan]).values())


def test_a_finding_without_examined_scenes_has_no_share():
    assert findings(make_results([0.5], ["d"]))["progress_above_human"].share == pytest.approx(np.nan, nan_ok=True)
