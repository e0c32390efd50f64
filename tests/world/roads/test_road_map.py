"""Maps of layouts: nuPlan's graph, ids, areas, and the place in the global frame."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import shapely

from latentdrive.types import RoadMap
from latentdrive.world.navsim.data_set import NavsimWorld
from latentdrive.world.roads.layouts import Layout, RoadType
from latentdrive.world.roads.map_checks import KINDS
from latentdrive.world.roads.road_areas import KERB_M
from latentdrive.world.roads.road_map import MappedRoads, map_roads, placed
from tests.support.road_map import union

SHOULDER_M = 0.9


@pytest.fixture(scope="module")
def roads(city_world: NavsimWorld) -> Mapping[str, RoadType]:
    """The types of road of the NAVSIM world."""
    return city_world.roads


def mapped_roads(layout: Layout) -> MappedRoads:
    """Map a layout, with ids from 5000."""
    return map_roads(
        layout, first_id=5000, block_m=140.0, joint_m=6.0, shoulder_m=SHOULDER_M, limit_mps=9.0, name="sg-one-north"
    )


@pytest.fixture(params=["highway", "curves", "merge", "circle", "crossing", "tail_street"])
def layout(request, roads) -> Layout:
    return roads[request.param].layout(np.random.default_rng(4), 300.0)


@pytest.fixture
def road_map(layout) -> RoadMap:
    return mapped_roads(layout).map


def test_ids_are_unique_over_all_kinds_and_ascend_within_each(road_map: RoadMap):
    ids = {kind: [int(item.id) for item in getattr(road_map, kind)] for kind in KINDS}
    all_ids = [id_ for of_kind in ids.values() for id_ in of_kind]
    assert len(set(all_ids)) == len(all_ids) and min(all_ids) == 5000
    assert all(a < b for of_kind in ids.values() for a, b in pairwise(of_kind))


def test_lanes_lead_to_connectors_and_connectors_to_one_lane(road_map: RoadMap):
    lanes, connectors = ({lane.id: lane for lane in kind} for kind in (road_map.lanes, road_map.connectors))
    for lane in lanes.values():
        assert all(lane.id in connectors[follower].incoming for follower in lane.outgoing)
    for connector in connectors.values():
        before, after = lanes[connector.incoming[0]], lanes[connector.outgoing[0]]
        assert len(connector.incoming) == len(connector.outgoing) == 1
        for earlier, later in ((before, connector), (connector, after)):
            # In a merge the end of the ramp is 5 mm off.
            assert np.hypot(*(earlier.baseline[-1] - later.baseline[0])) < 0.05


def test_roadblocks_hold_their_lanes_and_are_connected_as_they_are(road_map: RoadMap):
    blocks = (*road_map.roadblocks, *road_map.roadblock_connectors)
    areas = {block.id: shapely.Polygon(block.rings[0]) for block in blocks}
    assert all(area.is_valid for area in areas.values())
    block = {lane.id: lane.roadblock for lane in (*road_map.lanes, *road_map.connectors)}
    for lane in (*road_map.lanes, *road_map.connectors):
        polygon = shapely.Polygon(lane.rings[0])
        assert polygon.is_valid and polygon.difference(areas[lane.roadblock]).area < 0.02 * polygon.area
    joints = {joint.id: joint for joint in road_map.roadblock_connectors}
    for connector in road_map.connectors:
        own = joints[connector.roadblock]
        assert own.from_roadblock == block[connector.incoming[0]] and own.to_roadblock == block[connector.outgoing[0]]
        inside = next(area for area in road_map.intersections if area.id == own.intersection)
        assert shapely.Polygon(inside.rings[0]).buffer(0.05).contains(shapely.LineString(connector.baseline))


def drivable(road_map: RoadMap) -> shapely.Geometry:
    """Roadblocks and intersections."""
    return union((*road_map.roadblocks, *road_map.intersections))


def test_the_shoulder_belongs_to_the_road_and_to_no_lane(road_map: RoadMap):
    lanes = union((*road_map.lanes, *road_map.connectors))
    road, outer = drivable(road_map), {}
    for lane in road_map.lanes:
        if lane.roadblock not in outer or lane.index > outer[lane.roadblock].index:
            outer[lane.roadblock] = lane
    paved = []
    for lane in outer.values():
        half = len(lane.rings[0]) // 2
        left, right = lane.rings[0][half // 2], lane.rings[0][half:][::-1][half // 2]  # halfway along
        out = (right - left) / np.linalg.norm(right - left)
        near, far = shapely.Point(right + 0.45 * out), shapely.Point(right + (SHOULDER_M - 0.05) * out)
        if not lanes.dwithin(far, SHOULDER_M - 0.1):  # no other road there
            paved.append(road.contains(near) and road.contains(far) and not lanes.contains(near))
            beyond = shapely.Point(right + (SHOULDER_M + 0.05) * out)
            joints = union(road_map.intersections)
            assert joints.dwithin(beyond, 0.5) or not road.contains(beyond)
    assert len(paved) >= 2 and all(paved)


def test_a_median_that_two_shoulders_fill_is_paved_and_a_wider_one_is_not(roads):
    for name, all_of_it in (("curves", True), ("highway", False)):
        spec = replace(roads[name], oncoming=(1, 1), own=(1, 1), median_m=(1.6, 1.6) if all_of_it else (3.0, 3.0))
        layout = spec.layout(np.random.default_rng(4), 300.0)
        road_map = mapped_roads(layout).map
        middle = layout.line.place(np.stack([np.linspace(40, 300, 200), np.zeros(200), np.zeros(200)], -1))
        inside = shapely.contains_xy(drivable(road_map).buffer(0.01), middle[:, 0], middle[:, 1])
        assert inside.mean() > 0.99 if all_of_it else inside.mean() < 0.2  # joints are closed


def test_pavements_lie_beside_the_shoulder(roads):
    for name in ("curves", "highway", "tail_street"):
        road_map = mapped_roads(roads[name].layout(np.random.default_rng(4), 300.0)).map
        road = drivable(road_map)
        for walk in road_map.walkways:
            assert KERB_M - 0.02 < shapely.Polygon(walk.rings[0]).distance(road) < KERB_M + 0.02


def test_lanes_are_numbered_from_the_left(road_map: RoadMap):
    for block in road_map.roadblocks:
        lanes = sorted((lane for lane in road_map.lanes if lane.roadblock == block.id), key=lambda lane: lane.index)
        for left, right in pairwise(lanes):
            ahead, aside = left.baseline[1] - left.baseline[0], right.baseline[0] - left.baseline[0]
            assert ahead[0] * aside[1] - ahead[1] * aside[0] < 0  # the next lane lies to the right


def test_a_route_names_blocks_in_the_order_they_are_driven(roads):
    layout = roads["crossing"].layout(np.random.default_rng(4), 300.0)
    mapped = mapped_roads(layout)
    start = layout.ego_starts[0].lane[:2]
    turn = next(road for road in layout.turns if road[0] == start[1])
    route = mapped.route((start, turn, next(road for road in mapped.blocks if road[0] == turn[1])))
    joint = next(joint for joint in mapped.map.roadblock_connectors if joint.id == route[1])
    assert len(route) == 3 and (joint.from_roadblock, joint.to_roadblock) == (route[0], route[2])
    assert all(lane.has_light for lane in mapped.map.connectors)
    assert list(mapped.connectors) == sorted(layout.turns)  # sorted, because it is the order of the lights in a log


def test_crosswalks_lie_across_streets_only(roads):
    street, highway = (
        mapped_roads(roads[name].layout(np.random.default_rng(4), 300.0)) for name in ("curves", "highway")
    )
    assert highway.crosswalks_m == () == highway.map.crosswalks
    road = union(street.map.intersections)
    assert len(street.map.crosswalks) == len(street.crosswalks_m) >= 2
    for walk in street.map.crosswalks:
        assert shapely.Polygon(walk.rings[0]).difference(road.buffer(0.3)).area < 0.5


def test_a_placed_map_keeps_its_shape(road_map: RoadMap):
    moved = placed(road_map, np.array([1000.0, 2000.0, np.pi / 2]))
    before, after = road_map.lanes[0], moved.lanes[0]
    np.testing.assert_allclose(after.baseline, [1000.0, 2000.0] + before.baseline @ [[0, 1], [-1, 0]], atol=1e-9)
    area, moved_area = (shapely.Polygon(lane.rings[0]).area for lane in (before, after))
    assert moved_area == pytest.approx(area) and moved.name == road_map.name
