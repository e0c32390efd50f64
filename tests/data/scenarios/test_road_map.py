"""Lanes of a scenario as nuPlan's lane → connector → lane: what becomes what, and that nothing of the road is lost."""

import numpy as np
import pytest
import shapely

from latentdrive.data.pickles.reading import read_pickle
from latentdrive.data.scenarios.road_map import read_road_map
from latentdrive.types import RoadMap
from tests.support.data import REAL
from tests.support.scenario import along, lane


def road_map(features: dict, lit: tuple[str, ...] = ()) -> RoadMap:
    return read_road_map(features, name="somewhere", lit=lit)


def area(one) -> float:
    return shapely.Polygon(one.rings[0], one.rings[1:]).area


JUNCTION = {
    "A": lane(along((0, 0), (40, 0)), width=4.0),
    "C": lane(along((40, 0), (50, 0)), width=None, speed_limit_kmh=100),
    "B": lane(along((50, 0), (90, 0)), width=3.0, speed_limit_kmh=36),
}


def test_what_has_no_polygon_is_a_connector_as_wide_as_the_lanes_it_joins():
    made = road_map(JUNCTION)
    [connector] = made.connectors
    assert [one.id for one in made.lanes] == ["A", "B"] and connector.id == "C"
    assert (connector.incoming, connector.outgoing) == (("A",), ("B",))
    assert (made.lanes[0].outgoing, made.lanes[1].incoming) == (("C",), ("C",))
    assert area(connector) == pytest.approx(10 * (4 + 3) / 2)
    [way] = made.roadblock_connectors
    assert (way.from_roadblock, way.to_roadblock) == (made.lanes[0].roadblock, made.lanes[1].roadblock)
    assert way.id == connector.roadblock and area(way) == pytest.approx(35)


def test_a_connector_lies_in_an_intersection_a_metre_wider_than_itself():
    made = road_map(JUNCTION)
    [crossing] = made.intersections
    assert (crossing.id, made.roadblock_connectors[0].intersection) == ("intersection:C", "intersection:C")
    inside = shapely.Polygon(crossing.rings[0])
    assert inside.contains(shapely.box(39.5, -2.2, 50.5, 2.2)) and not inside.contains(shapely.Point(45, 3.5))


def test_a_joint_belongs_to_the_roadblock_before_it_and_makes_no_intersection():
    features = {"A": lane(along((0, 0), (40, 0)), exit_lanes=["B"]), "B": lane(along((40, 0), (80, 0)))}
    made = road_map(features)
    assert made.intersections == () and made.roadblock_connectors[0].intersection is None
    assert shapely.Polygon(made.roadblocks[0].rings[0]).contains(shapely.Point(40.5, 0))


def test_the_exporters_filler_is_no_speed_limit():
    made = road_map(JUNCTION)
    assert made.connectors[0].speed_limit_mps is None
    assert [one.speed_limit_mps for one in made.lanes] == [None, 10.0]


def test_polygons_of_lanes_stay_exactly_those_of_the_file():
    for one in road_map(JUNCTION).lanes:
        np.testing.assert_array_equal(one.rings[0], np.array(JUNCTION[one.id]["polygon"])[:-1])


def test_lanes_that_follow_each_other_get_a_connector_of_the_last_and_first_metre():
    features = {
        "A": lane(along((0, 0), (40, 0)), exit_lanes=["B"]),
        "B": lane(along((40, 0), (80, 0)), entry_lanes=["A"]),
    }
    made = road_map(features)
    [joint] = made.connectors
    assert (joint.id, joint.incoming, joint.outgoing) == ("A>B", ("A",), ("B",))
    np.testing.assert_allclose(joint.baseline, [[39, 0], [40, 0], [41, 0]])
    assert area(joint) == pytest.approx(2 * 4)
    assert shapely.union_all([shapely.Polygon(one.rings[0]) for one in made.lanes]).covers(
        shapely.Polygon(joint.rings[0]).buffer(-1e-9)
    )


def test_connectors_that_follow_each_other_get_a_lane_between_them():
    features = JUNCTION | {
        "C": lane(along((40, 0), (45, 0)), width=None),
        "D": lane(along((45, 0), (50, 0)), width=None),
    }
    made = road_map(features)
    joint = made.lanes[-1]
    assert (joint.id, joint.incoming, joint.outgoing) == ("C>D", ("C",), ("D",))
    assert {one.id for one in made.connectors} == {"C", "D"}


def test_a_connector_that_leads_out_of_the_map_is_a_lane():
    made = road_map({key: JUNCTION[key] for key in ("A", "C")})
    assert [one.id for one in made.lanes] == ["A", "C"]
    assert [one.id for one in made.connectors] == ["A>C"]
    assert area(made.lanes[1]) == pytest.approx(10 * 4, rel=0.15)


def test_a_connector_of_two_lanes_becomes_two():
    merging = JUNCTION | {"E": lane(along((1.5, -8), (40, 0)), width=4.0)}
    made = road_map(merging)
    assert [(one.id, one.incoming, one.outgoing) for one in made.connectors] == [
        ("C", ("A",), ("B",)),
        ("C#1", ("E",), ("B",)),
    ]
    assert [one.outgoing for one in made.lanes] == [("C",), (), ("C#1",)]
    assert len(made.roadblock_connectors) == 2


def test_opposite_lanes_whose_ends_touch_do_not_follow_each_other():
    made = road_map({"A": lane(along((0, 0), (40, 0))), "B": lane(along((40, 0), (0, 0.2)))})
    assert made.connectors == ()


def test_neighbours_share_a_roadblock_counted_from_the_left():
    features = {
        "right": lane(along((0, 0), (40, 0)), left_neighbor=[{"feature_id": "middle"}]),
        "middle": lane(along((0, 4), (40, 4)), right_neighbor=["right"], left_neighbor=["left"]),
        "left": lane(along((0, 8), (40, 8))),
        "alone": lane(along((0, 30), (40, 30))),
    }
    made = road_map(features)
    assert {one.id: one.index for one in made.lanes} == {"right": 2, "middle": 1, "left": 0, "alone": 0}
    assert len(made.roadblocks) == 2 and len({one.roadblock for one in made.lanes[:3]}) == 1
    assert [area(one) for one in made.roadblocks] == pytest.approx([3 * 160, 160])


def test_types_decide_where_every_lane_has_a_polygon():
    connector = lane(along((40, 0), (50, 0))) | {"type": "LANE_SURFACE_UNSTRUCTURE"}
    made = road_map(JUNCTION | {"C": connector, "bikes": lane(along((0, 9), (9, 9))) | {"type": "LANE_BIKE_LANE"}})
    assert [one.id for one in made.connectors] == ["C"] and {one.id for one in made.lanes} == {"A", "B"}
    assert area(made.connectors[0]) == pytest.approx(40)


def test_lanes_without_any_polygon_are_given_a_width():
    made = road_map({"A": lane(along((0, 0), (40, 0)), width=None)})
    assert area(made.lanes[0]) == pytest.approx(40 * 3.5)


def test_a_light_over_a_lane_stands_before_the_connectors_that_leave_it():
    assert road_map(JUNCTION, lit=("A",)).connectors[0].has_light
    assert road_map(JUNCTION, lit=("C",)).connectors[0].has_light
    assert not road_map(JUNCTION, lit=("B",)).connectors[0].has_light


def test_crosswalks_are_kept_and_lanes_without_a_centre_line_left_out():
    square = [[0, 0], [1, 0], [1, 1], [0, 1]]
    broken = lane(along((0, 0), (9, 0))) | {"polyline": [(0.0, np.nan), (1.0, 0.0)]}
    made = road_map({"walk": {"type": "CROSSWALK", "polygon": square}, "A": JUNCTION["A"], "broken": broken})
    assert [one.id for one in made.crosswalks] == ["walk"] and [one.id for one in made.lanes] == ["A"]


@pytest.mark.skipif(not REAL.is_dir(), reason="no real data")
@pytest.mark.parametrize("scene", ["0061", "0655", "1077"])
def test_real_maps_hold_together(scene):
    features = read_pickle(REAL / "scenarios" / f"sd_nuscenes_v1.0-mini_scene-{scene}.pkl")["map_features"]
    made = road_map(features)
    kinds = (made.lanes, made.connectors, made.roadblocks, made.roadblock_connectors)
    ids = [one.id for kind in kinds for one in kind]
    assert len(ids) == len(set(ids))
    lanes, connectors = ({one.id: one for one in kind} for kind in (made.lanes, made.connectors))
    for one in made.connectors:
        assert len(one.incoming) == len(one.outgoing) == 1
        assert one.id in lanes[one.incoming[0]].outgoing and one.id in lanes[one.outgoing[0]].incoming
        assert np.linalg.norm(one.baseline[0] - lanes[one.incoming[0]].baseline[-1]) < 1.5
    assert all(set(one.outgoing) | set(one.incoming) <= set(connectors) for one in made.lanes)
    with_polygon = {key for key, one in features.items() if "polygon" in one and one["type"].startswith("LANE")}
    assert with_polygon <= set(lanes)
    for key in with_polygon:
        np.testing.assert_array_equal(lanes[key].rings[0], np.array(features[key]["polygon"])[:-1])
    widths = [area(one) / shapely.LineString(one.baseline).length for one in made.connectors if ">" not in one.id]
    assert min(widths) > 2.4 and max(widths) < 5.5
