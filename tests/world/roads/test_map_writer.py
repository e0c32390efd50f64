"""Map files of the built-in world: unchanged when read back, complete for the devkit, and always the same bytes."""

import gzip
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely

from latentdrive.data.maps.map_layers import LAYERS
from latentdrive.data.maps.nuplan_maps import PLACES, NuplanMaps
from latentdrive.errors import DiskFull, MapError
from latentdrive.types import MapArea, MapConnection, MapLane, RoadMap
from latentdrive.world.roads import map_writer
from latentdrive.world.roads.map_edges import lane_edges, stop_polygon
from latentdrive.world.roads.map_writer import write_maps
from tests.support.paths import ROOT, SHARED
from tests.support.road_map import CRS, ORIGIN, PLACE, assert_same_map, ring, small_map

VERSION = "nuplan-maps-v1.0"
ZONES = dict(zip(PLACES, ("EPSG:32619", "EPSG:32617", "EPSG:32648", "EPSG:32611"), strict=True))
GOLDEN = SHARED / "golden" / "public"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The file of the small map."""
    write_maps(tmp_path, {PLACE: small_map()}, crs={PLACE: CRS}, version=VERSION)
    return NuplanMaps(root=tmp_path, version=VERSION).path(PLACE)


def rows(path: Path, query: str) -> list[tuple]:
    with closing(sqlite3.connect(path)) as file:
        return file.execute(query).fetchall()


def shapes(path: Path, layer: str) -> np.ndarray:
    """Geometry of a layer in metres about the origin of the small map."""
    _, _, binary, _ = pyogrio.raw.read(path, layer=layer)
    metric = map_writer.reproject(shapely.from_wkb(binary), source="EPSG:4326", target=CRS)
    return shapely.transform(metric, lambda points: points - ORIGIN)


def test_a_map_is_unchanged_when_read_back(written: Path):
    maps = NuplanMaps(root=written.parents[2], version=VERSION)
    assert maps.names == (PLACE,) and maps.loose_ends(PLACE) == ()
    assert_same_map(small_map(), maps[PLACE], atol_m=1e-6)


def test_files_of_all_four_places_have_every_layer_and_column(tmp_path: Path):
    # The small map lies far from the middle of three of the zones, where UTM is still exact enough.
    maps = {place: small_map(place) for place in PLACES}
    write_maps(tmp_path, maps, crs=ZONES, version=VERSION)
    read = NuplanMaps(root=tmp_path, version=VERSION)
    assert read.problems() == [] and read.names == PLACES
    for place in PLACES:
        assert_same_map(maps[place], read[place], atol_m=1e-6)


def golden_map(path: Path) -> tuple[str, RoadMap]:
    """The place and the map of a golden scene."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        content = json.load(file)
    objects, place = content["map"], content["map_location"]

    def rings(item: dict) -> tuple[np.ndarray, ...]:
        return (np.array(item["polygon"], np.float64),)

    def areas(kind: str) -> tuple[MapArea, ...]:
        return tuple(MapArea(id=item["id"], rings=rings(item)) for item in objects[kind])

    lanes = tuple(
        MapLane(
            id=item["id"],
            rings=rings(item),
            roadblock=item["roadblock_id"],
            baseline=np.array(item["baseline"]),
            outgoing=tuple(item["outgoing"]),
            incoming=tuple(item["incoming"]),
            index=item["lane_index"],
            speed_limit_mps=item["speed_limit_mps"],
            has_light=False,
        )
        for item in objects["lanes"]
    )
    connectors = tuple(
        MapLane(
            id=item["id"],
            rings=rings(item),
            roadblock=item["roadblock_connector_id"],
            baseline=np.array(item["baseline"]),
            outgoing=(item["to_lane"],),
            incoming=(item["from_lane"],),
            index=None,
            speed_limit_mps=item["speed_limit_mps"],
            has_light=item["has_traffic_light"],
        )
        for item in objects["lane_connectors"]
    )
    joins = tuple(
        MapConnection(
            id=item["id"],
            rings=rings(item),
            from_roadblock=item["from_roadblock"],
            to_roadblock=item["to_roadblock"],
            intersection=item["intersection"],
        )
        for item in objects["roadblock_connectors"]
    )
    road_map = RoadMap(
        name=place,
        lanes=lanes,
        connectors=connectors,
        roadblocks=areas("roadblocks"),
        roadblock_connectors=joins,
        intersections=areas("intersections"),
        carparks=areas("carpark_areas"),
        crosswalks=(),
        walkways=(),
    )
    return place, road_map


@pytest.mark.parametrize("number", [0, 8, 16])
def test_maps_of_the_golden_scenes_are_unchanged_when_read_back(tmp_path: Path, number: int):
    files = sorted(GOLDEN.glob("0*.json.gz"))[number : number + 4]
    if not files:
        pytest.skip(f"no golden scenes in {GOLDEN}")
    maps = dict(map(golden_map, files))
    write_maps(tmp_path, maps, crs=ZONES, version=VERSION)
    read = NuplanMaps(root=tmp_path, version=VERSION)
    for place, road_map in maps.items():
        assert_same_map(road_map, read[place], atol_m=1e-6)
        assert read.loose_ends(place) == ()


def test_row_numbers_are_the_ids_and_ids_are_whole_numbers(written: Path):
    assert rows(written, "select fid, lane_fid, lane_group_fid, lane_index from lanes_polygons") == [
        (1, 1, 21, 0),
        (2, 2, 22, 0),
    ]
    assert rows(
        written, "select fid, exit_lane_fid, entry_lane_fid, lane_group_connector_fid from lane_connectors"
    ) == [(11, 1, 2, 31)]
    assert rows(
        written, "select fid, from_lane_group_fid, to_lane_group_fid, intersection_fid from lane_group_connectors"
    ) == [(31, 21, 22, 41)]
    assert rows(written, "select fid from lane_groups_polygons") == [(21,), (22,)]
    assert rows(written, "select lane_fid, lane_connector_fid from baseline_paths") == [
        (1, None),
        (2, None),
        (None, 11),
    ]
    for layer, spec in LAYERS.items():
        kinds = {
            name: kind.upper()
            for _, name, kind, *_ in rows(written, f"pragma table_info({layer})")
            if name.endswith("_fid") or name in ("fid", "lane_index")
        }
        assert set(kinds.values()) == {"INTEGER"}, layer
        assert {name for name in (*spec.columns, *spec.devkit) if name.endswith("_fid")} <= set(kinds)


def test_an_unknown_speed_limit_has_no_value_and_a_connector_without_light_has_empty_text(tmp_path: Path):
    road_map = small_map()
    dark = tuple(replace(connector, has_light=False) for connector in road_map.connectors)
    write_maps(tmp_path, {PLACE: replace(road_map, connectors=dark)}, crs={PLACE: CRS}, version=VERSION)
    path = NuplanMaps(root=tmp_path, version=VERSION).path(PLACE)
    assert rows(path, "select speed_limit_mps from lanes_polygons") == [(13.5,), (None,)]
    query = "select traffic_light_stop_line_fids, typeof(traffic_light_stop_line_fids) from lane_connectors"
    assert rows(path, query) == [("", "text")]
    assert rows(path, "select intersection_type_fid from intersections") == [(0,)]


def test_the_file_is_a_geopackage_in_longitude_and_latitude_that_names_its_metres(written: Path):
    assert rows(written, "pragma integrity_check") == [("ok",)]
    contents = dict(rows(written, "select table_name, srs_id from gpkg_contents where data_type = 'features'"))
    assert contents == {name: 4326 for name, spec in LAYERS.items() if spec.geometry}
    types = dict(rows(written, "select table_name, geometry_type_name from gpkg_geometry_columns"))
    assert types == {name: spec.geometry.upper() for name, spec in LAYERS.items() if spec.geometry}
    assert rows(written, "select key, value from meta") == [("projectedCoordSystem", CRS)]
    west, south, east, north = pyogrio.read_info(written, layer="lanes_polygons", force_total_bounds=True)[
        "total_bounds"
    ]
    assert -71.1 < west < east < -71.0 and 42.3 < south < north < 42.4  # Boston
    index = json.loads((written.parents[2] / f"{VERSION}.json").read_text(encoding="utf-8"))
    assert index == {PLACE: {"version": written.parent.name, "layers": {}}}


def test_a_layer_of_no_objects_has_one_row_that_touches_nothing_and_an_id_of_its_own(written: Path):
    ((fid,),) = rows(written, "select fid from walkways")
    taken = {1, 2, 11, 21, 22, 31, 41, 51, 61}
    assert fid not in taken and shapes(written, "walkways")[0].is_empty


def test_every_lane_and_connector_has_two_edges_of_its_own(written: Path):
    edges = dict(
        zip([fid for (fid,) in rows(written, "select fid from boundaries")], shapes(written, "boundaries"), strict=True)
    )
    lanes = rows(written, "select left_boundary_fid, right_boundary_fid from lanes_polygons")
    connectors = rows(
        written, "select left_boundary_fid, right_boundary_fid from gen_lane_connectors_scaled_width_polygons"
    )
    assert sorted(fid for pair in lanes + connectors for fid in pair) == sorted(edges) == [1, 2, 3, 4, 5, 6]
    left, right = (shapely.get_coordinates(edges[fid]) for fid in lanes[0])
    np.testing.assert_allclose(left, [[0, 2], [10, 2], [20, 2]], atol=1e-6)
    np.testing.assert_allclose(right, [[0, -2], [10, -2], [20, -2]], atol=1e-6)


def test_a_light_has_a_stop_polygon_that_its_connector_names_and_meets(written: Path):
    assert rows(written, "select fid, stop_polygon_type_fid from stop_polygons") == [(1, 2)]
    assert rows(written, "select traffic_light_stop_line_fids from lane_connectors") == [("1",)]
    assert rows(written, "select intersection_type_fid from intersections") == [(1,)]
    (stop,) = shapes(written, "stop_polygons")
    assert stop.intersects(shapely.LineString([(20, 0), (30, 0)]))
    np.testing.assert_allclose(stop.bounds, [19, -2, 20.25, 2], atol=1e-6)


def test_edges_of_a_ribbon_are_its_sides_whichever_comes_first():
    lane = small_map().lanes[0]
    left, right = lane_edges(lane)
    turned = replace(lane, rings=(lane.rings[0][::-1],))
    for edges in (lane_edges(turned), (left, right)):
        np.testing.assert_array_equal(edges[0] - ORIGIN, [[0, 2], [10, 2], [20, 2]])
        np.testing.assert_array_equal(edges[1] - ORIGIN, [[0, -2], [10, -2], [20, -2]])


def test_edges_of_another_polygon_lie_half_its_mean_width_beside_the_line():
    # 20 m x 4 m without a corner of 2 m2: an area of 78 m2, hence 1.95 m to each side.
    lane = replace(small_map().lanes[0], rings=ring((0, -2), (20, -2), (20, 0), (18, 2), (0, 2)))
    left, right = lane_edges(lane)
    np.testing.assert_allclose(left - ORIGIN, [[0, 1.95], [10, 1.95], [20, 1.95]], atol=1e-9)
    np.testing.assert_allclose(right - ORIGIN, [[0, -1.95], [10, -1.95], [20, -1.95]], atol=1e-9)


def test_edges_turn_with_the_line_and_survive_a_doubled_vertex():
    # East, then north: at the corner, left is north-west.
    points = np.array([[0, 0], [10, 0], [10, 0], [10, 10]], np.float64) + ORIGIN
    lane = replace(small_map().lanes[0], baseline=points, rings=ring((0, 0), (20, 0), (20, 2), (0, 2)))
    left, _ = lane_edges(lane)  # 40 m2 by 20 m: 1 m to each side
    half = np.sqrt(0.5)
    np.testing.assert_allclose(left - ORIGIN, [[0, 1], [10, 1], [10 - half, half], [9, 10]], atol=1e-9)


def test_a_stop_polygon_is_as_wide_as_its_connector():
    corners = stop_polygon(small_map().connectors[0]) - ORIGIN
    np.testing.assert_allclose(corners, [[19, 2], [19, -2], [20.25, -2], [20.25, 2]], atol=1e-9)


def test_another_process_writes_the_same_bytes_later(written: Path, tmp_path_factory):
    script = (
        "import sys; from pathlib import Path; from tests.support.road_map import *; "
        "from latentdrive.world.roads.map_writer import write_maps; "
        f"write_maps(Path(sys.argv[1]), {{PLACE: small_map()}}, crs={{PLACE: CRS}}, version={VERSION!r})"
    )
    other = tmp_path_factory.mktemp("other")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", script, str(other)], check=True, env=environment, timeout=120)
    sums = [
        {
            path.relative_to(root): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in root.rglob("*")
            if path.is_file()
        }
        for root in (written.parents[2], other)
    ]
    assert len(sums[0]) == 2 and sums[0] == sums[1]


def test_the_options_of_gdal_are_restored(tmp_path: Path):
    option, before = "OGR_CURRENT_DATE", "2011-11-11T11:11:11.000Z"
    pyogrio.set_gdal_config_options({option: before})
    try:
        write_maps(tmp_path, {PLACE: small_map()}, crs={PLACE: CRS}, version=VERSION)
        assert pyogrio.get_gdal_config_option(option) == before
    finally:
        pyogrio.set_gdal_config_options({option: None})
    path = NuplanMaps(root=tmp_path, version=VERSION).path(PLACE)
    assert set(rows(path, "select last_change from gpkg_contents")) == {(map_writer.WRITTEN_AT,)}


def with_lane(**values) -> RoadMap:
    road_map = small_map()
    return replace(road_map, lanes=(replace(road_map.lanes[0], **values), *road_map.lanes[1:]))


def with_connector(**values) -> RoadMap:
    road_map = small_map()
    return replace(road_map, connectors=(replace(road_map.connectors[0], **values),))


SMALL = small_map()
REFUSED = {
    "a word for an id": (with_lane(id="a"), "ids of lanes must be whole numbers from 1 on, got 'a'"),
    "another form of an id": (with_lane(id="01"), "got '01'"),
    "descending": (replace(SMALL, lanes=SMALL.lanes[::-1]), "ids of lanes must ascend.*1 is not greater"),
    "twice": (
        replace(SMALL, carparks=(replace(SMALL.carparks[0], id="41"),)),
        "may occur only once in the whole map; repeated ids: 41",
    ),
    "no lane ahead": (with_connector(outgoing=()), "connector 11 must lead from one lane of the map to another"),
    "a lane elsewhere": (with_connector(outgoing=("77",)), "connector 11 must lead from one lane"),
    "contradictions": (
        with_lane(outgoing=()),
        r"lane 1 lists incoming connectors \(\) and outgoing ones \(\); the connectors .*\('11',\)",
    ),
    "no such roadblock": (with_lane(roadblock="99"), "1 refers to '99', which the map does not hold"),
    "one point": (with_lane(baseline=np.zeros((1, 2))), "centre line of 1 needs at least two"),
    "one place": (with_lane(baseline=np.ones((3, 2))), "centre line of 1 needs at least two"),
    "two corners": (with_lane(rings=(np.zeros((2, 2)),)), "every ring of lanes 1 needs at least three"),
    "not finite": (with_lane(rings=(np.full((4, 2), np.nan),)), "every ring of lanes 1 needs at least three"),
    "another place": (replace(SMALL, name="sg-one-north"), "has the name sg-one-north"),
}


@pytest.mark.parametrize(("road_map", "message"), REFUSED.values(), ids=REFUSED)
def test_a_map_that_would_change_is_refused_before_anything_is_written(tmp_path: Path, road_map: RoadMap, message: str):
    with pytest.raises(MapError, match=message):
        write_maps(tmp_path, {PLACE: road_map}, crs={PLACE: CRS}, version=VERSION)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("crs", [{}, {PLACE: "EPSG:4326"}, {PLACE: "nonsense"}])
def test_a_place_needs_a_coordinate_system_in_metres(tmp_path: Path, crs: dict[str, str]):
    with pytest.raises(MapError, match="us-ma-boston needs a metric coordinate system"):
        write_maps(tmp_path, {PLACE: SMALL}, crs=crs, version=VERSION)


def test_other_maps_in_the_folder_are_left_alone(tmp_path: Path):
    index = tmp_path / f"{VERSION}.json"
    index.write_text(json.dumps({PLACE: {"version": "9.12.1817", "layers": {}}}), encoding="utf-8")
    with pytest.raises(MapError, match="lists other maps than those to be written"):
        write_maps(tmp_path, {PLACE: SMALL}, crs={PLACE: CRS}, version=VERSION)
    assert "9.12.1817" in index.read_text(encoding="utf-8") and list(tmp_path.iterdir()) == [index]


def test_the_same_maps_may_be_written_again(written: Path):
    before = written.read_bytes()
    write_maps(written.parents[2], {PLACE: small_map()}, crs={PLACE: CRS}, version=VERSION)
    assert written.read_bytes() == before


def test_a_full_disk_is_named_and_the_map_that_was_there_is_intact(written: Path, monkeypatch):
    before = written.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(map_writer.shutil, "copyfile", full)
    with pytest.raises(DiskFull, match=r"map\.gpkg"):
        write_maps(written.parents[2], {PLACE: small_map()}, crs={PLACE: CRS}, version=VERSION)
    assert written.read_bytes() == before and list(written.parent.iterdir()) == [written]
