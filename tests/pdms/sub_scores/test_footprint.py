"""The car's box at simulated states, and the areas of the map that it is in (docs/pdms.md, section 6.1)."""

import numpy as np
import pytest
import torch

from latentdrive.pdms.batch import stack
from latentdrive.pdms.sub_scores.footprint import ego_areas, footprint
from tests.support.made_scenes import (
    FRONT_M,
    MIDDLE_M,
    ONCOMING_Y,
    REAR_M,
    ROAD,
    SIDE_M,
    STEPS,
    Other,
    circling,
    driving,
    made_scene,
    patch,
)

ORIGIN = torch.tensor([[1000.0, 2000.0]], dtype=torch.float64)


def of(*states: np.ndarray):
    return torch.from_numpy(np.stack(states))[None]


def test_the_box_reaches_4_049_m_ahead_of_the_rear_axle_and_1_127_behind_it():
    corners = footprint(of(driving(0.0)), ORIGIN * 0).corners()[0, 0, 0]
    expected = [[FRONT_M, SIDE_M], [-REAR_M, SIDE_M], [-REAR_M, -SIDE_M], [FRONT_M, -SIDE_M]]
    np.testing.assert_allclose(corners, expected, rtol=0, atol=1e-12)


def test_positions_count_from_the_origin_and_turn_with_the_car():
    states = driving(0.0, x=1010.0, y=2020.0, heading=np.pi / 2)
    car = footprint(of(states), ORIGIN)
    np.testing.assert_allclose(car.rear[0, 7, 0], [10, 20])
    np.testing.assert_allclose(car.centre[0, 7, 0], [10, 20 + MIDDLE_M])
    np.testing.assert_allclose(car.corners()[0, 7, 0, 0], [10 - SIDE_M, 20 + FRONT_M])


def test_axes_are_scene_step_trajectory_and_rows_can_be_picked():
    states = of(driving(3.0), circling(4.0, 10.0))
    states[0, 1, :, 4] = 3.0
    car = footprint(states, ORIGIN * 0)
    assert car.speed.shape == (1, STEPS, 2) and car.speed[0, 0].tolist() == [3.0, 5.0]
    rows = tuple(torch.tensor([k]) for k in (0, 10, 1))
    torch.testing.assert_close(car.at(rows).centre, car.centre[0, 10, 1][None])
    torch.testing.assert_close(car.at(rows).corners(), car.corners()[0, 10, 1][None])


def areas(states: np.ndarray, road: tuple = ROAD):
    tensors = stack([made_scene(Other("vehicle", 90.0, 0.0), road=road)])
    return ego_areas(footprint(of(states), tensors.origin), tensors.map)


@pytest.mark.parametrize(
    ("y", "off", "oncoming"),
    [(0.0, False, False), (1.99, False, False), (ONCOMING_Y, False, True), (-30.0, True, True)],
)
def test_off_road_and_oncoming(y: float, off: bool, oncoming: bool):
    where = areas(driving(0.0, y=y))
    assert where.off_road.all().item() is off and where.oncoming.all().item() is oncoming


def test_a_middle_on_the_seam_of_two_lanes_is_in_neither():
    assert areas(driving(0.0, y=2.0)).oncoming.all()


def test_the_intersection_is_asked_for_the_middle_of_the_car():
    road = (*ROAD, patch("INTERSECTION", 10, -5, 20, 5))
    inside = areas(driving(5.0), road).centre_in[0, :, 0]
    # The middle, at 1.461 + 0.5 k, is inside from k = 18 (10.461) to k = 37 (19.961).
    assert torch.nonzero(inside)[:, 0].tolist() == list(range(18, 38))
