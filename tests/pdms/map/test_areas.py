"""Which polygons of the map a scene is scored on, and how they are packed."""

from dataclasses import replace

import numpy as np
import pytest

from latentdrive.errors import MapError
from latentdrive.pdms.map.areas import areas_near
from latentdrive.pdms.map.index import MAPS_KEPT, MapIndex, index_of
from latentdrive.pdms.scene import LAYERS
from latentdrive.types import MapArea
from tests.support.small_maps import lane, pose, rectangle, road_map, street


def area(name: str, *rings: np.ndarray) -> MapArea:
    return MapArea(id=name, rings=rings)


def layers(areas) -> list[tuple[str, str]]:
    return [(LAYERS[layer], name) for layer, name in zip(areas.layers, areas.ids, strict=True)]


def test_roadblocks_bring_their_lanes_and_connectors_theirs_but_not_themselves():
    parts = street(2)
    parts["intersections"] = [area("i", rectangle(20, -2, 30, 2))]
    parts["carparks"] = [area("p", rectangle(0, 5, 9, 9))]
    areas = areas_near(MapIndex(road_map(**parts)), pose(0.0), ("l1", "c0"))
    expected = [("ROADBLOCK", "r0"), ("ROADBLOCK", "r1"), ("LANE", "l0"), ("LANE", "l1"), ("LANE_CONNECTOR", "c0")]
    assert layers(areas) == [*expected, ("INTERSECTION", "i"), ("CARPARK_AREA", "p")]
    assert areas.on_route.tolist() == [False, False, False, True, True, False, False]


def test_the_square_lies_around_the_centre_and_what_touches_it_is_in():
    # The centre of an ego at x = -1.461 is at the origin.
    edge = [area("touches", rectangle(100, 99, 120, 120)), area("misses", rectangle(100.001, 0, 120, 9))]
    index = MapIndex(road_map(roadblocks=[*edge, area("corner", rectangle(-120, -120, -99.9, -99.9))]))
    assert areas_near(index, pose(-1.461), ()).ids == ("touches", "corner")
    assert areas_near(index, pose(0.0), ()).ids == ("touches", "misses")


def test_a_lane_comes_with_its_roadblock_wherever_it_lies():
    index = MapIndex(
        road_map(lanes=[lane("far", "r", [[500, 0], [520, 0]])], roadblocks=[area("r", rectangle(0, 0, 9, 9))])
    )
    assert areas_near(index, pose(0.0), ()).ids == ("r", "far")


def test_lanes_come_roadblock_by_roadblock():
    lanes = [lane("b", "two", [[0, 0], [9, 0]]), lane("a", "one", [[0, 9], [9, 9]]), lane("c", "two", [[0, 5], [9, 5]])]
    index = MapIndex(road_map(lanes=lanes, roadblocks=[area(one, rectangle(0, 0, 9, 9)) for one in ("one", "two")]))
    assert areas_near(index, pose(0.0), ()).ids == ("one", "two", "a", "b", "c")


def test_rings_are_packed_with_their_holes():
    hole, outer, other = rectangle(2, 2, 4, 4), rectangle(0, 0, 9, 9), rectangle(10, 0, 12, 2)[:3]
    index = MapIndex(
        road_map(roadblocks=[area("far", rectangle(500, 0, 600, 9)), area("r", outer, hole), area("s", other)])
    )
    polygons = areas_near(index, pose(0.0), ()).polygons
    assert polygons.owner.tolist() == [0, 0, 1]
    assert polygons.ends.tolist() == [0, 4, 8, 11]
    np.testing.assert_array_equal(polygons.vertices, np.concatenate([outer, hole, other]))


def test_nothing_near_gives_no_areas():
    areas = areas_near(MapIndex(road_map(**street(2))), pose(5000.0), ("l0",))
    assert areas.ids == () and len(areas.polygons.vertices) == 0 and areas.polygons.ends.tolist() == [0]


def test_an_index_is_made_once_a_map_and_the_oldest_is_let_go():
    first = road_map(**street(1))
    assert index_of(first) is index_of(first)
    assert index_of(replace(first)) is not index_of(first)
    kept = index_of(first)
    for _ in range(MAPS_KEPT):
        index_of(road_map(**street(1)))
    assert index_of(first) is not kept


def test_a_broken_map_is_named():
    with pytest.raises(MapError, match="two things have the same id"):
        MapIndex(road_map(roadblocks=[area("r", rectangle(0, 0, 9, 9))], carparks=[area("r", rectangle(0, 0, 9, 9))]))
    with pytest.raises(MapError, match="the polygon of r has a ring of fewer than 3 points"):
        MapIndex(road_map(roadblocks=[area("r", rectangle(0, 0, 9, 9)[:2])]))
    with pytest.raises(MapError, match="the baseline of l has fewer than 2 points"):
        MapIndex(road_map(lanes=[replace(lane("l", "r", [[0, 0], [9, 0]]), baseline=np.zeros((1, 2)))]))
