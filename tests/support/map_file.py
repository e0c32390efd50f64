"""A small nuPlan map file written through GDAL: two roads, an intersection between them, and a car park with a hole.

It goes east along y = 0 in UTM zone 19 (offset ORIGIN). Lane 101 of roadblock 201 has x = 0 … 20.
Connector 111 (straight on, with a light) or 112 (to the left) leads through intersection 401, x =
20 … 30, to lane 102 (roadblock 202, x = 30 … 50) or lane 103 (roadblock 203).
"""

import json
from pathlib import Path

import numpy as np
import pyogrio
import pyogrio.raw
import shapely
from pyproj import Transformer

ORIGIN = np.array([330000.0, 4690000.0])
CRS = "EPSG:32619"
PLACE, FILE_VERSION, VERSION = "us-ma-boston", "9.12.1817", "nuplan-maps-v1.0"


def box(x0: float, y0: float, x1: float, y1: float, *holes: list) -> shapely.Geometry:
    """A rectangle, counter-clockwise from its lower left corner."""
    return shapely.Polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], holes)


def line(*points: tuple[float, float]) -> shapely.Geometry:
    return shapely.LineString(points)


def small_map() -> dict[str, dict]:
    """Layers by name: `fid`, `geometry`, then columns; None where a row has no value."""
    left_turn = shapely.Polygon([(20, -2), (30, -2), (30, 10), (26, 10), (26, 2), (20, 2)])
    edges = {"left_boundary_fid": [1, 2, 3], "right_boundary_fid": [4, 5, 6]}
    return {
        "lanes_polygons": {
            "fid": [101, 102, 103],
            "geometry": [box(0, -2, 20, 2), box(30, -2, 50, 2), box(26, 10, 30, 30)],
            "lane_fid": [101, 102, 103],
            "lane_group_fid": [201, 202, 203],
            "speed_limit_mps": [11.176, None, 13.5],
            "lane_index": [0, 0, 0],
            **edges,
        },
        "lane_connectors": {
            "fid": [111, 112],
            "geometry": [line((20, 0), (30, 0)), line((20, 0), (27, 3), (28, 10))],
            "exit_lane_fid": [101, 101],
            "entry_lane_fid": [102, 103],
            "lane_group_connector_fid": [301, 302],
            "speed_limit_mps": [None, 8.0],
            "traffic_light_stop_line_fids": ["7, ", ""],
        },
        "gen_lane_connectors_scaled_width_polygons": {
            "fid": [1, 2],
            "geometry": [left_turn, box(20, -2, 30, 2)],
            "lane_connector_fid": [112, 111],
            "left_boundary_fid": [7, 8],
            "right_boundary_fid": [9, 10],
        },
        "lane_groups_polygons": {
            "fid": [201, 202, 203],
            "geometry": [box(0, -2, 20, 2), box(30, -2, 50, 2), box(26, 10, 30, 30)],
        },
        "lane_group_connectors": {
            "fid": [301, 302],
            "geometry": [box(20, -2, 30, 2), left_turn],
            "from_lane_group_fid": [201, 201],
            "to_lane_group_fid": [202, 203],
            "intersection_fid": [401, None],
        },
        "intersections": {"fid": [401], "geometry": [box(20, -2, 30, 10)], "intersection_type_fid": [1]},
        "carpark_areas": {"fid": [501], "geometry": [box(0, 5, 20, 15, [(5, 8), (5, 12), (9, 12), (9, 8)])]},
        "baseline_paths": {
            "fid": [1, 2, 3, 4, 5],
            "geometry": [
                line((20, 0), (27, 3), (28, 10)),
                line((0, 0), (7, 0.5), (20, 0)),
                line((30, 0), (50, 0)),
                line((28, 10), (28, 30)),
                line((20, 0), (30, 0)),
            ],
            "lane_fid": [None, 101, 102, 103, None],
            "lane_connector_fid": [112, None, None, None, 111],
        },
        "crosswalks": {"fid": [1], "geometry": [box(18, -2, 20, 2)]},
        "walkways": {"fid": [1], "geometry": [box(0, 2, 20, 4)]},
        "boundaries": {"fid": [1], "geometry": [line((0, 2), (20, 2))]},
        "stop_polygons": {"fid": [7], "geometry": [box(19, -2, 20, 2)], "stop_polygon_type_fid": [2]},
        "road_segments": {"fid": [1], "geometry": [box(0, -2, 20, 2)]},
        "generic_drivable_areas": {"fid": [1], "geometry": [box(0, -2, 50, 2)]},
        "meta": {"key": ["mapName", "projectedCoordSystem"], "value": ["boston", CRS]},
    }


def write_map_file(path: Path, layers: dict[str, dict], *, stored_in: str = CRS) -> None:
    """A GeoPackage of these layers, moved by ORIGIN and stored in another coordinate system where asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    to_stored = Transformer.from_crs(CRS, stored_in, always_xy=True)

    def placed(points: np.ndarray) -> np.ndarray:
        return np.stack(to_stored.transform(*(points + ORIGIN).T), -1)

    pyogrio.set_gdal_config_options({"OGR_SQLITE_SYNCHRONOUS": "OFF"})  # a test waits for no disk
    for name, table in layers.items():
        columns = {key: values for key, values in table.items() if key != "geometry"}
        arrays = [_array(values) for values in columns.values()]
        masks = [np.array([value is None for value in values], bool) for values in columns.values()]
        geometry, kind = None, None
        if "geometry" in table:
            kinds = {shape.geom_type for shape in table["geometry"] if shape is not None}
            kind = kinds.pop() if len(kinds) == 1 else "Unknown"
            geometry = shapely.to_wkb(shapely.transform(np.array(table["geometry"], object), placed))
        pyogrio.raw.write(
            path,
            layer=name,
            driver="GPKG",
            geometry=geometry,
            geometry_type=kind,
            field_data=arrays,
            field_mask=masks,
            fields=list(columns),
            crs=stored_in if geometry is not None else None,
        )
    pyogrio.set_gdal_config_options({"OGR_SQLITE_SYNCHRONOUS": None})


def _array(values: list) -> np.ndarray:
    """Text as objects, numbers as numpy takes them; a masked 0 stands in for None."""
    if any(isinstance(value, str) for value in values):
        return np.array(values, object)
    return np.array([0 if value is None else value for value in values])


def write_index(root: Path, places: dict[str, str] | None = None) -> None:
    """VERSION.json: the version of each place's file."""
    places = {PLACE: FILE_VERSION} if places is None else places
    root.mkdir(parents=True, exist_ok=True)
    content = {name: {"version": version, "layers": {}} for name, version in places.items()}
    (root / f"{VERSION}.json").write_text(json.dumps(content), encoding="utf-8")
