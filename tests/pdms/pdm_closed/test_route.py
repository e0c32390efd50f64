"""Route correction on streets worked by hand (docs/pdms.md, section 9.2)."""

import numpy as np
import pytest

from latentdrive.errors import MapError
from latentdrive.pdms.map.index import MapIndex
from latentdrive.pdms.pdm_closed.route import correct_route, route_lane_ids, starting_block
from latentdrive.types import MapArea
from tests.support.small_maps import joint, lane, pose, rectangle, road_map, street

STREET = MapIndex(road_map(**street(4)))
HERE = pose(5.0)  # in r0


def with_island(blocks: int) -> MapIndex:
    """A street, and a roadblock x with lane lx that nothing leads to."""
    parts = street(blocks)
    parts["lanes"].append(lane("lx", "x", [[0, 500], [20, 500]]))
    parts["roadblocks"].append(MapArea(id="x", rings=(rectangle(0, 498, 20, 502),)))
    return MapIndex(road_map(**parts))


def test_a_linked_route_from_the_ego_on_stays_as_it_is():
    assert correct_route(STREET, HERE, ("r0", "j0", "r1", "j1", "r2")) == ("r0", "j0", "r1", "j1", "r2")


def test_a_block_named_twice_counts_once():
    assert correct_route(STREET, HERE, ("r0", "r0", "j0", "r1", "j0")) == ("r0", "j0", "r1")


def test_a_route_that_begins_further_on_is_led_back_to_the_ego():
    assert correct_route(STREET, HERE, ("r1", "j1", "r2")) == ("r0", "j0", "r1", "j1", "r2")


def test_where_nothing_leads_to_the_route_the_ego_drives_on_to_one_of_its_first_three_blocks():
    index = with_island(4)
    assert correct_route(index, HERE, ("x", "r1", "j1", "r2")) == ("r0", "j0", "r1", "j1", "r2")


def test_driving_on_looks_no_further_than_the_first_three_blocks():
    parts = street(4)
    for name, y in (("x", 500.0), ("y", 600.0), ("z", 700.0)):
        parts["lanes"].append(lane(f"l{name}", name, [[0, y], [20, y]]))
        parts["roadblocks"].append(MapArea(id=name, rings=(rectangle(0, y - 2, 20, y + 2),)))
    index = MapIndex(road_map(**parts))
    assert correct_route(index, HERE, ("x", "y", "r2", "j2")) == ("r0", "j0", "r1", "j1", "r2", "j2")
    assert correct_route(index, HERE, ("x", "y", "z", "r2")) == ("x", "y", "z", "r2")


def test_the_search_back_ends_at_15_blocks():
    index = MapIndex(road_map(**street(12)))
    # r7 is the 15th block from r0. r8 is too far back, so the ego drives on, and meets r5 of the route first.
    assert correct_route(index, HERE, ("r7", "r5"))[-2:] == ("j6", "r7")
    assert correct_route(index, HERE, ("r8", "r5"))[-2:] == ("j4", "r5")


def test_the_search_on_ends_at_30_blocks():
    index = MapIndex(road_map(**street(18)))
    assert len(correct_route(index, HERE, ("j14",))) == 30
    assert correct_route(index, HERE, ("r15",)) == ("r15",)


def test_missing_blocks_between_unlinked_neighbours_are_filled_in():
    assert correct_route(STREET, HERE, ("r0", "r1")) == ("r0", "j0", "r1")
    assert correct_route(STREET, HERE, ("r0", "j0", "r2", "r3")) == ("r0", "j0", "r1", "j1", "r2", "j2", "r3")


def test_a_gap_that_no_chain_bridges_stays():
    assert correct_route(with_island(3), HERE, ("r0", "x")) == ("r0", "x")


def crossing(overlap_m2: float) -> MapIndex:
    """A street whose connector j1 overlaps j0 (2 m wide where they meet)."""
    parts = street(3)
    parts["joints"][1] = joint("j1", "r1", "r2", rectangle(30 - overlap_m2 / 2, -1, 60, 1))
    return MapIndex(road_map(**parts))


def test_the_route_is_cut_where_it_crosses_itself():
    route = ("r0", "j0", "r1", "j1", "r2")
    assert correct_route(crossing(1.1), HERE, route) == ("r0", "j0", "r1")
    assert correct_route(crossing(0.9), HERE, route) == route


def overlapping(route: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Starting block and candidates of an ego near the origin, where three blocks overlap.

    Their lanes are east (eastward, y = 0), far (eastward, y = 0.5) and north (northward).
    """
    lanes = [lane("e", "east", [[-10, 0], [0, 0], [10, 0]]), lane("f", "far", [[-10, 0.5], [0, 0.5], [10, 0.5]])]
    lanes.append(lane("n", "north", [[0, -10], [0, 0], [0, 10]]))
    blocks = [MapArea(id=name, rings=(rectangle(-10, -10, 10, 10),)) for name in ("north", "far", "east")]
    return starting_block(MapIndex(road_map(lanes=lanes, roadblocks=blocks)), pose(0), route)


def test_of_blocks_under_the_ego_the_nearest_lane_that_points_its_way_decides():
    assert overlapping(route=("gone",)) == ("east", ("far", "east"))


def test_a_block_of_the_route_comes_first_even_if_another_is_nearer():
    assert overlapping(route=("far",)) == ("far", ("far",))


def test_a_block_across_the_ego_is_not_its_own_even_on_the_route():
    assert overlapping(route=("north",))[0] == "east"


def test_where_no_lane_points_the_egos_way_the_nearest_block_is_taken():
    start, candidates = starting_block(STREET, pose(24.0, 0.0, np.pi), ("r0",))
    assert (start, candidates) == ("j0", ("j0",))


def test_an_ego_beside_all_blocks_starts_from_the_nearest_ones():
    # 40 m beside the street, abeam of j0. The nearest roadblock and connector are tried; no lane is near
    # enough to qualify.
    start, candidates = starting_block(STREET, pose(24.0, 40.0), ("r0",))
    assert (start, candidates) == ("j0", ("r0", "j0"))
    assert correct_route(STREET, pose(24.0, 40.0), ("r1",)) == ("j0", "r1")


def test_lanes_of_the_route_come_block_by_block():
    assert route_lane_ids(STREET, ("r1", "j1", "r0")) == ("l1", "c1", "l0")


def test_what_makes_a_route_useless_is_named():
    with pytest.raises(MapError, match="no route"):
        correct_route(STREET, HERE, ())
    with pytest.raises(MapError, match="roadblock r9 is not in map small"):
        correct_route(STREET, HERE, ("r0", "r9"))
    with pytest.raises(MapError, match="have no lanes"):
        route_lane_ids(MapIndex(road_map(roadblocks=[MapArea(id="bare", rings=(rectangle(0, 0, 1, 1),))])), ("bare",))
