"""The map of a scenario in nuPlan's structure: which features become what, and that no part of the road is lost."""

import numpy as np
import pytest
import shapely

from latentdrive.data.pickles.reading import read_pickle
from latentdrive.data.scenarios.road_map import read_road_map
from latentdrive.types import MapArea, RoadMap
from tests.support.data import REAL
from tests.support.scenario import along, lane


def road_map(features: dict, lit: tuple[str, ...] = ()) -> RoadMap:
    return read_road_map(features, name="somewhere", lit=lit)


def area(place: MapArea) -> float:
    return shapely.Polygon(place.rings[0], place.rings[1:]).area


JUNCTION = {
    "A": lane(along((0, 0), (40, 0)), width=4.0),
    "C": lane(along((40, 0), (50, 0)), width=None, speed_limit_kmh=100),
    "B": lane(along((50, 0), (90, 0)), width=3.0, speed_limit_kmh=36),
}


def test_what_has_no_polygon_is_a_connector_as_wide_as_the_lanes_it_joins():
    road = road_map(JUNCTION)
    [connector] = road.connectors
    assert [lane.id for lane in road.lanes] == ["A", "B"] and connector.id == "C"
    assert (connector.incoming, connector.outgoing) == (("A",), ("B",))
    assert (road.lanes[0].outgoing, road.lanes[1].incoming) == (("C",), ("C",))
    assert area(connector) == pytest.approx(10 * (4 + 3) / 2)
    [way] = road.roadblock_connectors
    assert (way.from_roadblock, way.to_roadblock) == (road.lanes[0].roadblock, road.lanes[1].roadblock)
    assert way.id == connector.roadblock and area(way) == pytest.approx(35)


def test_a_connector_lies_in_an_intersection_a_metre_wider_than_itself():
    road = road_map(JUNCTION)
    [crossing] = road.intersections
    assert (crossing.id, road.roadblock_connectors[0].intersection) == ("intersection:C", "intersection:C")
    inside = shapely.Polygon(crossing.rings[0])
    assert inside.contains(shapely.box(39.5, -2.2, 50.5, 2.2)) and not inside.contains(shapely.Point(45, 3.5))


def test_a_joint_belongs_to_the_roadblock_before_it_and_makes_no_intersection():
    features = {"A": lane(along((0, 0), (40, 0)), exit_lanes=["B"]), "B": lane(along((40, 0), (80, 0)))}
    road = road_map(features)
    assert road.intersections == () and road.roadblock_connectors[0].intersection is None
    assert shapely.Polygon(road.roadblocks[0].rings[0]).contains(shapely.Point(40.5, 0))


def test_the_exporters_filler_is_no_speed_limit():
    road = road_map(JUNCTION)
    assert road.connectors[0].speed_limit_mps is None
    assert [lane.speed_limit_mps for lane in road.lanes] == [None, 10.0]


def test_polygons_of_lanes_stay_exactly_those_of_the_file():
    for item in road_map(JUNCTION).lanes:
        np.testing.assert_array_equal(item.rings[0], np.array(JUNCTION[item.id]["polygon"])[:-1])


def test_lanes_that_follow_each_other_get_a_connector_of_the_last_and_first_metre():
    features = {
        "A": lane(along((0, 0), (40, 0)), exit_lanes=["B"]),
        "B": lane(along((40, 0), (80, 0)), entry_lanes=["A"]),
    }
    road = road_map(features)
    [joint] = road.connectors
    assert (joint.id, joint.incoming, joint.outgoing) == ("A>B", ("A",), ("B",))
    np.testing.assert_allclose(joint.baseline, [[39, 0], [40, 0], [41, 0]])
    assert area(joint) == pytest.approx(2 * 4)
    assert shapely.union_all([shapely.Polygon(lane.rings[0]) for lane in road.lanes]).covers(
        shapely.Polygon(joint.rings[0]).buffer(-1e-9)
    )


def test_connectors_that_follow_each_other_get_a_lane_between_them():
    features = JUNCTION | {
        "C": lane(along((40, 0), (45, 0)), width=None),
        "D": lane(along((45, 0), (50, 0)), width=None),
    }
    road = road_map(features)
    joint = road.lanes[-1]
    assert (joint.id, joint.incoming, joint.outgoing) == ("C>D", ("C",), ("D",))
    assert {connector.id for connector in road.connectors} == {"C", "D"}


def test_a_connector_that_leads_out_of_the_map_is_a_lane():
    road = road_map({key: JUNCTION[key] for key in ("A", "C")})
    assert [lane.id for lane in road.lanes] == ["A", "C"]
    assert [connector.id for connector in road.connectors] == ["A>C"]
    assert area(road.lanes[1]) == pytest.approx(10 * 4, rel=0.15)


def test_a_connector_of_two_lanes_becomes_two():
    merging = JUNCTION | {"E": lane(along((1.5, -8), (40, 0)), width=4.0)}
    road = road_map(merging)
    assert [(connector.id, connector.incoming, connector.outgoing) for connector in road.connectors] == [
        ("C", ("A",), ("B",)),
        ("C#1", ("E",), ("B",)),
    ]
    assert [lane.outgoing for lane in road.lanes] == [("C",), (), ("C#1",)]
    assert len(road.roadblock_connectors) == 2


def test_opposite_lanes_whose_ends_touch_do_not_follow_each_other():
    road = road_map({"A": lane(along((0, 0), (40, 0))), "B": lane(along((40, 0), (0, 0.2)))})
    assert road.connectors == ()


def test_neighbours_share_a_roadblock_counted_from_the_left():
    features = {
        "right": lane(along((0, 0), (40, 0)), left_neighbor=[{"feature_id": "middle"}]),
        "middle": lane(along((0, 4), (40, 4)), right_neighbor=["right"], left_neighbor=["left"]),
        "left": lane(along((0, 8), (40, 8))),
        "alone": lane(along((0, 30), (40, 30))),
    }
    road = road_map(features)
    assert {lane.id: lane.index for lane in road.lanes} == {"right": 2, "middle": 1, "left": 0, "alone": 0}
    assert len(road.roadblocks) == 2 and len({lane.roadblock for lane in road.lanes[:3]}) == 1
    assert [area(block) for block in road.roadblocks] == pytest.approx([3 * 160, 160])


def test_types_decide_where_every_lane_has_a_polygon():
    connector = lane(along((40, 0), (50, 0))) | {"type": "LANE_SURFACE_UNSTRUCTURE"}
    road = road_map(JUNCTION | {"C": connector, "bikes": lane(along((0, 9), (9, 9))) | {"type": "LANE_BIKE_LANE"}})
    assert [connector.id for connector in road.connectors] == ["C"] and {lane.id for lane in road.lanes} == {"A", "B"}
    assert area(road.connectors[0]) == pytest.approx(40)


def test_lanes_without_any_polygon_are_given_a_width():
    road = road_map({"A": lane(along((0, 0), (40, 0)), width=None)})
    assert area(road.lanes[0]) == pytest.approx(40 * 3.5)


def test_a_light_over_a_lane_stands_before_the_connectors_that_leave_it():
    assert road_map(JUNCTION, lit=("A",)).connectors[0].has_light
    assert road_map(JUNCTION, lit=("C",)).connectors[0].has_light
    assert not road_map(JUNCTION, lit=("B",)).connectors[0].has_light


def test_crosswalks_are_kept_and_lanes_without_a_centre_line_left_out():
    square = [[0, 0], [1, 0], [1, 1], [0, 1]]
    broken = lane(along((0, 0), (9, 0))) | {"polyline": [(0.0, np.nan), (1.0, 0.0)]}
    road = road_map({"walk": {"type": "CROSSWALK", "polygon": square}, "A": JUNCTION["A"], "broken": broken})
    assert [crosswalk.id for crosswalk in road.crosswalks] == ["walk"] and [lane.id for lane in road.lanes] == ["A"]


@pytest.mark.skipif(not REAL.is_dir(), reason="no real data")
@pytest.mark.parametrize("scene", ["0061", "0655", "1077"])
def test_real_maps_hold_together(scene):
    features = read_pickle(REAL / "scenarios" / f"sd_nuscenes_v1.0-mini_scene-{scene}.pkl")["map_features"]
    road = road_map(features)
    kinds = (road.lanes, road.connectors, road.roadblocks, road.roadblock_connectors)
    ids = [item.id for kind in kinds for item in kind]
    assert len(ids) == len(set(ids))
    lanes = {lane.id: lane for lane in road.lanes}
    for connector in road.connectors:
        [before], [after] = connector.incoming, connector.outgoing
        assert connector.id in lanes[before].outgoing and connector.id in lanes[after].incoming
        assert np.linalg.norm(connector.baseline[0] - lanes[before].baseline[-1]) < 1.5
    connectors = {connector.id for connector in road.connectors}
    assert all({*lane.outgoing, *lane.incoming} <= connectors for lane in road.lanes)
    polygons = {
        key: feature["polygon"]
        for key, feature in features.items()
        if "polygon" in feature and feature["type"].startswith("LANE")
    }
    assert polygons.keys() <= lanes.keys()
    for key, polygon in polygons.items():
        np.testing.assert_array_equal(lanes[key].rings[0], np.array(polygon)[:-1])
    widths = [
        area(connector) / shapely.LineString(connector.baseline).length
        for connector in road.connectors
        if ">" not in connector.id
    ]
    assert min(widths) > 2.4 and max(widths) < 5.5
