"""No at-fault collision by hand (spec 6.2): whose fault a contact is, and what is forgotten for good."""

import numpy as np
import pytest

from latentdrive.pdms.score import NC
from tests.support.made_scenes import (
    BETWEEN_Y,
    FRONT_M,
    MIDDLE_M,
    OFF_Y,
    OWN_Y,
    REAR_M,
    ROAD,
    SIDE_M,
    TIMES,
    Other,
    driving,
    judged,
    made_scene,
)

BESIDE = OWN_Y + SIDE_M + 0.9  # a box of 2 m there overlaps the car by 0.1 m, sideways


def verdict(states: np.ndarray, *others: Other, **scene) -> tuple[float, int, int]:
    """Sub-score, step and track."""
    found = judged(made_scene(*others, **scene), states)
    return found.terms[NC].item(), found.collision_step.item(), found.collision_track.item()


def test_nobody_is_hit_on_an_empty_road():
    assert verdict(driving(5.0)) == (1.0, -1, -1)
    assert verdict(driving(5.0), Other("vehicle", 15.0, 8.0)) == (1.0, -1, -1)  # a car 6 m to the left


@pytest.mark.parametrize("name", ["vehicle", "pedestrian", "bicycle"])
def test_running_into_a_standing_agent_scores_0(name: str):
    # The front is at 4.049 + 0.5 k, the other one's rear at 20 - 2: 0.5 k >= 13.951 from k = 28 on.
    assert verdict(driving(5.0), Other("pedestrian", 90.0, 0.3), Other(name, 20.0, 0.3)) == (0.0, 28, 1)


@pytest.mark.parametrize("name", ["traffic_cone", "barrier", "czone_sign", "generic_object"])
def test_running_into_a_static_object_scores_a_half(name: str):
    assert verdict(driving(5.0), Other(name, 20.0, 0.3)) == (0.5, 28, 0)


def test_the_worst_of_several_collisions_counts_and_the_first_step_is_told():
    # The cone's rear edge at 9 is reached at k = 10 (4.049 + 5 = 9.049), the car's at 18 at k = 28.
    both = Other("vehicle", 20.0, 0.3), Other("traffic_cone", 11.0, 0.3)
    assert verdict(driving(5.0), *both) == (0.0, 10, 1)
    assert verdict(driving(5.0), both[1], both[1]) == (0.5, 10, 0)


def test_touching_boxes_count_and_a_gap_of_a_tenth_of_a_millimetre_does_not():
    # A moving ego passes a cone whose side lies exactly where its own does.
    assert verdict(driving(5.0), Other("traffic_cone", 10.0, SIDE_M + 1.0))[0] == 0.5
    assert verdict(driving(5.0), Other("traffic_cone", 10.0, SIDE_M + 1.0001))[0] == 1.0


@pytest.mark.parametrize(("speed", "score"), [(0.0, 1.0), (0.05, 1.0), (0.0501, 0.0), (-0.0501, 0.0)])
def test_a_car_that_stands_is_never_at_fault(speed: float, score: float):
    # Another car backs into its front: rear edge from 10 - 2 at 2 m/s, front of the ego at 4.049.
    assert verdict(driving(speed), Other("vehicle", 10.0, 0.3, speed=2.0, way=np.pi))[0] == score


def test_speed_is_the_norm_of_both_components():
    states = driving(0.04)
    states[:, 4] = 0.04  # 0.0566 m/s together
    assert verdict(states, Other("vehicle", 6.0, 0.3))[0] == 0.0


def test_who_was_touched_while_the_car_stood_is_ignored_for_good():
    stands_first = np.where(TIMES < 1.0, 0.0, 3.0)
    touching = Other("barrier", FRONT_M + 1.9, 0.3)
    assert verdict(driving(stands_first), touching) == (1.0, -1, -1)
    assert verdict(driving(3.0), touching) == (0.5, 0, 0)
    # Another one behind it is not ignored: rear edge at 8, front at 4.049 + 0.3 n after n moves, n = 14, k = 10 + 14.
    assert verdict(driving(stands_first), touching, Other("barrier", 10.0, 0.3)) == (0.5, 24, 1)


def test_a_track_that_stands_is_hit_even_from_behind_or_sideways():
    behind = Other("vehicle", -REAR_M - 1.9, 0.3)
    assert verdict(driving(1.0), behind)[0] == 0.0
    assert verdict(driving(1.0), Other("vehicle", MIDDLE_M, BESIDE))[0] == 0.0


@pytest.mark.parametrize(("labelled", "score"), [(0.0, 0.0), (0.05, 0.0), (0.0501, 1.0)])
def test_the_velocity_at_first_sight_decides_whether_a_track_stands(labelled: float, score: float):
    # It drives into the ego's rear at 6 m/s whatever its label says.
    assert verdict(driving(3.0), Other("vehicle", -10.0, 0.3, speed=6.0, labelled=labelled))[0] == score
    # And it stands beside the ego whatever its label says.
    assert verdict(driving(3.0), Other("vehicle", MIDDLE_M, BESIDE, labelled=labelled))[0] == score


@pytest.mark.parametrize("y", [OWN_Y, BETWEEN_Y, OFF_Y])
def test_who_comes_from_behind_is_at_fault_wherever_the_car_is(y: float):
    assert verdict(driving(3.0, y=y), Other("vehicle", -10.0, y + 0.3, speed=6.0)) == (1.0, -1, -1)


def test_behind_begins_at_150_degrees():
    # Seen from the rear axle the middle of the box lies at (-1.2, dy): 150 degrees at dy = 1.2 * tan 30 = 0.693.
    for dy, score in ((0.68, 1.0), (0.71, 0.0)):
        small = Other("vehicle", -1.2, OFF_Y + dy, speed=3.0, size=(0.2, 0.2))
        assert verdict(driving(3.0, y=OFF_Y), small)[0] == score  # off the road, where sides count


def test_what_touches_the_front_edge_is_hit_even_if_it_moves():
    assert verdict(driving(5.0), Other("vehicle", 15.0, 0.3, speed=1.0))[0] == 0.0
    # A car crosses from the right, in front of the ego, at 4 m/s, and is met by its front.
    crossing = Other("vehicle", 15.0, -8.0, heading=np.pi / 2, speed=4.0)
    assert verdict(driving(5.0), crossing)[0] == 0.0


@pytest.mark.parametrize(("y", "score"), [(OWN_Y, 1.0), (BETWEEN_Y, 0.0), (OFF_Y, 0.0), (8.0, 1.0)])
def test_a_side_is_the_cars_fault_in_several_lanes_or_off_the_road_only(y: float, score: float):
    assert verdict(driving(3.0, y=y), Other("vehicle", MIDDLE_M, y + BESIDE, speed=3.0))[0] == score


def test_a_lane_that_holds_all_four_corners_ends_several_lanes():
    merging = (*ROAD, ROAD[2]._replace(rings=(np.array([[-50.0, 0.5], [150, 0.5], [150, 5.5], [-50, 5.5]]),)))
    beside = Other("vehicle", MIDDLE_M, BETWEEN_Y + BESIDE, speed=3.0)
    assert verdict(driving(3.0, y=BETWEEN_Y), beside)[0] == 0.0
    assert verdict(driving(3.0, y=BETWEEN_Y), beside, road=merging)[0] == 1.0


def test_who_touched_the_side_is_ignored_when_the_front_meets_it_later():
    # It drives beside the ego for a second, then both go on with the ego faster and moved into its way.
    y = np.where(TIMES <= 1.0, 0.0, 1.0)
    beside = Other("vehicle", MIDDLE_M, BESIDE, speed=3.0)
    speed = np.where(TIMES < 1.0, 3.0, 0.5)  # it falls back, so that the other one is ahead
    assert verdict(driving(speed, y=y), beside) == (1.0, -1, -1)
    late = beside._replace(seen=range(11, 41))
    assert verdict(driving(speed, y=y), late)[0] == 0.0  # seen from then on only, the front meets it


def test_who_is_absent_is_not_hit():
    assert verdict(driving(5.0), Other("vehicle", 20.0, 0.3, seen=range(28)))[0] == 1.0
    assert verdict(driving(5.0), Other("vehicle", 20.0, 0.3, seen=range(35, 41))) == (0.0, 35, 0)


def test_v1_counts_who_overlaps_the_car_now():
    assert verdict(driving(5.0), Other("vehicle", 5.0, 0.3), generation=1) == (0.0, 0, 0)
