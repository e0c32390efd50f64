"""Sub-scores that look at the map, by hand: drivable area, driving direction, lane keeping, red lights, progress.

The rules are those of docs/pdms.md, sections 6.1, 6.3 to 6.5, 6.9 and 6.10.
"""

import numpy as np
import pytest

from latentdrive.pdms.score import DAC, DDC, LK, TLC
from tests.support.made_scenes import (
    FRONT_M,
    MIDDLE_M,
    OFF_Y,
    ONCOMING_Y,
    REAR_M,
    ROAD,
    SIDE_M,
    STEPS,
    Light,
    Patch,
    centreline,
    driving,
    judged,
    made_scene,
    patch,
)
from tests.support.small_maps import rectangle


def drivable(states: np.ndarray, road: tuple = ROAD, **scene) -> float:
    return judged(made_scene(road=road, **scene), states).terms[DAC].item()


@pytest.mark.parametrize("generation", [1, 2])
def test_a_car_on_its_road_complies_and_one_beside_it_does_not(generation: int):
    assert drivable(driving(5.0), generation=generation) == 1.0
    assert drivable(driving(5.0, y=-20.0), generation=generation) == 0.0


@pytest.mark.parametrize("step", [0, 1, 40])
def test_one_corner_at_one_step_is_enough(step: int):
    y = np.zeros(STEPS)
    y[step] = -2.0 + SIDE_M - 0.001  # right corners a millimetre beyond y = -2
    assert drivable(driving(5.0, y=y)) == 0.0
    y[step] += 0.002
    assert drivable(driving(5.0, y=y)) == 1.0


def test_a_corner_on_the_border_is_outside():
    assert -0.8515 - SIDE_M == -2.0
    assert drivable(driving(5.0, y=-0.8515)) == 0.0


def test_the_front_of_the_car_counts():
    # Rear axle at 100 and 2 m/s for 4 s: front at 112.049.
    for end, score in ((112.04, 0.0), (112.06, 1.0)):
        assert drivable(driving(2.0, start=100.0), (patch("ROADBLOCK", 0, -2, end, 2),)) == score


def test_corners_may_lie_in_different_polygons():
    # Left ones in a car park, right ones in a roadblock; a seam that no corner lies on is no gap.
    two = (patch("ROADBLOCK", -50, -3, 150, 0.25), patch("CARPARK_AREA", -50, 0.25, 150, 3))
    assert drivable(driving(5.0), two) == 1.0


@pytest.mark.parametrize(
    ("layer", "score"),
    [("ROADBLOCK", 1.0), ("INTERSECTION", 1.0), ("CARPARK_AREA", 1.0), ("LANE", 0.0), ("LANE_CONNECTOR", 0.0)],
)
def test_roadblocks_intersections_and_car_parks_are_drivable_and_lanes_alone_are_not(layer: str, score: float):
    assert drivable(driving(5.0), (patch(layer, -50, -2, 150, 2),)) == score


def test_a_hole_is_not_drivable():
    # Both left corners pass through the hole, from y = 1 to 2; a metre further right they pass it by.
    holed = (Patch("CARPARK_AREA", (rectangle(-50, -5, 150, 5), rectangle(10, 1, 11, 2))),)
    assert drivable(driving(5.0), holed) == 0.0
    assert drivable(driving(5.0, y=-1.0), holed) == 1.0


def test_what_lies_between_the_corners_does_not_count():
    # A traffic island of 0.4 by 0.4 m under the car's middle.
    holed = (Patch("ROADBLOCK", (rectangle(-50, -5, 150, 5), rectangle(MIDDLE_M - 0.2, -0.2, MIDDLE_M + 0.2, 0.2))),)
    assert drivable(driving(0.0), holed) == 1.0


def test_no_map_at_all_is_off_the_road():
    assert drivable(driving(5.0), ()) == 0.0


ON_ROUTE = (patch("ROADBLOCK", -50, -2, 150, 10), patch("LANE", -50, -2, 150, 10, on_route=True))


def direction(states: np.ndarray, road: tuple = ROAD, generation: int = 2) -> float:
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
    assert direction(driving(speed, y=y), generation=generation) == score


def test_a_way_that_ends_after_ten_terms_is_not_compared_with_eleven():
    # 10 steps of 0.19 m, then it stands: 1.9 m. A further step makes 2.09.
    for moves, score in ((10, 1.0), (11, 0.5)):
        assert direction(driving(np.where(np.arange(STEPS) < moves, 1.9, 0.0), y=ONCOMING_Y)) == score


def test_only_the_worst_second_counts():
    # At 1.9 m/s the centre moves from 1.461 to 9.061: 1.5 m before the route's lane and 1.5 m after it, over
    # a second apart.
    between = (patch("LANE", MIDDLE_M + 1.5, -2, 9.061 - 1.5, 2, on_route=True),)
    assert direction(driving(1.9), between) == 1.0
    assert direction(driving(1.9), ()) == 0.5  # 11 terms of 0.19 m


def test_the_first_term_is_0_and_a_term_belongs_to_where_it_ends():
    # On the wrong side at step 1 only, or at step 0 only, 8 m away: the way there counts, the way back does not.
    for steps, score in (((1,), 0.0), ((0,), 1.0)):
        y = np.zeros(STEPS)
        y[list(steps)] = ONCOMING_Y
        assert direction(driving(0.0, y=y)) == score


def test_the_middle_of_the_car_decides():
    # It is in the route's lane while the rear axle is still before its beginning.
    begins = (patch("LANE", 1.0, -2, 150, 2, on_route=True),)
    assert direction(driving(0.0, x=np.where(np.arange(STEPS) == 0, -50.0, 0.0)), begins) == 1.0
    assert direction(driving(0.0, x=np.where(np.arange(STEPS) == 0, -50.0, -0.5)), begins) == 0.0


def test_connectors_of_the_route_are_on_it():
    assert direction(driving(10.0), (patch("LANE_CONNECTOR", -50, -2, 150, 2, on_route=True),)) == 1.0
    assert direction(driving(10.0), (patch("LANE_CONNECTOR", -50, -2, 150, 2),)) == 0.0


def test_intersections_are_forgiven_in_v2_only():
    road = (*ROAD, patch("INTERSECTION", -60, -30, 160, 30))
    assert [direction(driving(10.0, y=ONCOMING_Y), road, generation) for generation in (1, 2)] == [0.0, 1.0]


def test_a_middle_on_the_border_of_an_intersection_is_not_forgiven():
    road = (*ROAD, patch("INTERSECTION", -60, ONCOMING_Y, 160, 30))
    assert direction(driving(10.0, y=ONCOMING_Y), road) == 0.0
    assert direction(driving(10.0, y=ONCOMING_Y + 0.01), road) == 1.0


def test_the_whole_road_on_the_route_is_never_oncoming():
    assert direction(driving(20.0, y=ONCOMING_Y), ON_ROUTE) == 1.0


STEP = np.arange(STEPS)
LONG_LINE = centreline((-50, 0), (150, 0))


def keeping(away: np.ndarray | float, *, inside: np.ndarray | None = None, line: np.ndarray = LONG_LINE) -> float:
    """The car stands at x = 0, or where `inside` says at x = 60, in an intersection; `away` metres to the left."""
    road = (*ROAD, patch("INTERSECTION", 50, -30, 90, 30))
    x = np.zeros(STEPS) if inside is None else np.where(inside, 60.0, 0.0)
    return judged(made_scene(road=road, line=line), driving(0.0, x=x, y=away)).terms[LK].item()


@pytest.mark.parametrize(("steps", "score"), [(19, 1.0), (20, 0.0), (41, 0.0)])
@pytest.mark.parametrize("first", [0, 7, 20])
def test_twenty_steps_in_a_row_fail(first: int, steps: int, score: float):
    assert keeping(np.where((first <= STEP) & (first + steps > STEP), 0.6, 0.0)) == score


@pytest.mark.parametrize(("away", "score"), [(0.5, 1.0), (-0.5, 1.0), (0.5000001, 0.0), (-0.5000001, 0.0)])
def test_half_a_metre_is_near_enough(away: float, score: float):
    assert keeping(away) == score


def test_one_step_on_the_line_starts_the_count_anew():
    assert keeping(np.where(STEP == 19, 0.0, 1.0)) == 0.0  # 19 before, 21 after it
    assert keeping(np.where((STEP == 19) | (STEP == 39), 0.0, 1.0)) == 1.0  # 19, 19 and 1


def test_the_count_survives_an_intersection():
    inside = (STEP >= 10) & (STEP < 25)
    away = np.where((STEP < 10) | ((STEP >= 25) & (STEP < 35)), 1.0, 0.0)  # 10 before, on the line inside, 10 after
    assert keeping(away, inside=inside) == 0.0
    away[34] = 0.0
    assert keeping(away, inside=inside) == 1.0  # 10 and 9
    assert keeping(away, inside=np.zeros(STEPS, bool)) == 1.0  # the same outside: 15 steps on the line come between


def test_steps_in_an_intersection_do_not_count():
    assert keeping(1.0, inside=STEP >= 0) == 1.0
    assert keeping(1.0, inside=STEP >= 19) == 1.0
    assert keeping(1.0, inside=STEP >= 20) == 0.0


def test_beyond_the_ends_of_the_line_the_distance_to_its_end_counts():
    # The middle of the car is at x = 1.461.
    assert keeping(0.0, line=centreline((-50, 0), (1.0, 0))) == 1.0  # 0.461 m
    assert keeping(0.0, line=centreline((-50, 0), (0.9, 0))) == 0.0  # 0.561 m


def test_the_nearest_of_several_stretches_counts():
    # Along y = 4 and back along y = 0.
    assert keeping(0.0, line=centreline((-50, 4), (60, 4), (60, 0), (-50, 0))) == 1.0


def progress(states: np.ndarray, line: np.ndarray) -> float:
    return judged(made_scene(line=line), states).progress_m.item()


ALONG_X = centreline((-20, 0), (80, 0))


def test_a_straight_line_gives_the_way_driven():
    assert progress(driving(5.0), ALONG_X) == pytest.approx(20.0, abs=1e-9)
    assert progress(driving(5.0, y=1.0), ALONG_X) == pytest.approx(20.0, abs=1e-9)


def test_reversing_is_no_negative_progress():
    assert progress(driving(-5.0), ALONG_X) == 0.0


def test_projections_are_held_at_both_ends_of_the_line():
    # The line ends at x = 10: 10 - 1.461 m are left. It begins at x = 5: of 21.461 m only those from 5 on count.
    assert progress(driving(5.0), centreline((-20, 0), (10, 0))) == pytest.approx(10 - MIDDLE_M, abs=1e-9)
    assert progress(driving(5.0), centreline((5, 0), (80, 0))) == pytest.approx(20 + MIDDLE_M - 5, abs=1e-9)


def test_the_way_round_a_corner_is_measured_along_the_line():
    # East to x = 50, then north. At the end the middle is at (50, 20): 50 - 1.461 + 20 m from where it was.
    states = driving(0.0)
    states[-1, :3] = [50.0, 20.0 - MIDDLE_M, np.pi / 2]
    assert progress(states, centreline((-20, 0), (50, 0), (50, 60))) == pytest.approx(70 - MIDDLE_M, abs=1e-9)


def test_vertices_that_coincide_change_nothing():
    assert progress(driving(5.0), centreline((-20, 0), (10, 0), (10, 0), (80, 0))) == pytest.approx(20.0, abs=1e-9)


def test_of_equally_near_places_the_first_counts():
    # Out along y = 0 and back along y = 4; at the end the car is 2 m from both, 20 m along the first.
    line = centreline((-20, 0), (60, 0), (60, 4), (-20, 4))
    y = np.zeros(41)
    y[-1] = 2.0
    assert progress(driving(5.0, y=y), line) == pytest.approx(20.0, abs=1e-9)


def test_only_now_and_the_end_count():
    wild = driving(5.0)
    wild[1:40, :2] = 77.0
    assert progress(wild, ALONG_X) == pytest.approx(20.0, abs=1e-9)


def lights(states: np.ndarray, *red: Light) -> float:
    return judged(made_scene(red=red), states).terms[TLC].item()


AHEAD = rectangle(20, -2, 30, 2)


def test_driving_onto_a_red_connector_fails_and_stopping_before_it_does_not():
    assert lights(driving(5.0)) == 1.0
    assert lights(driving(5.0), Light(AHEAD)) == 0.0  # the front gets to 24.049
    assert lights(driving(3.9), Light(AHEAD)) == 1.0  # to 19.649


def test_a_light_counts_while_it_is_red_only():
    # The front is at 4.049 + 0.5 k: on the connector from k = 32 on (20.049).
    assert lights(driving(5.0), Light(AHEAD, red=range(32))) == 1.0
    assert lights(driving(5.0), Light(AHEAD, red=range(33))) == 0.0
    assert lights(driving(5.0), Light(AHEAD, red=range(40, STEPS))) == 0.0
    assert lights(driving(5.0), Light(AHEAD, red=range(0))) == 1.0


def test_the_first_step_counts_even_for_a_car_that_leaves():
    assert lights(driving(5.0), Light(rectangle(-10, -2, -1.0, 2), red=range(1))) == 0.0
    assert lights(driving(5.0), Light(rectangle(-10, -2, -1.0, 2), red=range(1, STEPS))) == 1.0


@pytest.mark.parametrize(("gap", "score"), [(0.0, 0.0), (1e-6, 1.0)])
def test_touching_is_enough(gap: float, score: float):
    assert lights(driving(0.0), Light(rectangle(FRONT_M + gap, -2, 20, 2))) == score
    assert lights(driving(0.0), Light(rectangle(-20, -2, -REAR_M - gap, 2))) == score
    assert lights(driving(5.0), Light(rectangle(-20, SIDE_M + gap, 60, 4))) == score


def test_a_car_wholly_inside_a_connector_and_a_connector_wholly_under_a_car_touch():
    assert lights(driving(0.0), Light(rectangle(-40, -40, 40, 40))) == 0.0
    assert lights(driving(0.0), Light(rectangle(1, -0.1, 1.2, 0.1))) == 0.0


def test_a_connector_that_bends_around_the_car_does_not_touch():
    hook = np.array([[-10.0, -5], [10, -5], [10, 5], [-10, 5], [-10, 4], [9, 4], [9, -4], [-10, -4]])
    assert lights(driving(0.0), Light(hook)) == 1.0
    assert lights(driving(0.0, heading=np.pi / 2), Light(hook)) == 0.0  # across it, the front reaches y = 4.049


def test_corner_to_edge_of_turned_boxes():
    # The car looks north east: its front left corner is the point of it that lies highest,
    # y = (4.049 + 1.1485) / sqrt 2 = 3.6752.
    for bottom, score in ((3.675, 0.0), (3.676, 1.0)):
        light = Light(rectangle(-20, bottom, 20, 10))
        assert lights(driving(0.0, heading=np.pi / 4), light) == score


def test_many_lights_of_different_shapes_are_told_apart():
    far = [Light(rectangle(20 + 5 * k, 10, 24 + 5 * k, 14)) for k in range(5)]
    triangle = Light(np.array([[10.0, -1.0], [14.0, -1.0], [12.0, 1.0]]))
    assert lights(driving(5.0), *far) == 1.0
    assert lights(driving(5.0), *far, triangle) == lights(driving(5.0), triangle, *far) == 0.0


def test_v1_has_no_such_term():
    assert TLC not in judged(made_scene(generation=1, red=[Light(AHEAD)]), driving(5.0)).terms
