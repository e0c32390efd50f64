"""Plans from above: ahead is up, left is left, and a plan that stands still is a ring."""

import numpy as np
import pytest

from latentdrive.drawing.bird_view import bev_with_trajectories
from latentdrive.drawing.colours import DRIVER, HUMAN, PAINTS, with_colours
from tests.support.evaluation import make_scoring_scene
from tests.support.plan_pictures import places, straight_plan


def test_ahead_is_up_and_left_is_left():
    plans = with_colours({DRIVER: straight_plan(20.0), "a": straight_plan(20.0, 10.0)})
    picture = bev_with_trajectories(make_scoring_scene("t"), plans)
    human, other = places(picture, HUMAN), places(picture, PAINTS[0])
    assert human[:, 1].std() < 4 and np.ptp(human[:, 0]) > 100
    top, bottom = other[other[:, 0].argmin()], other[other[:, 0].argmax()]
    assert top[0] < bottom[0] - 100 and top[1] < bottom[1] - 50


def test_a_plan_that_stands_still_is_a_ring_around_the_rear_axle():
    plans = with_colours({"a": straight_plan(0.0), "b": straight_plan(20.0)})
    ring = places(bev_with_trajectories(make_scoring_scene("t"), plans), PAINTS[0])
    height, width = np.ptp(ring[:, 0]), np.ptp(ring[:, 1])
    assert len(ring) > 20 and height == pytest.approx(width, abs=2) and height > 10
