"""Traffic light compliance by hand (spec 6.9): the car's box on a red connector, at any step, the first one included."""

import numpy as np
import pytest

from latentdrive.pdms.score import TLC
from tests.support.made_scenes import FRONT_M, REAR_M, SIDE_M, STEPS, Light, driving, judged, made_scene
from tests.support.small_maps import rectangle


def verdict(states: np.ndarray, *red: Light) -> float:
    return judged(made_scene(red=red), states).terms[TLC].item()


AHEAD = rectangle(20, -2, 30, 2)


def test_driving_onto_a_red_connector_fails_and_stopping_before_it_does_not():
    assert verdict(driving(5.0)) == 1.0
    assert verdict(driving(5.0), Light(AHEAD)) == 0.0  # the front gets to 24.049
    assert verdict(driving(3.9), Light(AHEAD)) == 1.0  # to 19.649


def test_a_light_counts_while_it_is_red_only():
    # The front is at 4.049 + 0.5 k: on the connector from k = 32 on (20.049).
    assert verdict(driving(5.0), Light(AHEAD, red=range(32))) == 1.0
    assert verdict(driving(5.0), Light(AHEAD, red=range(33))) == 0.0
    assert verdict(driving(5.0), Light(AHEAD, red=range(40, STEPS))) == 0.0
    assert verdict(driving(5.0), Light(AHEAD, red=range(0))) == 1.0


def test_the_first_step_counts_even_for_a_car_that_leaves():
    assert verdict(driving(5.0), Light(rectangle(-10, -2, -1.0, 2), red=range(1))) == 0.0
    assert verdict(driving(5.0), Light(rectangle(-10, -2, -1.0, 2), red=range(1, STEPS))) == 1.0


@pytest.mark.parametrize(("gap", "score"), [(0.0, 0.0), (1e-6, 1.0)])
def test_touching_is_enough(gap: float, score: float):
    assert verdict(driving(0.0), Light(rectangle(FRONT_M + gap, -2, 20, 2))) == score
    assert verdict(driving(0.0), Light(rectangle(-20, -2, -REAR_M - gap, 2))) == score
    assert verdict(driving(5.0), Light(rectangle(-20, SIDE_M + gap, 60, 4))) == score


def test_a_car_wholly_inside_a_connector_and_a_connector_wholly_under_a_car_touch():
    assert verdict(driving(0.0), Light(rectangle(-40, -40, 40, 40))) == 0.0
    assert verdict(driving(0.0), Light(rectangle(1, -0.1, 1.2, 0.1))) == 0.0


def test_a_connector_that_bends_around_the_car_does_not_touch():
    hook = np.array([[-10.0, -5], [10, -5], [10, 5], [-10, 5], [-10, 4], [9, 4], [9, -4], [-10, -4]])
    assert verdict(driving(0.0), Light(hook)) == 1.0
    assert verdict(driving(0.0, heading=np.pi / 2), Light(hook)) == 0.0  # across it, the front reaches y = 4.049


def test_corner_to_edge_of_turned_boxes():
    # The car looks north east: its front left corner is the point of it that lies highest,
    # y = (4.049 + 1.1485) / sqrt 2 = 3.6752.
    for bottom, score in ((3.675, 0.0), (3.676, 1.0)):
        light = Light(rectangle(-20, bottom, 20, 10))
        assert verdict(driving(0.0, heading=np.pi / 4), light) == score


def test_many_lights_of_different_shapes_are_told_apart():
    far = [Light(rectangle(20 + 5 * k, 10, 24 + 5 * k, 14)) for k in range(5)]
    triangle = Light(np.array([[10.0, -1.0], [14.0, -1.0], [12.0, 1.0]]))
    assert verdict(driving(5.0), *far) == 1.0
    assert verdict(driving(5.0), *far, triangle) == verdict(driving(5.0), triangle, *far) == 0.0


def test_v1_has_no_such_term():
    assert TLC not in judged(made_scene(generation=1, red=[Light(AHEAD)]), driving(5.0)).terms
