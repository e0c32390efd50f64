"""Maps and splits of the NAVSIM world, as the devkit reads them: layers, ids, the graph of lanes, scene filters."""

import json
import shutil
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
import yaml
from omegaconf import OmegaConf

from latentdrive.data.maps.nuplan_maps import NuplanMaps
from latentdrive.data.navsim.scene_filter import read_split
from tests.support.navsim_world import ego_poses

PLACES = {
    "us-ma-boston": "EPSG:32619",
    "us-pa-pittsburgh-hazelwood": "EPSG:32617",
    "sg-one-north": "EPSG:32648",
    "us-nv-las-vegas-strip": "EPSG:32611",
}
LAYERS = {
    "lanes_polygons": (
        "Polygon",
        {
            "lane_fid",
            "lane_group_fid",
            "left_boundary_fid",
            "right_boundary_fid",
            "lane_index",
            "speed_limit_mps",
        },
    ),
    "lane_connectors": (
        "LineString",
        {
            "exit_lane_fid",
            "entry_lane_fid",
            "lane_group_connector_fid",
            "speed_limit_mps",
            "traffic_light_stop_line_fids",
        },
    ),
    "gen_lane_connectors_scaled_width_polygons": (
        "Polygon",
        {"lane_connector_fid", "left_boundary_fid", "right_boundary_fid"},
    ),
    "lane_groups_polygons": ("Polygon", set()),
    "lane_group_connectors": ("Polygon", {"from_lane_group_fid", "to_lane_group_fid", "intersection_fid"}),
    "intersections": ("Polygon", {"intersection_type_fid"}),
    "carpark_areas": ("Polygon", set()),
    "baseline_paths": ("LineString", {"lane_fid", "lane_connector_fid"}),
    "boundaries": ("LineString", set()),
    "stop_polygons": ("Polygon", {"stop_polygon_type_fid"}),
    "crosswalks": ("Polygon", set()),
    "walkways": ("Polygon", set()),
    "road_segments": ("Polygon", set()),
    "generic_drivable_areas": ("Polygon", set()),
}
# Columns that the devkit turns into text to look up a row. A missing value would make them floats,
# and "7" would become "7.0".
WHOLE = {
    "lanes_polygons": ("lane_fid", "lane_group_fid", "left_boundary_fid", "right_boundary_fid", "lane_index"),
    "lane_connectors": ("exit_lane_fid", "entry_lane_fid", "lane_group_connector_fid"),
    "gen_lane_connectors_scaled_width_polygons": ("lane_connector_fid", "left_boundary_fid", "right_boundary_fid"),
    "lane_group_connectors": ("from_lane_group_fid", "to_lane_group_fid", "intersection_fid"),
}
DRIVEN = (
    "lanes_polygons",
    "lane_connectors",
    "lane_groups_polygons",
    "lane_group_connectors",
    "intersections",
    "carpark_areas",
)


class Layer:
    """A layer as the devkit gets it from pyogrio: row numbers as text, columns, shapes."""

    def __init__(self, path: Path, name: str) -> None:
        meta, fids, binary, fields = pyogrio.raw.read(path, layer=name, return_fids=True)
        self.crs, self.ids = meta["crs"], [str(fid) for fid in fids]
        self.columns = dict(zip(meta["fields"], fields))
        self.shapes = None if binary is None else shapely.from_wkb(binary)

    def row(self, id_: str) -> dict:
        """The columns of the row with an id."""
        index = self.ids.index(id_)
        return {name: values[index] for name, values in self.columns.items()}


@pytest.fixture(scope="module")
def files(navsim_folder) -> dict[str, dict[str, Layer]]:
    """Every layer of every place. Paths are found as the devkit finds them."""
    versions = json.loads((navsim_folder / "maps" / "nuplan-maps-v1.0.json").read_text())
    assert set(versions) == set(PLACES)
    paths = {place: navsim_folder / "maps" / place / entry["version"] / "map.gpkg" for place, entry in versions.items()}
    return {place: {name: Layer(path, name) for name in (*LAYERS, "meta")} for place, path in paths.items()}


@pytest.fixture(scope="module")
def maps(navsim_folder) -> NuplanMaps:
    return NuplanMaps(root=navsim_folder / "maps", version="nuplan-maps-v1.0")


def test_every_place_has_every_layer_and_column(files):
    for place, layers in files.items():
        meta = dict(zip(layers["meta"].columns["key"], layers["meta"].columns["value"]))
        assert meta["projectedCoordSystem"] == PLACES[place]
        for name, (geometry, columns) in LAYERS.items():
            layer = layers[name]
            assert columns <= set(layer.columns) and layer.ids, (place, name)
            assert {shape.geom_type for shape in layer.shapes} == {geometry}
            assert shapely.is_valid(layer.shapes).all() and layer.crs == "EPSG:4326"
            assert len(set(layer.ids)) == len(layer.ids)


def test_ids_are_whole_and_found_and_unique_over_all_that_is_driven(files):
    for layers in files.values():
        for name, columns in WHOLE.items():
            assert all(layers[name].columns[column].dtype.kind == "i" for column in columns), name
        lanes, connectors = layers["lanes_polygons"], layers["lane_connectors"]
        assert [str(fid) for fid in lanes.columns["lane_fid"]] == lanes.ids
        driven = [id_ for name in DRIVEN for id_ in layers[name].ids]
        assert len(set(driven)) == len(driven)

        def assert_refers(name: str, column: str, target: str, layers=layers) -> None:
            assert {str(fid) for fid in layers[name].columns[column]} <= set(layers[target].ids), (name, column)

        assert_refers("lanes_polygons", "lane_group_fid", "lane_groups_polygons")
        assert_refers("lane_connectors", "exit_lane_fid", "lanes_polygons")
        assert_refers("lane_connectors", "entry_lane_fid", "lanes_polygons")
        assert_refers("lane_connectors", "lane_group_connector_fid", "lane_group_connectors")
        assert_refers("lane_group_connectors", "from_lane_group_fid", "lane_groups_polygons")
        assert_refers("lane_group_connectors", "to_lane_group_fid", "lane_groups_polygons")
        assert_refers("lane_group_connectors", "intersection_fid", "intersections")
        for name in ("lanes_polygons", "gen_lane_connectors_scaled_width_polygons"):
            assert_refers(name, "left_boundary_fid", "boundaries")
            assert_refers(name, "right_boundary_fid", "boundaries")
        polygons = layers["gen_lane_connectors_scaled_width_polygons"].columns["lane_connector_fid"]
        assert sorted(map(str, polygons)) == sorted(connectors.ids)
        baselines = layers["baseline_paths"].columns
        owners = [np.asarray(baselines[column], float) for column in ("lane_fid", "lane_connector_fid")]
        assert (np.isnan(owners[0]) != np.isnan(owners[1])).all()  # each line belongs to one lane or one connector
        for values, ids in zip(owners, (lanes.ids, connectors.ids)):
            assert sorted(str(int(fid)) for fid in values[~np.isnan(values)]) == sorted(ids)


def test_the_graph_of_blocks_is_that_of_their_lanes(files):
    for layers in files.values():
        block = dict(zip(layers["lanes_polygons"].ids, layers["lanes_polygons"].columns["lane_group_fid"]))
        for number in range(len(layers["lane_connectors"].ids)):
            connector = {name: values[number] for name, values in layers["lane_connectors"].columns.items()}
            joint = layers["lane_group_connectors"].row(str(connector["lane_group_connector_fid"]))
            assert block[str(connector["exit_lane_fid"])] == joint["from_lane_group_fid"]
            assert block[str(connector["entry_lane_fid"])] == joint["to_lane_group_fid"]
        for block_id in set(block.values()):  # lane_index counts from 0, from the left
            lanes = [lane for lane, group in block.items() if group == block_id]
            indices = [int(layers["lanes_polygons"].row(lane)["lane_index"]) for lane in lanes]
            assert indices == list(range(len(lanes)))


def test_lanes_meet_end_to_end_in_line_and_cover_the_ground_between(maps):
    for place in PLACES:
        road_map = maps[place]
        lanes = {lane.id: lane for lane in (*road_map.lanes, *road_map.connectors)}
        shapes = {lane_id: shapely.Polygon(lane.rings[0]) for lane_id, lane in lanes.items()}
        for connector in road_map.connectors:
            assert connector.outgoing and connector.incoming
            for before, after in ((connector.incoming[0], connector.id), (connector.id, connector.outgoing[0])):
                first, second = lanes[before].baseline, lanes[after].baseline
                assert np.hypot(*(first[-1] - second[0])) < 1e-3 and shapes[before].distance(shapes[after]) < 1e-3
                turn = (
                    np.cross(first[-1] - first[-2], second[1] - second[0])
                    / np.linalg.norm(first[-1] - first[-2])
                    / np.linalg.norm(second[1] - second[0])
                )
                assert abs(turn) < 0.1
        for lane in lanes.values():
            assert 3.0 < lane.speed_limit_mps < 25.0
            assert shapes[lane.id].contains(shapely.LineString(lane.baseline).interpolate(0.5, normalized=True))


def test_a_lit_connector_has_the_stop_polygon_that_its_line_meets(files):
    lit = 0
    for place, layers in files.items():
        connectors = layers["lane_connectors"]
        for number, stops in enumerate(connectors.columns["traffic_light_stop_line_fids"]):
            assert isinstance(stops, str), place
            for stop in filter(None, stops.split(",")):
                shape = layers["stop_polygons"].shapes[layers["stop_polygons"].ids.index(stop)]
                assert shape.intersects(connectors.shapes[number])
                assert layers["stop_polygons"].row(stop)["stop_polygon_type_fid"] == 2
                lit += 1
    assert lit >= 6


def test_logs_name_blocks_and_lights_of_their_map_and_stay_on_their_route(navsim_logs, maps):
    for log in navsim_logs.values():
        road_map = maps[log[0]["map_location"]]
        blocks = {block.id for block in (*road_map.roadblocks, *road_map.roadblock_connectors)}
        connectors = {lane.id: lane for lane in road_map.connectors}
        follows = {joint.id: (joint.from_roadblock, joint.to_roadblock) for joint in road_map.roadblock_connectors}
        ego = ego_poses(log)
        for number, frame in enumerate(log):
            route = frame["roadblock_ids"]
            assert set(route) <= blocks and len(set(route)) == len(route)
            assert all(follows[b][0] == a if b in follows else follows[a][1] == b for a, b in pairwise(route))
            assert {str(lane_id) for lane_id, _ in frame["traffic_lights"]} <= set(connectors)
            lanes = [lane for lane in (*road_map.lanes, *road_map.connectors) if lane.roadblock in route]
            assert any(shapely.Polygon(lane.rings[0]).dwithin(shapely.Point(ego[number, :2]), 0.5) for lane in lanes)


def test_splits_are_navsims_own_and_their_tokens_are_scenes(navsim_folder, navsim_logs, navsim_world):
    for name, spec in navsim_world.splits.items():
        split = read_split(navsim_folder / "splits", name)
        assert split.data_split == spec.data_split and split.filter.tokens
        chosen = split.filter
        assert (chosen.num_history_frames, chosen.num_future_frames, chosen.frame_interval) == (
            4,
            10,
            1,
        ) and chosen.has_route
        scenes = set()
        for log in chosen.log_names:
            assert (navsim_folder / "navsim_logs" / spec.data_split / f"{log}.pkl").is_file()
            frames = navsim_logs[log]
            scenes |= {frames[first + 3]["token"] for first in range(len(frames) - 13)}  # index 3 is now
        assert set(chosen.tokens) <= scenes and len(set(chosen.tokens)) == len(chosen.tokens)
        raw = yaml.safe_load((navsim_folder / "splits" / "scene_filter" / f"{name}.yaml").read_text())
        assert raw["_target_"] == "navsim.common.dataclasses.SceneFilter" and raw["_convert_"] == "all"
        top = yaml.safe_load((navsim_folder / "splits" / f"{name}.yaml").read_text())
        assert top == {"defaults": [{"scene_filter": name}], "data_split": spec.data_split}
    logs = [path.name for path in (navsim_folder / "navsim_logs").glob("*/*")]
    assert sorted(logs) == sorted(f"{name}.pkl" for name in navsim_logs)  # NAVSIM unpickles all files in this folder


def test_tokens_that_look_like_numbers_stay_text_for_navsim(navsim_folder, navsim_world, tmp_path):
    # NAVSIM reads its YAML with OmegaConf, which unlike PyYAML takes digits around an e for a number, unless quoted.
    folder = tmp_path / "world"
    shutil.copytree(navsim_folder, folder)
    card = folder / "drives" / "latentdrive_val_00000.json"
    content = json.loads(card.read_text())
    tokens = ["1234567890123e45", "12345678901234e5", "0123456789012345", "1234567890123456", "00000000000000e1"]
    content["points"] = [[row, token, 1.0] for row, token in enumerate(tokens)]
    card.write_text(json.dumps(content))
    scores = [{"row": row, "human": 1.0, "constant_velocity": 0.0} for row in range(len(tokens))]
    (folder / "drives" / "latentdrive_val_00000.scores.json").write_text(json.dumps(scores))
    navsim_world.write(folder, processes=1)
    read = OmegaConf.load(folder / "splits" / "scene_filter" / "val.yaml").tokens
    assert set(read) <= set(tokens) and len(read) == 3


def test_no_two_splits_share_a_drive_a_seed_or_a_road(navsim_folder, navsim_orders, maps):
    cards = {name: json.loads((navsim_folder / "drives" / f"{name}.json").read_text()) for name in navsim_orders}
    assert len({tuple(card["seed"]) for card in cards.values()}) == len(cards)
    roads = {}
    for name, order in navsim_orders.items():
        own, road_map = range(order.first_id, order.first_id + 1000), maps[order.place.map_name]
        roads[name] = {_form(lane.baseline) for lane in (*road_map.lanes, *road_map.connectors) if int(lane.id) in own}
        assert any(turn for _, turn in roads[name])
    for first, second in combinations(navsim_orders, 2):
        # Short or straight lines are alike.
        shared = {form for form in roads[first] & roads[second] if form[0] > 10.0 and form[1] > 0}
        assert not shared, (first, second)


def _form(line: np.ndarray) -> tuple[float, float]:
    """Length and turning of a line, which do not depend on its place."""
    steps = np.diff(line, axis=0)
    turns = np.diff(np.unwrap(np.arctan2(steps[:, 1], steps[:, 0])))
    return round(float(np.hypot(*steps.T).sum()), 2), round(float(np.abs(turns).sum()), 3)
