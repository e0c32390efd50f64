"""Time to collision by hand (docs/pdms.md, section 6.6).

How far it looks, for how long, at whom, and the NaN of a lead exactly ahead.
"""

import math

import numpy as np
import pytest
import torch

from latentdrive.pdms.score import TTC
from latentdrive.pdms.sub_scores.contacts import Circumstances, Contacts, time_to_collision
from tests.support.made_scenes import (
    BETWEEN_Y,
    FRONT_M,
    MIDDLE_M,
    OFF_Y,
    REAR_M,
    ROAD,
    SIDE_M,
    TIMES,
    Other,
    driving,
    judged,
    made_scene,
    patch,
)

CROSSING = (*ROAD, patch("INTERSECTION", -60, -30, 160, 30))
BESIDE = SIDE_M + 0.9


def verdict(states: np.ndarray, *others: Other, **scene) -> tuple[float, int]:
    """Sub-score and step."""
    scores = judged(made_scene(*others, **scene), states)
    return scores.terms[TTC].item(), scores.ttc_step.item()


def lead(gap: float, speed: float = 0.0, **more) -> Other:
    """A car on the road ahead, a little to the left. gap: between the ego's front and its rear, metres."""
    return Other("vehicle", FRONT_M + gap + 2.0, 0.3, speed=speed, **more)


def test_nine_tenths_of_a_second_are_looked_ahead():
    # 10 m/s: the gap of 25.95 m is 25.95 - k at step k, and the car moved on by 9 m touches from k = 17 on (16.95).
    assert verdict(driving(10.0), lead(25.95)) == (0.0, 17)


def test_only_0_3_6_and_9_steps_are_looked_at():
    # A car is present at step 9 only, 8.95 m ahead: step 0 meets it by looking 9 steps ahead. If it is
    # present at step 8 only, no step looks 8 ahead, and step 2 looks 6 ahead but reaches only 8 m.
    assert verdict(driving(10.0), lead(8.95, seen=range(9, 10))) == (0.0, 0)
    assert verdict(driving(10.0), lead(8.95, seen=range(8, 9))) == (1.0, -1)
    assert verdict(driving(10.0), lead(7.95, seen=range(8, 9))) == (0.0, 2)  # 2 steps driven, 6 ahead


@pytest.mark.parametrize(
    ("seconds", "v2", "v1"),
    [
        (3.95, (0.0, 31), (0.0, 31)),  # met at 4.0 s, as seen from 3.1 s
        (4.05, (1.0, -1), (0.0, 32)),
        (4.85, (1.0, -1), (0.0, 40)),
        (4.95, (1.0, -1), (1.0, -1)),
    ],
)
def test_v2_asks_up_to_step_31_and_v1_up_to_step_40(seconds: float, v2: tuple, v1: tuple):
    slower = lead(5.0 * seconds, speed=5.0)  # approached at 5 m/s, met after so many seconds
    assert verdict(driving(10.0), slower) == v2
    assert verdict(driving(10.0), slower, generation=1) == v1


def test_a_lead_at_the_same_speed_is_in_time_however_near():
    assert verdict(driving(10.0), lead(0.5, speed=10.0)) == (1.0, -1)


@pytest.mark.parametrize(("speed", "score"), [(0.0, 1.0), (0.0049, 1.0), (0.005, 0.0), (0.04, 0.0)])
def test_a_car_slower_than_5_mm_per_second_runs_into_nobody(speed: float, score: float):
    assert verdict(driving(speed), lead(-0.1))[0] == score  # they overlap by 0.1 m


def test_who_is_touched_while_the_car_stands_is_not_ignored_later():
    assert verdict(driving(np.where(TIMES < 1.0, 0.0, 3.0)), lead(-0.1)) == (0.0, 10)


def test_ahead_ends_at_30_degrees():
    # From the rear axle, 5 m ahead and dy to the left: 30 degrees at dy = 5 tan 30 = 2.887.
    for dy, score in ((2.86, 0.0), (2.91, 1.0)):
        wide = Other("barrier", 5.0, dy, size=(3.0, 2 * (dy - SIDE_M) + 0.1))
        assert verdict(driving(0.01), wide)[0] == score


def test_who_is_beside_is_ignored_for_good():
    # First they drive side by side. After a second the car moves behind the other one, which is then ahead.
    y = np.where(TIMES <= 1.0, 0.0, 1.0)
    beside = Other("vehicle", MIDDLE_M, BESIDE, speed=3.0)
    speed = np.where(TIMES < 1.0, 3.0, 0.5)
    assert verdict(driving(speed, y=y), beside) == (1.0, -1)
    assert verdict(driving(speed, y=y), beside._replace(seen=range(15, 41)))[0] == 0.0


@pytest.mark.parametrize(
    ("y", "road", "score"), [(0.0, ROAD, 1.0), (BETWEEN_Y, ROAD, 0.0), (OFF_Y, ROAD, 0.0), (0.0, CROSSING, 0.0)]
)
def test_sides_count_in_several_lanes_off_the_road_and_in_intersections(y: float, road: tuple, score: float):
    assert verdict(driving(3.0, y=y), Other("vehicle", MIDDLE_M, y + BESIDE, speed=3.0), road=road)[0] == score


def test_who_is_behind_never_counts():
    for y in (0.0, BETWEEN_Y, OFF_Y):
        behind = Other("vehicle", -REAR_M - 1.9, y + 0.3, speed=3.0)
        assert verdict(driving(3.0, y=y), behind, road=CROSSING) == (1.0, -1)


def test_the_rear_axle_decides_about_the_intersection():
    # The centre of the car is always inside. A rear axle on the border is outside, and then the other car is
    # ignored for good.
    beside = Other("vehicle", MIDDLE_M, BESIDE, speed=3.0)
    for begin, expected in ((0.0, (1.0, -1)), (-0.001, (0.0, 0))):
        road = (*ROAD, patch("INTERSECTION", begin, -30, 160, 30))
        assert verdict(driving(3.0), beside, road=road) == expected


def test_the_other_ones_later_place_is_asked_from_the_cars_present_one():
    # The car creeps at the origin, and a bicycle crosses from the left at 4 m/s. At step 0 it would be
    # touched 9 steps later, at x = 3, y = 4.7 - 3.6 = 1.1: 20 degrees from the axle. At its place of step 0
    # (57 degrees) it would not count.
    crossing = Other("bicycle", 3.0, 4.7, speed=4.0, way=-np.pi / 2, size=(0.2, 0.2))
    assert verdict(driving(0.01), crossing) == (0.0, 0)
    # The limit of 30 degrees: at x = 2 m the bearing is 29 degrees, at 1.9 m 30.1 degrees.
    for x, score in ((2.0, 0.0), (1.9, 1.0)):
        assert verdict(driving(0.01), crossing._replace(x=x))[0] == score


def only_contact(bearing_deg: float, *, outside: bool = False, at_junction: bool = False) -> float:
    """The sub-score for a single contact at step 3."""
    zeros = {name: torch.zeros(1, dtype=torch.long) for name in ("scene", "trajectory", "track", "ahead")}
    contact = Contacts(**zeros, step=torch.tensor([3]), shape=(1, 1, 1))
    how = Circumstances(
        speed=torch.ones(1, dtype=torch.float64),
        bearing_deg=torch.tensor([bearing_deg], dtype=torch.float64),
        outside=torch.tensor([outside]),
        at_junction=torch.tensor([at_junction]),
    )
    score, step, _ = time_to_collision(contact, how)
    assert step.item() == (3 if score.item() == 0.0 else -1)
    return score.item()


def test_bounds_of_the_bearing_are_strict():
    assert [only_contact(bearing) for bearing in (29.999, 30.0, 90.0, 150.0, 180.0)] == [0.0, 1.0, 1.0, 1.0, 1.0]
    beside = [only_contact(bearing, outside=True) for bearing in (30.0, 90.0, 150.0, 150.001, 180.0)]
    assert beside == [0.0, 0.0, 0.0, 1.0, 1.0]


def test_a_bearing_that_is_nan_is_neither_ahead_nor_behind():
    assert only_contact(math.nan) == 1.0
    assert only_contact(math.nan, outside=True) == only_contact(math.nan, at_junction=True) == 0.0


def test_a_lead_exactly_ahead_is_missed_where_rounding_leaves_it_no_bearing():
    # The last bit decides, as in the devkit: at some headings the lead is seen, at others it is ignored for good.
    field = (patch("ROADBLOCK", -60, -60, 60, 60), patch("LANE", -60, -60, 60, 60, on_route=True))
    junction = (*field, patch("INTERSECTION", -60, -60, 60, 60))
    on_field, at_junction = [], []
    for heading in np.linspace(0.01, 1.5, 20):
        ahead = Other("vehicle", 6.0 * np.cos(heading), 6.0 * np.sin(heading), heading=heading)
        creeping = driving(0.01, x=0.0, heading=heading)
        on_field.append(verdict(creeping, ahead, road=field)[0])
        at_junction.append(verdict(creeping, ahead, road=junction)[0])
    assert set(on_field) == {0.0, 1.0}
    assert set(at_junction) == {0.0}  # there, not being behind is enough
