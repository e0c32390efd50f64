"""The centreline and arc lengths along it, worked by hand (docs/pdms.md, section 9.3)."""

import numpy as np
import pytest

from latentdrive.pdms.map.index import MapIndex
from latentdrive.pdms.pdm_closed.centreline import Path, centreline, start_lane
from tests.support.small_maps import lane, pose, road_map, street

CORNER = np.array([[0.0, 0.0, 0.0], [10.0, 0.0, 0.0], [10.0, 0.0, np.pi / 2], [10.0, 5.0, np.pi / 2]])


def test_progress_counts_along_the_vertices_and_coinciding_ones_add_nothing():
    path = Path(CORNER)
    assert path.progress.tolist() == [0, 10, 10, 15]
    assert path.length == 15


def test_poses_lie_between_vertices_and_clip_at_the_ends():
    poses = Path(CORNER).at(np.array([-3.0, 4.0, 12.0, 99.0]))
    expected = [[1e-5, 0, 0], [4, 0, 0], [10, 2, np.pi / 2], [10, 5, np.pi / 2]]
    np.testing.assert_allclose(poses, expected, atol=1e-12)


def test_headings_turn_the_short_way_between_vertices():
    path = Path(np.array([[0, 0, np.pi - 0.1], [2, 0, -np.pi + 0.1]]))
    np.testing.assert_allclose(path.at(np.array([0.5, 1.5]))[:, 2], [np.pi - 0.05, -np.pi + 0.05], atol=1e-12)


def test_a_line_that_begins_with_coinciding_vertices_gives_zeros_as_the_devkit_does():
    path = Path(np.array([[7.0, 7.0, 0.0], [7.0, 7.0, 0.0]]))
    assert path.at(np.array([0.0])).tolist() == [[0, 0, 0]]


def test_a_projection_is_the_first_of_the_nearest_points():
    path = Path(CORNER)
    # (8, 3) is 2 m from x = 10 and 3 m from y = 0; (9, 1) is 1 m from both; beyond the ends it is clamped.
    assert path.project(np.array([[8.0, 3.0], [9.0, 1.0], [-5.0, 1.0], [10.0, 50.0]])).tolist() == [13, 9, 0, 15]


def test_a_positive_shift_is_to_the_left():
    shifted = Path(CORNER).shifted(1.0)
    np.testing.assert_allclose(shifted.poses[:2], [[0, 1, 0], [10, 1, 0]], atol=1e-12)
    np.testing.assert_allclose(shifted.poses[3], [9, 5, np.pi / 2], atol=1e-12)


def test_a_part_keeps_whole_vertices_and_is_cut_only_where_there_are_fewer_than_two():
    path = Path(np.array([[x, 0.0, 0.0] for x in (0, 2, 4, 6, 20)], float))
    assert np.array(path.part(1.0, 5.0).coords).tolist() == [[2, 0], [4, 0]]
    assert np.array(path.part(5.0, 9.0).coords)[:, 0].tolist() == pytest.approx([5, 6, 9])
    assert np.array(path.part(7.0, 9.0).coords)[:, 0].tolist() == pytest.approx([7, 9])


CROSS = MapIndex(
    road_map(
        lanes=[
            lane("east", "r", [[-10, 0], [0, 0], [10, 0]]),
            lane("slant", "r", [[-10, -1], [0, 0], [10, 1]]),
            lane("away", "r", [[-10, 30], [10, 30]]),
        ]
    )
)
LANES = ("slant", "east", "away")


def test_of_lanes_under_the_rear_axle_the_one_turned_like_the_ego_is_taken():
    assert start_lane(CROSS, pose(1.0), LANES) == "east"
    assert start_lane(CROSS, pose(1.0, 0.0, 0.09), LANES) == "slant"


def test_an_ego_whose_rear_axle_is_in_no_lane_is_in_the_first_that_holds_its_centre():
    # The rear axle is 1 m before the lanes begin. The centre is 0.46 m inside slant and east: the route's
    # order decides.
    assert start_lane(CROSS, pose(-11.0, -1.5), ("away", "slant", "east")) == "slant"


def test_an_ego_in_no_lane_is_in_the_one_nearest_to_its_footprint():
    assert start_lane(CROSS, pose(0.0, 20.0), LANES) == "away"
    assert start_lane(CROSS, pose(0.0, 9.0), ("east", "away")) == "east"


def test_equal_turns_go_to_the_lane_that_a_search_of_the_scene_finds_first():
    parts = street(2)
    ego = pose(20.0)  # on the line where l0 ends and c0 begins
    assert start_lane(MapIndex(road_map(**parts)), ego, ("l0", "c0")) == "l0"
    assert start_lane(MapIndex(road_map(**parts)), ego, ("c0", "l0")) == "l0"  # the map's order, not the route's


def test_the_line_holds_whole_lanes_with_their_joints_twice():
    index = MapIndex(road_map(**street(2)))
    line = centreline(index, "l0", ("r0", "j0", "r1"), ("l0", "c0", "l1"))
    assert line[:, 0].tolist() == [0, 5, 10, 15, 20, 20, 25, 30, 30, 35, 40, 45, 50]
    assert not line[:, 1:].any()


def forked() -> tuple[MapIndex, tuple[str, ...]]:
    """From l0 two connectors lead to lanes of r1: c0, 10 m, to l1 and detour, 40 m, to m1."""
    parts = street(2)
    parts["lanes"][0] = lane("l0", "r0", [[0, 0], [20, 0]], ("detour", "c0"))
    parts["connectors"].append(lane("detour", "j0", [[20, 0], [20, 40]], ("m1",)))
    parts["lanes"].append(lane("m1", "r1", [[20, 40], [30, 40]]))
    return MapIndex(road_map(**parts)), ("l0", "detour", "c0", "m1", "l1")


def test_the_shortest_way_to_the_last_block_is_taken():
    index, lanes = forked()
    assert centreline(index, "l0", ("r0", "j0", "r1"), lanes)[-1].tolist() == [50, 0, 0]
    assert centreline(index, "l0", ("r0", "j0", "r1"), ("l0", "detour", "m1"))[-1].tolist() == [30, 40, 0]


def test_where_the_route_ends_before_its_last_block_the_way_of_most_lanes_is_taken():
    index, lanes = forked()
    # Nothing leads to r9: l1 and m1 are both three lanes deep, and l1 costs 30 m against 50 m.
    blocks = ("r0", "j0", "r1", "r9")
    assert centreline(index, "l0", blocks, lanes)[-1].tolist() == [50, 0, 0]
    # Without l1, m1 is the deepest although c0 is nearer.
    assert centreline(index, "l0", blocks, ("l0", "c0", "detour", "m1"))[-1].tolist() == [30, 40, 0]


def test_the_line_ends_after_30_blocks():
    index = MapIndex(road_map(**street(20)))
    blocks = tuple(f"{kind}{i}" for i in range(20) for kind in "rj")[:-1]
    lanes = tuple(f"{kind}{i}" for i in range(20) for kind in "lc")[:-1]
    line = centreline(index, "l1", blocks, lanes)
    assert line[0, 0] == 30
    assert line[-1, 0] == 30 + 15 * 30  # 15 roadblocks and 15 connectors, so it ends with j15
