"""nuPlan maps: a file becomes a RoadMap in the file's order; every kind of damage has its own message."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely

from latentdrive.data.maps.nuplan_maps import NuplanMaps
from latentdrive.errors import MapError
from tests.support.map_file import (
    FILE_VERSION,
    ORIGIN,
    PLACE,
    VERSION,
    box,
    line,
    small_map,
    write_index,
    write_map_file,
)


@pytest.fixture
def maps(tmp_path: Path) -> Callable[..., NuplanMaps]:
    """Writes the small map, changed by `change(layers)`, and opens its folder."""

    def make(change: Callable[[dict], object] = lambda layers: None, **stored: str) -> NuplanMaps:
        layers = small_map()
        change(layers)
        write_index(tmp_path)
        write_map_file(tmp_path / PLACE / FILE_VERSION / "map.gpkg", layers, **stored)
        return NuplanMaps(root=tmp_path, version=VERSION)

    return make


def setting(layer: str, column: str, values: list) -> Callable[[dict], None]:
    def change(layers: dict) -> None:
        layers[layer][column] = values

    return change


def without(layer: str, column: str | None = None) -> Callable[[dict], None]:
    def change(layers: dict) -> None:
        del (layers if column is None else layers[layer])[layer if column is None else column]

    return change


def test_a_map_is_read_in_the_order_of_its_rows(maps):
    road_map = maps()[PLACE]
    assert road_map.name == PLACE
    assert [lane.id for lane in road_map.lanes] == ["101", "102", "103"]
    assert [lane.roadblock for lane in road_map.lanes] == ["201", "202", "203"]
    assert [lane.speed_limit_mps for lane in road_map.lanes] == [11.176, None, 13.5]
    assert [lane.index for lane in road_map.lanes] == [0, 0, 0]
    assert [block.id for block in road_map.roadblocks] == ["201", "202", "203"]
    assert [area.id for area in road_map.intersections] == ["401"]
    assert [area.id for area in (*road_map.crosswalks, *road_map.walkways)] == ["1", "1"]
    joins = [
        (item.id, item.from_roadblock, item.to_roadblock, item.intersection) for item in road_map.roadblock_connectors
    ]
    assert joins == [("301", "201", "202", "401"), ("302", "201", "203", None)]


def test_lanes_and_connectors_form_a_graph(maps):
    road_map = maps()[PLACE]
    assert [lane.outgoing for lane in road_map.lanes] == [("111", "112"), (), ()]
    assert [lane.incoming for lane in road_map.lanes] == [(), ("111",), ("112",)]
    ends = [(c.id, c.roadblock, c.incoming, c.outgoing) for c in road_map.connectors]
    assert ends == [("111", "301", ("101",), ("102",)), ("112", "302", ("101",), ("103",))]
    assert [connector.has_light for connector in road_map.connectors] == [True, False]
    assert [connector.index for connector in road_map.connectors] == [None, None]
    assert [connector.speed_limit_mps for connector in road_map.connectors] == [None, 8.0]


def test_baselines_and_polygons_are_found_by_their_owner_and_not_by_their_row(maps):
    road_map = maps()[PLACE]
    np.testing.assert_array_equal(road_map.lanes[0].baseline, np.array([[0, 0], [7, 0.5], [20, 0]]) + ORIGIN)
    np.testing.assert_array_equal(road_map.connectors[0].baseline, np.array([[20, 0], [30, 0]]) + ORIGIN)
    straight = np.array([[20, -2], [30, -2], [30, 2], [20, 2]]) + ORIGIN
    np.testing.assert_array_equal(road_map.connectors[0].rings[0], straight)
    assert len(road_map.connectors[1].rings[0]) == 6


def test_rings_are_open_and_holes_follow_the_exterior(maps):
    exterior, hole = maps()[PLACE].carparks[0].rings
    np.testing.assert_array_equal(exterior, np.array([[0, 5], [20, 5], [20, 15], [0, 15]]) + ORIGIN)
    np.testing.assert_array_equal(hole, np.array([[5, 8], [5, 12], [9, 12], [9, 8]]) + ORIGIN)


@pytest.mark.parametrize("stored_in", ["EPSG:4326", "EPSG:32618"])
def test_geometry_is_projected_to_the_metres_that_meta_names(maps, stored_in: str):
    road_map = maps(stored_in=stored_in)[PLACE]
    expected = np.array([[0, 0], [7, 0.5], [20, 0]]) + ORIGIN
    np.testing.assert_allclose(road_map.lanes[0].baseline, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(road_map.lanes[2].rings[0][2], np.array([30, 30]) + ORIGIN, rtol=0, atol=1e-6)


def test_a_map_is_read_once_and_las_vegas_has_a_second_name(tmp_path: Path):
    write_index(tmp_path, {"us-nv-las-vegas-strip": "9.15.1915", "sg-one-north": "9.17.1964"})
    path = tmp_path / "us-nv-las-vegas-strip/9.15.1915/map.gpkg"
    write_map_file(path, small_map())
    maps = NuplanMaps(root=str(tmp_path), version=VERSION)
    assert maps.names == ("us-nv-las-vegas-strip",) and maps.path("las_vegas") == path
    assert maps["las_vegas"] is maps["us-nv-las-vegas-strip"]
    assert maps["las_vegas"].name == "us-nv-las-vegas-strip"


@pytest.mark.parametrize("ids", [[101.0, 102.0, 103.0], ["101", " 102 ", "103.0"]], ids=["floats", "text"])
def test_ids_stored_as_other_types_are_the_same_ids(maps, ids: list):
    changed = maps(setting("lanes_polygons", "lane_fid", ids))[PLACE]
    assert [lane.id for lane in changed.lanes] == ["101", "102", "103"]


def test_gaps_in_ids_stored_as_text_are_gaps(maps):
    road_map = maps(setting("lane_group_connectors", "intersection_fid", ["", "401"]))[PLACE]
    assert [item.intersection for item in road_map.roadblock_connectors] == [None, "401"]


def test_a_speed_limit_of_nan_and_lights_without_value_are_unknown_and_none(maps):
    def change(layers: dict) -> None:
        layers["lanes_polygons"]["speed_limit_mps"] = [float("nan"), 5.0, 6.0]
        layers["lane_connectors"]["traffic_light_stop_line_fids"] = [None, " , "]

    road_map = maps(change)[PLACE]
    assert [lane.speed_limit_mps for lane in road_map.lanes] == [None, 5.0, 6.0]
    assert not any(connector.has_light for connector in road_map.connectors)


def test_a_lone_row_with_empty_geometry_is_no_object(maps):
    assert maps(setting("carpark_areas", "geometry", [shapely.Polygon()]))[PLACE].carparks == ()


def test_a_collection_of_one_polygon_is_that_polygon(maps):
    shape = shapely.MultiPolygon([box(20, -2, 30, 10)])
    road_map = maps(setting("intersections", "geometry", [shape]))[PLACE]
    np.testing.assert_array_equal(road_map.intersections[0].rings[0][2], np.array([30, 10]) + ORIGIN)


def test_a_connector_to_a_lane_that_is_not_there_ends_the_graph_and_is_named(maps):
    opened = maps(setting("lane_connectors", "entry_lane_fid", [102, 999]))
    assert opened[PLACE].connectors[1].outgoing == () and opened[PLACE].lanes[2].incoming == ()
    (sentence,) = opened.loose_ends(PLACE)
    assert "connector 112: entry_lane_fid names lane 999" in sentence


TWO = shapely.MultiPolygon([box(20, -2, 24, 2), box(26, -2, 30, 2)])
BAD = {
    "a layer is missing": (
        without("lane_groups_polygons"),
        "layer lane_groups_polygons .*no such layer; the file has lanes_pol",
    ),
    "a column is missing": (
        without("lane_connectors", "exit_lane_fid"),
        "layer lane_connectors .*has no column exit_lane_fid",
    ),
    "no projection": (setting("meta", "key", ["mapName", "other"]), "layer meta .*projectedCoordSystem; there is none"),
    "no such projection": (
        setting("meta", "value", ["b", "UTM"]),
        "must name a coordinate system in metres .*it is 'UTM'",
    ),
    "degrees": (setting("meta", "value", ["b", "EPSG:4326"]), "system in metres .*it is 'EPSG:4326'"),
    "another lane id": (setting("lanes_polygons", "lane_fid", [101, 7, 103]), "row 102 has lane_fid 7, and both must"),
    "no roadblock": (setting("lanes_polygons", "lane_group_fid", [201, None, 203]), "row 102 has no lane_group_fid"),
    "half an id": (setting("lane_connectors", "exit_lane_fid", [101, 101.5]), "row 112: exit_lane_fid .*it is 101.5"),
    "a word for an id": (
        setting("lane_connectors", "exit_lane_fid", ["x", "101"]),
        "row 111: exit_lane_fid .*it is 'x'",
    ),
    "a word for a limit": (
        setting("lanes_polygons", "speed_limit_mps", ["fast", "5", "6"]),
        "row 101: speed_limit_mps must be",
    ),
    "no centre line": (
        setting("baseline_paths", "lane_fid", [None, 101, 102, 7, None]),
        r"1 row \(103\) without a line in base",
    ),
    "two centre lines": (
        setting("baseline_paths", "lane_fid", [None, 101, 102, 101, None]),
        "row 4 is the second .*lane_fid 101",
    ),
    "no connector polygon": (
        setting("gen_lane_connectors_scaled_width_polygons", "lane_connector_fid", [112, 7]),
        r"\(111\) without a polygon in gen_",
    ),
    "several parts": (setting("intersections", "geometry", [TWO]), "row 401 is a MultiPolygon of 2 parts"),
    "another type": (
        setting("intersections", "geometry", [line((0, 0), (1, 1))]),
        "row 401 is a LineString, not a Polygon",
    ),
    "no geometry": (
        setting("lane_groups_polygons", "geometry", [box(0, 0, 1, 1), shapely.Polygon(), box(0, 0, 1, 1)]),
        "row 202 has no geom",
    ),
    "an id of two kinds": (
        setting("intersections", "fid", [201]),
        "unique over lanes.*1 are used twice, for example 201",
    ),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_a_bad_map_is_refused_with_a_message_of_its_own(maps, change: Callable[[dict], None], message: str):
    with pytest.raises(MapError, match=message) as caught:
        maps(change)[PLACE]
    assert "map.gpkg" in str(caught.value) and "again" in str(caught.value)


@pytest.mark.parametrize("length", [0, 3000, 60000, -2000])
def test_a_damaged_file_is_refused(maps, length: int):
    path = maps().path(PLACE)
    path.write_bytes(path.read_bytes()[:length])
    again = NuplanMaps(root=path.parents[2], version=VERSION)
    with pytest.raises(MapError, match=r"map\.gpkg.*ownload"):
        again[PLACE]
    assert length < 0 or again.problems()


def test_unknown_places_and_missing_files_have_different_messages(tmp_path: Path):
    write_index(tmp_path, {PLACE: FILE_VERSION, "sg-one-north": "9.17.1964"})
    maps = NuplanMaps(root=tmp_path, version=VERSION)
    with pytest.raises(MapError, match="no map of 'atlantis', only of us-ma-boston, sg-one-north"):
        maps["atlantis"]
    with pytest.raises(MapError, match=r"us-ma-boston/9\.12\.1817/map\.gpkg is missing"):
        maps[PLACE]
    assert maps.names == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"v1\.0\.json is missing"),
        ("{", "expected {place"),
        ("[1]", "expected {place"),
        ('{"a": {}}', "KeyError"),
        ('{"a": {"version": 3}}', "must be text, it is 3"),
    ],
)
def test_the_index_must_name_the_version_of_each_place(tmp_path: Path, text: str | None, message: str):
    if text is not None:
        (tmp_path / f"{VERSION}.json").write_text(text, encoding="utf-8")
    maps = NuplanMaps(root=tmp_path, version=VERSION)  # a data set without maps can be opened, for its pictures
    with pytest.raises(MapError, match=message):
        maps.problems()


def test_a_whole_map_lacks_only_the_other_places(maps):
    problems = maps().problems()
    assert len(problems) == 3 and all("no entry for" in problem for problem in problems)


def test_problems_name_every_layer_column_and_file_that_is_missing(maps, tmp_path: Path):
    def change(layers: dict) -> None:
        del layers["boundaries"], layers["walkways"], layers["meta"]
        del layers["lanes_polygons"]["left_boundary_fid"], layers["lane_connectors"]["exit_lane_fid"]

    maps(change)
    write_index(tmp_path, {PLACE: FILE_VERSION, "sg-one-north": "9.17.1964"})
    problems = "\n".join(NuplanMaps(root=tmp_path, version=VERSION).problems())
    for sentence in (
        "no layer boundaries (only the devkit",
        "no layer walkways\n",
        "no layer meta\n",
        "lanes_polygons has no column left_boundary_fid (only the devkit",
        "lane_connectors has no column exit_lane_fid\n",
        "sg-one-north/9.17.1964/map.gpkg is missing",
        "no entry for us-nv-las-vegas-strip",
    ):
        assert sentence in problems + "\n"
    assert len(problems.splitlines()) == 8


def test_a_projection_that_is_not_named_is_among_the_problems(maps):
    problems = maps(setting("meta", "key", ["mapName", "other"])).problems()
    assert any("projectedCoordSystem; there is none" in problem for problem in problems)
