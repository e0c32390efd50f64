"""RoadMaps as nuPlan map files: VERSION.json and PLACE/1.0.0/map.gpkg, with every layer and column that the devkit reads.

The counterpart of data/maps/nuplan_maps.py, so that whatever reads NAVSIM's maps reads the built-in world's. Geometry is stored
in longitude and latitude, as in nuPlan's own files. The same maps give the same bytes.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyogrio
import pyogrio.raw
import shapely
from pyogrio import errors as ogr
from pyproj import CRS
from pyproj.exceptions import CRSError, ProjError

from latentdrive.data.maps import map_layers as layers
from latentdrive.data.maps.map_layers import LAYERS, reproject
from latentdrive.data.maps.nuplan_maps import map_file, read_versions
from latentdrive.errors import DiskFull, MapError
from latentdrive.files import write_atomic
from latentdrive.types import FROZEN, MapArea, MapLane, RoadMap
from latentdrive.world.roads.map_checks import check_map
from latentdrive.world.roads.map_edges import lane_edges, stop_polygon

FILE_VERSION = "1.0.0"  # nuPlan's own files have versions such as 9.17.1964, so none of them has the same path
WRITTEN_AT = "2000-01-01T00:00:00.000Z"  # GDAL would write the time of writing into the file
SCARCE_BYTES = 2**26  # a write that fails with less than this left has filled the disk
TRAFFIC_LIGHT_STOP = 2  # nuPlan's types of stop polygons and of intersections
LIGHT_INTERSECTION, PLAIN_INTERSECTION = 1, 0


@dataclass(**FROZEN)
class _Rows:
    """Rows of a layer: ids in ascending order, shapes in the metres of the place, values by column (None: no value)."""

    ids: Sequence[int]
    shapes: Sequence[shapely.Geometry]
    columns: Mapping[str, Sequence] = field(default_factory=dict)


def write_maps(root: str | Path, maps: Mapping[str, RoadMap], *, crs: Mapping[str, str], version: str) -> None:
    """Write a map file for each place, then VERSION.json, each atomically.

    maps, crs: by place; crs names the coordinate system in metres that the map is given in, such as EPSG:32619. The devkit
    opens all four nuPlan places at its start, so it needs a map for each (`nuplan_maps.PLACES`).
    Raises MapError for a map that would not be read back as it is (ids that are no ascending whole numbers, or used twice;
    lanes and connectors that contradict each other) and for a folder that holds other maps; DiskFull.
    """
    root = Path(root)
    index = root / f"{version}.json"
    versions = {name: FILE_VERSION for name in maps}
    if index.exists() and read_versions(index) != versions:
        raise MapError(
            f"{index} names other maps than those to be written ({', '.join(maps)}): use a folder of its own"
        )
    for name, road_map in maps.items():
        if name != road_map.name:
            raise MapError(f"the map given for {name} says that it is of {road_map.name}: both must be the same place")
        check_map(road_map)
        if name not in crs or not _in_metres(crs[name]):
            raise MapError(
                f"the map of {name} needs a coordinate system in metres, such as EPSG:32619; got {crs.get(name)!r}"
            )
    for name, road_map in maps.items():
        _write_map(map_file(root, name, FILE_VERSION), road_map, crs[name])
    content = {name: {"version": FILE_VERSION, "layers": {}} for name in maps}
    write_atomic(index, lambda path: path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8"))


def _in_metres(crs: str) -> bool:
    try:
        return CRS.from_user_input(crs).is_projected
    except CRSError:
        return False


def _write_map(path: Path, road_map: RoadMap, crs: str) -> None:
    tables = _tables(road_map)
    # An unused id for the lone row of a layer that has none: a layer of no rows would not show its columns.
    spare = max((id_ for rows in tables.values() for id_ in rows.ids), default=0) + 1
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / path.name  # GDAL asks for the true suffix
        try:
            with _gdal_for_drafts():
                for number, (name, rows) in enumerate(tables.items()):
                    _write_layer(draft, name, rows if rows.ids else _placeholder(name, spare + number), crs)
                _write_meta(draft, crs)
        except (ogr.DataSourceError, ogr.DataLayerError, ogr.FeatureError, ogr.GeometryError) as error:
            # GDAL says "disk is full" of some writes and no more than "failed to commit" of others.
            if shutil.disk_usage(folder).free < SCARCE_BYTES:
                raise DiskFull(
                    f"the disk of {folder} (temporary files) is full while writing {path}; free space, or set TMPDIR to "
                    "another disk, and repeat the command"
                ) from error
            raise
        except ProjError as error:
            raise MapError(f"{road_map.name}: its coordinates have no place in {crs} ({error})") from None
        write_atomic(path, lambda new: shutil.copyfile(draft, new))


def _tables(road_map: RoadMap) -> dict[str, _Rows]:
    """Every layer with geometry, by name."""
    lanes, connectors = road_map.lanes, road_map.connectors
    driven = (*lanes, *connectors)
    edges = [edge for lane in driven for edge in lane_edges(lane)]
    # Each lane has two edges of its own, numbered in order: left, right, left, ...
    left = [2 * number + 1 for number in range(len(driven))]
    right = [number + 1 for number in left]
    lit = [connector for connector in connectors if connector.has_light]
    stops = {connector.id: number for number, connector in enumerate(lit, 1)}
    drivable = (*road_map.roadblocks, *road_map.intersections)
    return {
        layers.LANES: _areas(
            lanes,
            **{
                layers.LANE: _ids(lanes),
                layers.ROADBLOCK: [int(lane.roadblock) for lane in lanes],
                layers.SPEED_LIMIT: [lane.speed_limit_mps for lane in lanes],
                layers.LANE_INDEX: [lane.index for lane in lanes],
                layers.LEFT_BOUNDARY: left[: len(lanes)],
                layers.RIGHT_BOUNDARY: right[: len(lanes)],
            },
        ),
        layers.CONNECTORS: _connector_rows(connectors, stops),
        layers.CONNECTOR_POLYGONS: _areas(
            connectors,
            **{
                layers.CONNECTOR: _ids(connectors),
                layers.LEFT_BOUNDARY: left[len(lanes) :],
                layers.RIGHT_BOUNDARY: right[len(lanes) :],
            },
        ),
        layers.ROADBLOCKS: _areas(road_map.roadblocks),
        layers.ROADBLOCK_CONNECTORS: _areas(
            road_map.roadblock_connectors,
            **{
                layers.FROM_ROADBLOCK: [int(item.from_roadblock) for item in road_map.roadblock_connectors],
                layers.TO_ROADBLOCK: [int(item.to_roadblock) for item in road_map.roadblock_connectors],
                layers.INTERSECTION: [
                    None if item.intersection is None else int(item.intersection)
                    for item in road_map.roadblock_connectors
                ],
            },
        ),
        layers.INTERSECTIONS: _areas(
            road_map.intersections, **{layers.INTERSECTION_TYPE: _intersection_types(road_map, lit)}
        ),
        layers.CARPARKS: _areas(road_map.carparks),
        layers.BASELINES: _Rows(
            ids=range(1, len(driven) + 1),
            shapes=[shapely.LineString(lane.baseline) for lane in driven],
            columns={
                layers.LANE: _ids(lanes) + [None] * len(connectors),
                layers.CONNECTOR: [None] * len(lanes) + _ids(connectors),
            },
        ),
        layers.CROSSWALKS: _areas(road_map.crosswalks),
        layers.WALKWAYS: _areas(road_map.walkways),
        layers.BOUNDARIES: _Rows(ids=range(1, len(edges) + 1), shapes=[shapely.LineString(edge) for edge in edges]),
        layers.STOP_POLYGONS: _Rows(
            ids=range(1, len(lit) + 1),
            shapes=[shapely.Polygon(stop_polygon(connector)) for connector in lit],
            columns={layers.STOP_TYPE: [TRAFFIC_LIGHT_STOP] * len(lit)},
        ),
        layers.ROAD_SEGMENTS: _numbered(road_map.roadblocks),
        layers.DRIVABLE_AREAS: _numbered(drivable),
    }


def _connector_rows(connectors: Sequence[MapLane], stops: Mapping[str, int]) -> _Rows:
    """The layer of lane connectors; stops: the stop polygon of each one that has a light."""
    return _Rows(
        ids=_ids(connectors),
        shapes=[shapely.LineString(connector.baseline) for connector in connectors],
        columns={
            layers.EXIT_LANE: [int(connector.incoming[0]) for connector in connectors],
            layers.ENTRY_LANE: [int(connector.outgoing[0]) for connector in connectors],
            layers.ROADBLOCK_CONNECTOR: [int(connector.roadblock) for connector in connectors],
            layers.SPEED_LIMIT: [connector.speed_limit_mps for connector in connectors],
            layers.STOP_LINES: [str(stops.get(connector.id, "")) for connector in connectors],
        },
    )


def _intersection_types(road_map: RoadMap, lit: Sequence[MapLane]) -> list[int]:
    blocks = {connector.roadblock for connector in lit}
    lights = {item.intersection for item in road_map.roadblock_connectors if item.id in blocks}
    return [LIGHT_INTERSECTION if item.id in lights else PLAIN_INTERSECTION for item in road_map.intersections]


def _ids(items: Sequence[MapArea]) -> list[int]:
    return [int(item.id) for item in items]


def _areas(items: Sequence[MapArea], **columns: Sequence) -> _Rows:
    return _Rows(ids=_ids(items), shapes=[shapely.Polygon(i.rings[0], i.rings[1:]) for i in items], columns=columns)


def _numbered(items: Sequence[MapArea]) -> _Rows:
    """The polygons alone, with ids of their own."""
    rows = _areas(items)
    return _Rows(ids=range(1, len(items) + 1), shapes=rows.shapes)


def _placeholder(layer: str, id_: int) -> _Rows:
    """One row that shows the columns of a layer and is nowhere: empty geometry, which touches nothing. 0 is no row's id."""
    spec = LAYERS[layer]
    columns = (*spec.columns, *spec.devkit)
    values = {
        name: [None if name in layers.REAL_COLUMNS else "" if name in layers.TEXT_COLUMNS else 0] for name in columns
    }
    return _Rows(ids=[id_], shapes=[shapely.from_wkt(f"{spec.geometry.upper()} EMPTY")], columns=values)


def _write_layer(path: Path, layer: str, rows: _Rows, crs: str) -> None:
    spec = LAYERS[layer]
    shapes = reproject(np.array(rows.shapes, object), source=crs, target=layers.LONGITUDE_LATITUDE)
    # A field named like the row number sets it; without one GDAL would count from 1.
    columns = {layers.FID: rows.ids, **{name: rows.columns[name] for name in (*spec.columns, *spec.devkit)}}
    arrays = {name: _array(name, values) for name, values in columns.items()}
    pyogrio.raw.write(
        path,
        layer=layer,
        driver="GPKG",
        geometry_type=spec.geometry,
        crs=layers.LONGITUDE_LATITUDE,
        geometry=shapely.to_wkb(shapes),
        fields=list(arrays),
        field_data=[values for values, _ in arrays.values()],
        field_mask=[mask for _, mask in arrays.values()],
        **_options(path, SPATIAL_INDEX="NO"),
    )


def _write_meta(path: Path, crs: str) -> None:
    """The table that names the coordinate system in metres."""
    pyogrio.raw.write(
        path,
        layer=layers.META,
        driver="GPKG",
        geometry_type=None,
        geometry=None,
        fields=[layers.KEY, layers.VALUE],
        field_data=[np.array([layers.PROJECTION], object), np.array([crs], object)],
        **_options(path),
    )


def _options(path: Path, **layer_options: str) -> dict[str, dict[str, str]]:
    """Version 1.2 of GeoPackage, which GDAL of the devkit's age knows; it is set with the first layer."""
    return {"layer_options": layer_options, "dataset_options": {} if path.exists() else {"VERSION": "1.2"}}


def _array(name: str, values: Sequence) -> tuple[np.ndarray, np.ndarray | None]:
    """A column as GDAL stores it, whole numbers as such, and which rows have no value (None where all have one)."""
    if name in layers.TEXT_COLUMNS:
        return np.array(values, object), None
    gaps = np.array([value is None for value in values], bool)
    filled = [0 if value is None else value for value in values]
    kind = np.float64 if name in layers.REAL_COLUMNS else np.int64
    return np.array(filled, kind), gaps if gaps.any() else None


@contextmanager
def _gdal_for_drafts() -> Iterator[None]:
    """GDAL takes WRITTEN_AT for now, and waits for no disk: a draft that is cut off is no loss. Afterwards it is as before."""
    options = {"OGR_CURRENT_DATE": WRITTEN_AT, "OGR_SQLITE_SYNCHRONOUS": "OFF"}
    before = {name: pyogrio.get_gdal_config_option(name) for name in options}
    pyogrio.set_gdal_config_options(options)
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(before)
