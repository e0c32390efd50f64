"""PDM-Closed's drivers, worked by hand on a straight street.

The street is 300 m long and has a speed limit of 10 m/s. The rear axle stands at x = 100.
"""

import numpy as np
import pytest

from latentdrive.pdms.map.index import MapIndex
from latentdrive.pdms.pdm_closed.forecast import forecast
from latentdrive.pdms.pdm_closed.idm import IntelligentDrivers, acceleration
from tests.support.small_maps import frame, lane, pose, road_map

LINE = np.column_stack([np.arange(0, 301, 2.0), np.zeros(151), np.zeros(151)])
FRONT = 4.049  # of the ego, from its rear axle
FREE, LENGTH = 2.588, 300.0


def drivers(
    *rows: tuple, lights: tuple = (), speed: float = 8.0, x: float = 100.0, line: np.ndarray = LINE
) -> IntelligentDrivers:
    """With objects of these rows; connector `red` covers x = 150 to 160."""
    index = MapIndex(road_map(connectors=[lane("red", "j", [[150, 0], [160, 0]])]))
    ego = pose(x)
    expected = forecast(index, frame(ego, *rows, lights=lights), ("red",), 51)
    return IntelligentDrivers(line, 10.0, expected, ego, speed)


def test_the_model_follows_its_formula():
    # s* = 1 + 1.5 * 4 + 4 * (4 - 3) / (2 sqrt 4.5); 1.5 (1 - 0.5^10 - (s* / 18)^2), gap = 30 - 10 - 2.
    desired_gap = 7.0 + 4.0 / (2 * 4.5**0.5)
    value = acceleration(np.array([10.0]), np.array([4.0]), np.array([8.0]), np.array([[30.0, 3.0, 2.0]]))
    assert value.tolist() == pytest.approx([1.5 * (1 - 2.0**-10 - (desired_gap / 18) ** 2)], abs=1e-14)


def test_the_model_is_held_between_its_bounds_and_a_gap_is_never_below_1_m():
    s, speed, target = np.array([10.0, 10.0, 10.0]), np.array([9.0, 0.0, 0.0]), np.array([9.0, 9.0, 9.0])
    records = np.array([[5.0, 0.0, 0.0], [5.0, 0.0, 0.0], [1e9, 0.0, 0.0]])
    # Too fast and too near; standing with a gap of "1 m": 1.5 (1 - 0 - 1) = 0; standing on an empty road.
    assert acceleration(s, speed, target, records).tolist() == [-3.0, 0.0, 1.5]


def test_every_driver_brakes_in_the_first_step_because_it_knows_no_leader_yet():
    drive = drivers().proposals
    np.testing.assert_allclose(drive.states[:, 0], np.tile([100.0, 8.0], (15, 1)))
    np.testing.assert_allclose(drive.states[:, 1], np.tile([100.8, 7.7], (15, 1)))
    assert not drive.records[:, :2].any()


def test_on_an_empty_road_the_end_of_the_path_leads():
    drive = drivers().proposals
    np.testing.assert_allclose(drive.records[:, 2:], np.tile([LENGTH, 0.0, FREE], (15, 39, 1)))


def test_paths_lie_at_0_and_1_m_right_and_1_m_left_and_faster_policies_get_further():
    poses = drivers().poses()
    np.testing.assert_allclose(poses[[0, 5, 10], :, 1], np.array([[0.0], [-1.0], [1.0]]) + np.zeros(41), atol=1e-12)
    assert (np.diff(poses[:, -1, 0].reshape(3, 5)) > 0).all()
    assert drivers().targets.tolist() == [2, 4, 6, 8, 10]


def test_a_moving_leader_is_known_by_the_distance_between_the_boxes_and_its_speed_along_the_ego():
    # At step 2 the leader is where it is after 0.2 s, the ego where it was at step 1: x = 100.8, front at 104.849.
    drive = drivers(("v", "vehicle", 130.0, 0.0, 0.0, 5.0, 0.0)).proposals
    rear = 130.0 + 0.2 * 5.0 - 2.0
    np.testing.assert_allclose(
        drive.records[:5, 2], np.tile([100.8 + rear - 100.8 - FRONT, 5.0, 0.0], (5, 1)), atol=1e-9
    )
    np.testing.assert_array_equal(drive.records[:, 3], drive.records[:, 2])


def test_a_crossing_leader_has_no_speed_along_the_ego_and_an_oncoming_one_a_negative_one():
    crossing = drivers(("v", "vehicle", 130.0, -1.0, np.pi / 2, 0.0, 5.0)).proposals
    assert crossing.records[0, 2, 1] == pytest.approx(0.0, abs=1e-9)
    oncoming = drivers(("v", "vehicle", 130.0, 0.0, np.pi, -5.0, 0.0)).proposals
    assert oncoming.records[0, 2, 1] == pytest.approx(-5.0)


def test_a_static_leader_stands_and_the_nearer_of_two_leads():
    drive = drivers(("v", "vehicle", 140.0, 0.0, 0.0, 5.0, 0.0), ("s", "barrier", 130.0, 0.0, 0.0, 0.0, 0.0)).proposals
    np.testing.assert_allclose(drive.records[0, 2], [128.0 - FRONT, 0.0, 0.0], atol=1e-9)


@pytest.mark.parametrize(
    "row",
    [
        ("v", "vehicle", 130.0, 3.2, 0.0, 5.0, 0.0),  # beside the corridor, whose edge is at 1.1485 + 1 m at most
        ("v", "vehicle", 90.0, 0.0, 0.0, 5.0, 0.0),  # behind
        ("v", "vehicle", 180.0, 0.0, 0.0, 0.0, 0.0),  # beyond 5 s at the highest speed
        ("v", "vehicle", 104.0, 0.0, 0.0, 1.0, 0.0),  # touches the ego now
    ],
)
def test_who_is_no_leader(row):
    drive = drivers(row).proposals
    np.testing.assert_allclose(drive.records[:, 2], np.tile([LENGTH, 0.0, FREE], (15, 1)))


def test_only_the_path_on_which_somebody_stands_is_held_up():
    drive = drivers(("v", "barrier", 130.0, 3.0, 0.0, 0.0, 0.0)).proposals
    # Its edge is at y = 2: in the corridor of the left path (to 2.1485) alone.
    assert (drive.records[10:, 2, 0] < LENGTH).all() and (drive.records[:10, 2, 0] == LENGTH).all()


def test_a_red_light_leads_and_what_nobody_writes_stays_from_the_policy_before():
    drive = drivers(("v", "vehicle", 130.0, 0.0, 0.0, 5.0, 0.0), lights=(("red", True),))
    # Policies 0, 2, 4 are behind the vehicle, 1 is past it and meets the light, 3 is past both.
    s = np.tile([100.0, 140.0, 100.0, 200.0, 100.0], 3)
    records = drive._records(np.repeat(np.arange(3), 5), s, 1)[:5]
    behind = 129.0 - FRONT
    expected = [[behind, 5, 0], [150 - FRONT, 5, 0], [behind, 5, 0], [LENGTH, 5, FREE], [behind, 5, FREE]]
    np.testing.assert_allclose(records, expected, atol=1e-9)


def test_a_first_policy_before_a_red_light_knows_no_speed():
    drive = drivers(lights=(("red", True),)).proposals
    np.testing.assert_allclose(drive.records[:, 2], np.tile([150 - FRONT, 0.0, 0.0], (15, 1)), atol=1e-9)


@pytest.mark.parametrize(("vehicle_x", "lead_speed"), [(106.3, 3.0), (106.9, 0.0)])
def test_of_equally_near_ones_the_tree_of_the_scene_decides(vehicle_x, lead_speed):
    # Both overlap the ego of step 1 but did not touch it at step 0. The tree sorts a node by x, so the order of listing
    # (static objects first) does not count. After 0.2 s the vehicle is at 105.7 or 106.3 and the barrier at 106.2.
    rows = [("v", "vehicle", vehicle_x, 0.0, 0.0, -3.0, 0.0), ("s", "barrier", 106.2, 0.0, 0.0, 0.0, 0.0)]
    drive = drivers(*rows, speed=10.0).proposals
    np.testing.assert_allclose(drive.records[0, 2], [101.0, lead_speed, 0.0], atol=1e-9)


def test_a_chosen_proposal_goes_on_as_it_began():
    drive = drivers(("v", "vehicle", 130.0, 0.0, 0.0, 5.0, 0.0))
    longer = drive.chosen(7)
    np.testing.assert_array_equal(longer.states[0, :41], drive.proposals.states[7])
    np.testing.assert_array_equal(longer.records[0, :41], drive.proposals.records[7])
    assert (longer.records[0, 41] == longer.records[0, 40]).all() and longer.records[0, 42, 0] > longer.records[
        0, 41, 0
    ]
    poses = drive.chosen_poses(7)
    np.testing.assert_allclose(poses[:, 1:], np.tile([-1.0, 0.0], (51, 1)), atol=1e-12)
    np.testing.assert_allclose(poses[:, 0], longer.states[0, :, 0], atol=1e-12)


def test_an_ego_past_the_end_of_its_path_stays_at_the_end():
    poses = drivers(x=310.0).poses()
    np.testing.assert_allclose(poses[0], np.tile([300.0, 0.0, 0.0], (41, 1)), atol=1e-9)
