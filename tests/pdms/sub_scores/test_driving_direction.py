"""Driving direction compliance by hand (spec 6.4): metres within 11 terms, outside the route's lanes."""

import numpy as np
import pytest

from latentdrive.pdms.score import DDC
from tests.support.made_scenes import MIDDLE_M, OFF_Y, ONCOMING_Y, ROAD, STEPS, driving, judged, made_scene, patch

ON_ROUTE = (patch("ROADBLOCK", -50, -2, 150, 10), patch("LANE", -50, -2, 150, 10, on_route=True))


def verdict(states: np.ndarray, road: tuple = ROAD, generation: int = 2) -> float:
    return judged(made_scene(road=road, generation=generation), states).terms[DDC].item()


@pytest.mark.parametrize("generation", [1, 2])
@pytest.mark.parametrize(("y", "speed", "score"), [
    (0.0, 20.0, 1.0),
    (ONCOMING_Y, 1.81, 1.0),  # 11 terms of 0.181 m: 1.991
    (ONCOMING_Y, 1.82, 0.5),  # 2.002; ten of them would be 1.82
    (ONCOMING_Y, 5.45, 0.5),  # 5.995
    (ONCOMING_Y, 5.46, 0.0),  # 6.006; ten of them would be 5.46
    (OFF_Y, 5.46, 0.0),  # off the road is oncoming too
])  # fmt: skip
def test_eleven_terms_are_added_up_with_bounds_of_2_and_6_m(generation: int, y: float, speed: float, score: float):
    assert verdict(driving(speed, y=y), generation=generation) == score


def test_a_way_that_ends_after_ten_terms_is_not_compared_with_eleven():
    # 10 steps of 0.19 m, then it stands: 1.9 m. A further step makes 2.09.
    for moves, score in ((10, 1.0), (11, 0.5)):
        assert verdict(driving(np.where(np.arange(STEPS) < moves, 1.9, 0.0), y=ONCOMING_Y)) == score


def test_only_the_worst_second_counts():
    # 1.9 m/s, middle from 1.461 to 9.061: 1.5 m before the route's lane and 1.5 m after it, more than a second apart.
    between = (patch("LANE", MIDDLE_M + 1.5, -2, 9.061 - 1.5, 2, on_route=True),)
    assert verdict(driving(1.9), between) == 1.0
    assert verdict(driving(1.9), ()) == 0.5  # 11 terms of 0.19 m


def test_the_first_term_is_0_and_a_term_belongs_to_where_it_ends():
    # On the wrong side at step 1 only, or at step 0 only, reached over 8 m and left over 8 m: the way there counts, the way back does not.
    for steps, score in (((1,), 0.0), ((0,), 1.0)):
        y = np.zeros(STEPS)
        y[list(steps)] = ONCOMING_Y
        assert verdict(driving(0.0, y=y)) == score


def test_the_middle_of_the_car_decides():
    # It is in the route's lane while the rear axle is still before its beginning.
    begins = (patch("LANE", 1.0, -2, 150, 2, on_route=True),)
    assert verdict(driving(0.0, x=np.where(np.arange(STEPS) == 0, -50.0, 0.0)), begins) == 1.0
    assert verdict(driving(0.0, x=np.where(np.arange(STEPS) == 0, -50.0, -0.5)), begins) == 0.0


def test_connectors_of_the_route_are_on_it():
    assert verdict(driving(10.0), (patch("LANE_CONNECTOR", -50, -2, 150, 2, on_route=True),)) == 1.0
    assert verdict(driving(10.0), (patch("LANE_CONNECTOR", -50, -2, 150, 2),)) == 0.0


def test_intersections_are_forgiven_in_v2_only():
    road = (*ROAD, patch("INTERSECTION", -60, -30, 160, 30))
    assert [verdict(driving(10.0, y=ONCOMING_Y), road, generation) for generation in (1, 2)] == [0.0, 1.0]


def test_a_middle_on_the_border_of_an_intersection_is_not_forgiven():
    road = (*ROAD, patch("INTERSECTION", -60, ONCOMING_Y, 160, 30))
    assert verdict(driving(10.0, y=ONCOMING_Y), road) == 0.0
    assert verdict(driving(10.0, y=ONCOMING_Y + 0.01), road) == 1.0


def test_the_whole_road_on_the_route_is_never_oncoming():
    assert verdict(driving(20.0, y=ONCOMING_Y), ON_ROUTE) == 1.0
