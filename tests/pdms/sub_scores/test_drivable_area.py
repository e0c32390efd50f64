"""Drivable area compliance by hand (spec 6.1, 6.3): every corner in some drivable polygon, strictly, at every step."""

import numpy as np
import pytest

from latentdrive.pdms.score import DAC
from tests.support.made_scenes import MIDDLE_M, ROAD, SIDE_M, STEPS, Patch, driving, judged, made_scene, patch
from tests.support.small_maps import rectangle


def verdict(states: np.ndarray, road: tuple = ROAD, **scene) -> float:
    return judged(made_scene(road=road, **scene), states).terms[DAC].item()


@pytest.mark.parametrize("generation", [1, 2])
def test_a_car_on_its_road_complies_and_one_beside_it_does_not(generation: int):
    assert verdict(driving(5.0), generation=generation) == 1.0
    assert verdict(driving(5.0, y=-20.0), generation=generation) == 0.0


@pytest.mark.parametrize("step", [0, 1, 40])
def test_one_corner_at_one_step_is_enough(step: int):
    y = np.zeros(STEPS)
    y[step] = -2.0 + SIDE_M - 0.001  # right corners a millimetre beyond y = -2
    assert verdict(driving(5.0, y=y)) == 0.0
    y[step] += 0.002
    assert verdict(driving(5.0, y=y)) == 1.0


def test_a_corner_on_the_border_is_outside():
    assert -0.8515 - SIDE_M == -2.0
    assert verdict(driving(5.0, y=-0.8515)) == 0.0


def test_the_front_of_the_car_counts():
    # Rear axle at 100 and 2 m/s for 4 s: front at 112.049.
    for end, score in ((112.04, 0.0), (112.06, 1.0)):
        assert verdict(driving(2.0, start=100.0), (patch("ROADBLOCK", 0, -2, end, 2),)) == score


def test_corners_may_lie_in_different_polygons():
    # Left ones in a car park, right ones in a roadblock; a seam that no corner lies on is no gap.
    two = (patch("ROADBLOCK", -50, -3, 150, 0.25), patch("CARPARK_AREA", -50, 0.25, 150, 3))
    assert verdict(driving(5.0), two) == 1.0


@pytest.mark.parametrize(
    ("layer", "score"),
    [("ROADBLOCK", 1.0), ("INTERSECTION", 1.0), ("CARPARK_AREA", 1.0), ("LANE", 0.0), ("LANE_CONNECTOR", 0.0)],
)
def test_roadblocks_intersections_and_car_parks_are_drivable_and_lanes_alone_are_not(layer: str, score: float):
    assert verdict(driving(5.0), (patch(layer, -50, -2, 150, 2),)) == score


def test_a_hole_is_not_drivable():
    # Both left corners pass through the hole, from y = 1 to 2; a metre further right they pass it by.
    holed = (Patch("CARPARK_AREA", (rectangle(-50, -5, 150, 5), rectangle(10, 1, 11, 2))),)
    assert verdict(driving(5.0), holed) == 0.0
    assert verdict(driving(5.0, y=-1.0), holed) == 1.0


def test_what_lies_between_the_corners_does_not_count():
    # A traffic island of 0.4 by 0.4 m under the car's middle.
    holed = (Patch("ROADBLOCK", (rectangle(-50, -5, 150, 5), rectangle(MIDDLE_M - 0.2, -0.2, MIDDLE_M + 0.2, 0.2))),)
    assert verdict(driving(0.0), holed) == 1.0


def test_no_map_at_all_is_off_the_road():
    assert verdict(driving(5.0), ()) == 0.0
