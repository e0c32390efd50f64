"""Planners without sensors: their plan depends on the speed, or on nothing."""

import numpy as np
import pytest

from latentdrive.errors import UnreadableScene
from latentdrive.planners.baselines.constant_velocity import ConstantVelocity
from latentdrive.planners.baselines.stand_still import StandStill
from latentdrive.types import Planner
from tests.support.evaluation import make_scene
from tests.support.golden_files import FILES, golden


def test_constant_velocity_goes_straight_ahead_at_the_length_of_the_velocity():
    trajectory = ConstantVelocity().plan([make_scene("a", velocity=(3.0, 4.0)), make_scene("b", velocity=(0.0, 0.0))])
    assert trajectory.dt_s == 0.5 and trajectory.poses.shape == (2, 8, 3) and trajectory.poses.dtype == np.float32
    assert trajectory.poses[0, :, 0] == pytest.approx([2.5, 5.0, 7.5, 10.0, 12.5, 15.0, 17.5, 20.0])
    assert not trajectory.poses[0, :, 1:].any() and not trajectory.poses[1].any()


def test_constant_velocity_names_a_scene_without_a_velocity():
    with pytest.raises(UnreadableScene, match="a: the ego's velocity is unknown"):
        ConstantVelocity().plan([make_scene("a", velocity_known=False)])


def test_stand_still_stays_at_the_origin():
    trajectory = StandStill().plan([make_scene("a", velocity=(9.0, 0.0))])
    assert trajectory.poses.shape == (1, 8, 3) and not trajectory.poses.any()


def test_both_are_planners_that_open_no_sensor():
    for planner in (ConstantVelocity(), StandStill()):
        assert isinstance(planner, Planner) and planner.needs.cameras == () and not planner.needs.lidar


@pytest.mark.skipif(not FILES, reason="no golden files")
def test_constant_velocity_is_the_plan_of_that_name_in_the_golden_scenes():
    """The golden plan uses the forward speed alone; with the sideways speed it differs by 2 mm after 4 s."""
    answers, truth = golden(FILES[0]).answers(0), golden(FILES[0]).truth(0)
    case = next(case for case in answers["cases"] if case["name"] == "const_velocity")
    velocity = tuple(truth.frames[truth.now].velocity.tolist())
    planned = ConstantVelocity().plan([make_scene("a", velocity=velocity)])
    assert planned.poses[0] == pytest.approx(np.array(case["poses"]), abs=2e-3)
