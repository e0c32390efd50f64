"""Contacts with other road users, and whose fault they are, by hand (docs/pdms.md, section 6.2)."""

import math

import numpy as np
import pytest
import shapely
import torch

from latentdrive.boxes import corners, ego_centre
from latentdrive.geometry import compose
from latentdrive.pdms.batch import stack
from latentdrive.pdms.score import NC
from latentdrive.pdms.sub_scores.contacts import AHEAD, NEVER, Contacts, bearing_deg, find_contacts, front_touches
from latentdrive.pdms.sub_scores.footprint import footprint
from tests.support.made_scenes import (
    BETWEEN_Y,
    FRONT_M,
    MIDDLE_M,
    OFF_Y,
    OWN_Y,
    REAR_M,
    ROAD,
    SIDE_M,
    STEPS,
    TIMES,
    Other,
    circling,
    driving,
    judged,
    made_scene,
    moved_scene,
)

EGO_SIZE = np.array([5.176, 2.297])


def contacts_by_shapely(scene, states: np.ndarray, ttc_steps: int) -> set[tuple[int, int, int, int]]:
    """Step, trajectory, track and steps ahead of every contact."""
    hits = set()
    for number, ahead in enumerate(AHEAD):
        for k in range(STEPS if ahead == 0 else ttc_steps):
            present = np.flatnonzero(scene.tracks.present[k + ahead])
            boxes = shapely.polygons(corners(scene.tracks.poses[k + ahead], scene.tracks.sizes))
            for trajectory, trajectory_states in enumerate(states):
                centre = ego_centre(trajectory_states[k, :3])
                centre[:2] += (
                    np.hypot(*trajectory_states[k, 3:5])
                    * ahead
                    * 0.1
                    * np.array([np.cos(trajectory_states[k, 2]), np.sin(trajectory_states[k, 2])])
                )
                ego = shapely.polygons(corners(centre, EGO_SIZE))
                hits |= {(k, trajectory, int(n), number) for n in present if shapely.intersects(ego, boxes[n])}
    return hits


@pytest.mark.parametrize(("generation", "ttc_steps"), [(1, 41), (2, 32)])
def test_contacts_are_those_that_shapely_finds(generation: int, ttc_steps: int):
    rng = np.random.default_rng(3)
    others = [
        Other(
            "vehicle",
            *rng.uniform((-10, -8), (30, 8)),
            heading=rng.uniform(-np.pi, np.pi),
            speed=rng.uniform(0, 6),
            size=tuple(rng.uniform((0.3, 0.3), (6, 3))),
            seen=range(int(rng.integers(0, 20)), int(rng.integers(20, 51))),
        )
        for _ in range(25)
    ]
    scene = moved_scene(made_scene(*others, generation=generation), np.array([664_430.0, 3_997_650.0, 0.7]))
    states = np.stack([driving(5.0), circling(6.0, 15.0), circling(3.0, -6.0)])
    states = np.concatenate([compose(np.append(scene.ego[:2], 0.7), states[..., :3]), states[..., 3:]], -1)
    tensors = stack([scene])
    result = find_contacts(footprint(torch.from_numpy(states)[None], tensors.origin), tensors.tracks, ttc_steps)
    ours = set(zip(*(getattr(result, name).tolist() for name in ("step", "trajectory", "track", "ahead"))))
    expected = contacts_by_shapely(scene, states, ttc_steps)
    assert len(expected) > 500
    assert ours == expected
    assert result.shape == (1, 3, 25) and len(ours) == len(result)


def make(*rows: tuple[int, int, int, int, int], shape: tuple[int, int, int]) -> Contacts:
    """Rows of scene, step, trajectory, track, ahead."""
    columns = torch.tensor(rows, dtype=torch.long).reshape(-1, 5).unbind(1)
    return Contacts(**dict(zip(("scene", "step", "trajectory", "track", "ahead"), columns)), shape=shape)


def test_the_first_contact_with_each_track_is_by_step_then_by_steps_ahead():
    rows = [(0, 4, 0, 0, 0), (0, 3, 0, 0, 3), (0, 3, 0, 0, 1), (0, 9, 0, 1, 0), (0, 3, 1, 0, 2), (1, 7, 0, 0, 0)]
    first = make(*rows, shape=(2, 2, 2)).first_each()
    left = list(zip(*(getattr(first, name).tolist() for name in ("scene", "step", "trajectory", "track", "ahead"))))
    assert left == [rows[2], rows[3], rows[4], rows[5]]


def test_nothing_found_stays_nothing():
    empty = make(shape=(2, 3, 0))
    assert len(empty.first_each()) == len(empty.followed_by(empty)) == 0
    assert (empty.first_of_each_trajectory(empty.step) == NEVER).all()


def test_the_smallest_value_of_each_trajectory():
    result = make((0, 0, 0, 0, 0), (0, 0, 0, 1, 0), (1, 0, 1, 0, 0), shape=(2, 2, 2))
    assert result.first_of_each_trajectory(torch.tensor([7, 5, 9])).tolist() == [[5, NEVER], [NEVER, 9]]


def at_origin(other: Other, heading: float = 0.0) -> tuple:
    """The car standing at the origin, one other road user, their contact now."""
    scene = made_scene(other)
    tensors = stack([scene])
    car = footprint(torch.from_numpy(driving(0.0, heading=heading))[None, None], tensors.origin)
    return car, tensors.tracks, make((0, 0, 0, 0, 0), shape=(1, 1, 1))


@pytest.mark.parametrize(
    ("x", "y", "degrees"), [(10.0, 10.0, 45.0), (0.0, -3.0, 90.0), (-3.0, 0.1, 180 - math.degrees(math.atan2(0.1, 3)))]
)
def test_the_bearing_is_measured_from_the_rear_axle(x: float, y: float, degrees: float):
    assert bearing_deg(*at_origin(Other("vehicle", x, y))).item() == pytest.approx(degrees, abs=1e-9)


def test_the_bearing_of_a_lead_exactly_ahead_is_0_or_nan():
    # Where rounding lifts the cosine above 1 there is no angle; clamping would make it 0.
    headings = np.linspace(0.01, 1.5, 200)
    leads = [Other("vehicle", 11.3 * np.cos(h), 11.3 * np.sin(h), heading=h) for h in headings]
    tensors = stack([made_scene(*leads)])
    car = footprint(torch.from_numpy(np.stack([driving(0.0, heading=h) for h in headings]))[None], tensors.origin)
    each = [(0, 0, number, number, 0) for number in range(len(headings))]
    result = bearing_deg(car, tensors.tracks, make(*each, shape=(1, len(headings), len(headings)))).numpy()
    assert 0 < np.isnan(result).sum() < len(result)
    assert np.nanmax(result) < 1e-5


@pytest.mark.parametrize(
    ("x", "y", "touches"),
    [
        (4.049 + 1.99, 0.0, True), (4.049 + 2.0, 0.0, True), (4.049 + 2.0001, 0.0, False), (4.049 - 1.99, 2.0, True),
        (4.049 - 2.01, 2.0, False), (4.049, SIDE_M + 1.0, True), (4.049, SIDE_M + 1.0001, False), (0.0, 0.0, False),
    ],
)  # fmt: skip
def test_the_front_edge_touches_a_box_of_4_by_2_m(x: float, y: float, touches: bool):
    assert front_touches(*at_origin(Other("vehicle", x, y))).item() is touches


BESIDE = OWN_Y + SIDE_M + 0.9  # a box of 2 m there overlaps the car by 0.1 m, sideways


def collision(states: np.ndarray, *others: Other, **scene) -> tuple[float, int, int]:
    """Sub-score, step and track."""
    scores = judged(made_scene(*others, **scene), states)
    return scores.terms[NC].item(), scores.collision_step.item(), scores.collision_track.item()


def test_nobody_is_hit_on_an_empty_road():
    assert collision(driving(5.0)) == (1.0, -1, -1)
    assert collision(driving(5.0), Other("vehicle", 15.0, 8.0)) == (1.0, -1, -1)  # a car 6 m to the left


@pytest.mark.parametrize("name", ["vehicle", "pedestrian", "bicycle"])
def test_running_into_a_standing_agent_scores_0(name: str):
    # The front is at 4.049 + 0.5 k, the other one's rear at 20 - 2: 0.5 k >= 13.951 from k = 28 on.
    assert collision(driving(5.0), Other("pedestrian", 90.0, 0.3), Other(name, 20.0, 0.3)) == (0.0, 28, 1)


@pytest.mark.parametrize("name", ["traffic_cone", "barrier", "czone_sign", "generic_object"])
def test_running_into_a_static_object_scores_a_half(name: str):
    assert collision(driving(5.0), Other(name, 20.0, 0.3)) == (0.5, 28, 0)


def test_the_worst_of_several_collisions_counts_and_the_first_step_is_told():
    # The cone's rear edge at 9 is reached at k = 10 (4.049 + 5 = 9.049), the car's at 18 at k = 28.
    both = Other("vehicle", 20.0, 0.3), Other("traffic_cone", 11.0, 0.3)
    assert collision(driving(5.0), *both) == (0.0, 10, 1)
    assert collision(driving(5.0), both[1], both[1]) == (0.5, 10, 0)


def test_touching_boxes_count_and_a_gap_of_a_tenth_of_a_millimetre_does_not():
    # A moving ego passes a cone whose side lies exactly where its own does.
    assert collision(driving(5.0), Other("traffic_cone", 10.0, SIDE_M + 1.0))[0] == 0.5
    assert collision(driving(5.0), Other("traffic_cone", 10.0, SIDE_M + 1.0001))[0] == 1.0


@pytest.mark.parametrize(("speed", "score"), [(0.0, 1.0), (0.05, 1.0), (0.0501, 0.0), (-0.0501, 0.0)])
def test_a_car_that_stands_is_never_at_fault(speed: float, score: float):
    # Another car backs into its front: rear edge from 10 - 2 at 2 m/s, front of the ego at 4.049.
    assert collision(driving(speed), Other("vehicle", 10.0, 0.3, speed=2.0, way=np.pi))[0] == score


def test_speed_is_the_norm_of_both_components():
    states = driving(0.04)
    states[:, 4] = 0.04  # 0.0566 m/s together
    assert collision(states, Other("vehicle", 6.0, 0.3))[0] == 0.0


def test_who_was_touched_while_the_car_stood_is_ignored_for_good():
    stands_first = np.where(TIMES < 1.0, 0.0, 3.0)
    touching = Other("barrier", FRONT_M + 1.9, 0.3)
    assert collision(driving(stands_first), touching) == (1.0, -1, -1)
    assert collision(driving(3.0), touching) == (0.5, 0, 0)
    # Another one behind it is not ignored: rear edge at 8, front at 4.049 + 0.3 n after n moves, n = 14, k = 10 + 14.
    assert collision(driving(stands_first), touching, Other("barrier", 10.0, 0.3)) == (0.5, 24, 1)


def test_a_track_that_stands_is_hit_even_from_behind_or_sideways():
    behind = Other("vehicle", -REAR_M - 1.9, 0.3)
    assert collision(driving(1.0), behind)[0] == 0.0
    assert collision(driving(1.0), Other("vehicle", MIDDLE_M, BESIDE))[0] == 0.0


@pytest.mark.parametrize(("labelled", "score"), [(0.0, 0.0), (0.05, 0.0), (0.0501, 1.0)])
def test_the_velocity_at_first_sight_decides_whether_a_track_stands(labelled: float, score: float):
    # It drives into the ego's rear at 6 m/s whatever its label says.
    assert collision(driving(3.0), Other("vehicle", -10.0, 0.3, speed=6.0, labelled=labelled))[0] == score
    # And it stands beside the ego whatever its label says.
    assert collision(driving(3.0), Other("vehicle", MIDDLE_M, BESIDE, labelled=labelled))[0] == score


@pytest.mark.parametrize("y", [OWN_Y, BETWEEN_Y, OFF_Y])
def test_who_comes_from_behind_is_at_fault_wherever_the_car_is(y: float):
    assert collision(driving(3.0, y=y), Other("vehicle", -10.0, y + 0.3, speed=6.0)) == (1.0, -1, -1)


def test_behind_begins_at_150_degrees():
    # Seen from the rear axle the middle of the box lies at (-1.2, dy): 150 degrees at dy = 1.2 * tan 30 = 0.693.
    for dy, score in ((0.68, 1.0), (0.71, 0.0)):
        small = Other("vehicle", -1.2, OFF_Y + dy, speed=3.0, size=(0.2, 0.2))
        assert collision(driving(3.0, y=OFF_Y), small)[0] == score  # off the road, where sides count


def test_what_touches_the_front_edge_is_hit_even_if_it_moves():
    assert collision(driving(5.0), Other("vehicle", 15.0, 0.3, speed=1.0))[0] == 0.0
    # A car crosses from the right, in front of the ego, at 4 m/s, and is met by its front.
    crossing = Other("vehicle", 15.0, -8.0, heading=np.pi / 2, speed=4.0)
    assert collision(driving(5.0), crossing)[0] == 0.0


@pytest.mark.parametrize(("y", "score"), [(OWN_Y, 1.0), (BETWEEN_Y, 0.0), (OFF_Y, 0.0), (8.0, 1.0)])
def test_a_side_is_the_cars_fault_in_several_lanes_or_off_the_road_only(y: float, score: float):
    assert collision(driving(3.0, y=y), Other("vehicle", MIDDLE_M, y + BESIDE, speed=3.0))[0] == score


def test_a_lane_that_holds_all_four_corners_ends_several_lanes():
    merging = (*ROAD, ROAD[2]._replace(rings=(np.array([[-50.0, 0.5], [150, 0.5], [150, 5.5], [-50, 5.5]]),)))
    beside = Other("vehicle", MIDDLE_M, BETWEEN_Y + BESIDE, speed=3.0)
    assert collision(driving(3.0, y=BETWEEN_Y), beside)[0] == 0.0
    assert collision(driving(3.0, y=BETWEEN_Y), beside, road=merging)[0] == 1.0


def test_who_touched_the_side_is_ignored_when_the_front_meets_it_later():
    # It drives beside the ego for a second. Then the ego falls back and moves into its lane.
    y = np.where(TIMES <= 1.0, 0.0, 1.0)
    beside = Other("vehicle", MIDDLE_M, BESIDE, speed=3.0)
    speed = np.where(TIMES < 1.0, 3.0, 0.5)  # it falls back, so that the other car is ahead
    assert collision(driving(speed, y=y), beside) == (1.0, -1, -1)
    late = beside._replace(seen=range(11, 41))
    assert collision(driving(speed, y=y), late)[0] == 0.0  # if it is present only later, the front meets it


def test_who_is_absent_is_not_hit():
    assert collision(driving(5.0), Other("vehicle", 20.0, 0.3, seen=range(28)))[0] == 1.0
    assert collision(driving(5.0), Other("vehicle", 20.0, 0.3, seen=range(35, 41))) == (0.0, 35, 0)


def test_v1_counts_who_overlaps_the_car_now():
    assert collision(driving(5.0), Other("vehicle", 5.0, 0.3), generation=1) == (0.0, 0, 0)
