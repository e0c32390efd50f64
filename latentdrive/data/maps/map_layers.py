"""The layers of a nuPlan map file (map.gpkg): their names and columns, and how a layer is read.

Below nuplan_maps.py, which makes a RoadMap of them, and world/roads/map_writer.py, which writes
them. Geometry is usually stored in longitude and latitude. It is projected here to the metres of
the place, by the projection that layer `meta` names.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyogrio
import pyogrio.raw
import shapely
from jaxtyping import Float64
from pyogrio import errors as ogr
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from latentdrive.counting import counted
from latentdrive.errors import MapError
from latentdrive.types import FROZEN

LANES = "lanes_polygons"
CONNECTORS = "lane_connectors"
CONNECTOR_POLYGONS = "gen_lane_connectors_scaled_width_polygons"
ROADBLOCKS = "lane_groups_polygons"
ROADBLOCK_CONNECTORS = "lane_group_connectors"
INTERSECTIONS = "intersections"
CARPARKS = "carpark_areas"
BASELINES = "baseline_paths"
BOUNDARIES = "boundaries"
STOP_POLYGONS = "stop_polygons"
CROSSWALKS = "crosswalks"
WALKWAYS = "walkways"
ROAD_SEGMENTS = "road_segments"
DRIVABLE_AREAS = "generic_drivable_areas"
META = "meta"

FID = "fid"
LANE, CONNECTOR = "lane_fid", "lane_connector_fid"
ROADBLOCK, ROADBLOCK_CONNECTOR = "lane_group_fid", "lane_group_connector_fid"
# Named from the lanes' point of view: a connector begins where its exit lane is left.
EXIT_LANE, ENTRY_LANE = "exit_lane_fid", "entry_lane_fid"
FROM_ROADBLOCK, TO_ROADBLOCK = "from_lane_group_fid", "to_lane_group_fid"
INTERSECTION, INTERSECTION_TYPE = "intersection_fid", "intersection_type_fid"
LEFT_BOUNDARY, RIGHT_BOUNDARY = "left_boundary_fid", "right_boundary_fid"
LANE_INDEX, SPEED_LIMIT = "lane_index", "speed_limit_mps"
STOP_LINES, STOP_TYPE = "traffic_light_stop_line_fids", "stop_polygon_type_fid"
KEY, VALUE = "key", "value"
PROJECTION = "projectedCoordSystem"  # the key of `meta`

LONGITUDE_LATITUDE = "EPSG:4326"
REAL_COLUMNS = frozenset({SPEED_LIMIT})
TEXT_COLUMNS = frozenset({STOP_LINES, KEY, VALUE})

DAMAGE = (
    ogr.DataSourceError,
    ogr.FeatureError,
    ogr.FieldError,
    ogr.GeometryError,
    ogr.CRSError,
    shapely.errors.ShapelyError,
)


@dataclass(**FROZEN)
class Layer:
    """A layer as the devkit expects it. geometry: Polygon, LineString, or None for a table without geometry.

    columns: those that a RoadMap is made from. devkit: those that only the devkit reads. used:
    whether a RoadMap needs the layer.
    """

    geometry: str | None
    columns: tuple[str, ...] = ()
    devkit: tuple[str, ...] = ()
    used: bool = True


LAYERS = {
    LANES: Layer(
        geometry="Polygon",
        columns=(LANE, ROADBLOCK, SPEED_LIMIT, LANE_INDEX),
        devkit=(LEFT_BOUNDARY, RIGHT_BOUNDARY),
    ),
    CONNECTORS: Layer(
        geometry="LineString", columns=(EXIT_LANE, ENTRY_LANE, ROADBLOCK_CONNECTOR, SPEED_LIMIT, STOP_LINES)
    ),
    CONNECTOR_POLYGONS: Layer(geometry="Polygon", columns=(CONNECTOR,), devkit=(LEFT_BOUNDARY, RIGHT_BOUNDARY)),
    ROADBLOCKS: Layer(geometry="Polygon"),
    ROADBLOCK_CONNECTORS: Layer(geometry="Polygon", columns=(FROM_ROADBLOCK, TO_ROADBLOCK, INTERSECTION)),
    INTERSECTIONS: Layer(geometry="Polygon", devkit=(INTERSECTION_TYPE,)),
    CARPARKS: Layer(geometry="Polygon"),
    BASELINES: Layer(geometry="LineString", columns=(LANE, CONNECTOR)),
    CROSSWALKS: Layer(geometry="Polygon"),
    WALKWAYS: Layer(geometry="Polygon"),
    BOUNDARIES: Layer(geometry="LineString", used=False),
    STOP_POLYGONS: Layer(geometry="Polygon", devkit=(STOP_TYPE,), used=False),
    ROAD_SEGMENTS: Layer(geometry="Polygon", used=False),
    DRIVABLE_AREAS: Layer(geometry="Polygon", used=False),
    META: Layer(geometry=None, columns=(KEY, VALUE)),
}


@dataclass(**FROZEN)
class LayerRows:
    """The rows of one layer in the order of the file. ids: row numbers (fid) as text. columns: values by name.

    shapes: one part each, in the coordinates of `crs`; both are None for a layer without geometry.
    """

    path: Path
    layer: str
    ids: tuple[str, ...]
    columns: dict[str, np.ndarray]
    shapes: np.ndarray | None
    crs: str | None

    def named(self, column: str) -> list[str | None]:
        """The ids in a column as text, None where the file has none.

        Whole numbers stored as floats or text count as ids.
        """
        return [
            self._id(row, value, column) for row, value in zip(self.ids, self.columns[column].tolist(), strict=True)
        ]

    def required(self, column: str) -> list[str]:
        """As `named`, for a column without gaps. Raises MapError with the first row that has one."""
        names = self.named(column)
        if None in names:
            raise self.error(f"row {self.ids[names.index(None)]} has no {column}, and every row needs one")
        return names

    def numbers(self, column: str) -> list[float | None]:
        """The numbers in a column; None where the file has none, or NaN."""
        numbers = []
        for row, value in zip(self.ids, self.columns[column].tolist(), strict=True):
            try:
                number = float("nan") if value is None else float(value)
            except (ValueError, TypeError):
                raise self.error(f"row {row}: {column} must be a number, it is {value!r}") from None
            if np.isinf(number):
                raise self.error(f"row {row}: {column} must be a finite number, it is {value!r}")
            numbers.append(None if np.isnan(number) else number)
        return numbers

    def texts(self, column: str) -> list[str]:
        """The values in a column as text; empty where the file has none."""
        return ["" if value is None or value != value else str(value) for value in self.columns[column].tolist()]

    def lines(self) -> list[Float64[np.ndarray, "_ 2"]]:
        """The vertices of each row's line."""
        return [shapely.get_coordinates(shape) for shape in self.shapes]

    def rings(self) -> list[tuple[Float64[np.ndarray, "_ 2"], ...]]:
        """The rings of each row's polygon, exterior first. The last point does not repeat the first."""
        return [tuple(shapely.get_coordinates(ring)[:-1] for ring in shapely.get_rings(shape)) for shape in self.shapes]

    def error(self, problem: str) -> MapError:
        """The error for a problem of this layer, as `layer_error` makes it."""
        return layer_error(self.path, self.layer, problem)

    def _id(self, row: str, value: object, column: str) -> str | None:
        text = "" if value is None or value != value else str(value).strip()
        if text.lower() in ("", "nan", "none", "null"):
            return None
        try:
            number = int(text) if text.lstrip("+-").isdigit() else float(text)
        except ValueError:
            number = None
        if number is None or number != number // 1:
            raise self.error(f"row {row}: {column} must be the id of a row (a whole number), it is {value!r}")
        return str(int(number))


def layer_error(path: Path, layer: str, problem: str) -> MapError:
    """A MapError that names the file, the layer, the columns that belong there, and what to do."""
    spec = LAYERS[layer]
    columns = ", ".join((*spec.columns, *spec.devkit)) or "none but its fid"
    return MapError(
        f"{path}, layer {layer} ({spec.geometry or 'no geometry'}; columns {columns}): {problem}. "
        "Download the nuPlan maps again, or correct this file"
    )


def read_layer(path: Path, layer: str, *, projection: str | None) -> LayerRows:
    """The rows of one layer in the order of the file, with geometry in `projection` (None: as it is stored).

    A layer whose only row has empty geometry has no rows; such a row just declares the columns.
    Raises MapError for a damaged file, a missing layer or column, and geometry that is missing, of
    another type, or of several parts.
    """
    spec = LAYERS[layer]
    try:
        meta, fids, binary, fields = pyogrio.raw.read(
            path, layer=layer, columns=list(spec.columns), return_fids=True, force_2d=True
        )
        expected = pyogrio.read_info(path, layer=layer, force_feature_count=True)["features"]
        shapes = None if spec.geometry is None else shapely.from_wkb(binary)
    except ogr.DataLayerError:
        raise layer_error(path, layer, f"there is no such layer; the file has {', '.join(_layers_of(path))}") from None
    except DAMAGE as error:
        raise damaged(path, error) from None
    if len(fids) != expected:
        raise layer_error(path, layer, f"{len(fids)} of {counted(expected, 'row')} can be read: the file is damaged")
    columns = dict(zip(meta["fields"], fields, strict=True))
    absent = [name for name in spec.columns if name not in columns]
    if absent:
        raise layer_error(path, layer, f"it has no column {', '.join(absent)}")
    rows = LayerRows(
        path=path, layer=layer, ids=tuple(map(str, fids.tolist())), columns=columns, shapes=shapes, crs=meta["crs"]
    )
    if spec.geometry is None:
        return rows
    if len(rows.ids) == 1 and shapes[0] is not None and shapely.is_empty(shapes[0]):
        empty = {name: values[:0] for name, values in columns.items()}
        rows = replace(rows, ids=(), columns=empty, shapes=shapes[:0])
    return _projected(rows, _single_parts(rows, spec.geometry), projection)


def reproject(shapes: np.ndarray, *, source: str, target: str) -> np.ndarray:
    """Geometry in another coordinate system. x (or longitude) comes first. Raises ProjError or CRSError."""
    transformer = Transformer.from_crs(CRS.from_user_input(source), CRS.from_user_input(target), always_xy=True)
    return shapely.transform(shapes, lambda points: np.stack(transformer.transform(*points.T, errcheck=True), -1))


def read_projection(path: Path) -> str:
    """The coordinate system in metres that a map file names for its place, such as EPSG:32619. Raises MapError."""
    rows = read_layer(path, META, projection=None)
    entries = zip(rows.texts(KEY), rows.texts(VALUE), strict=True)
    projection = next((value.strip() for key, value in entries if key == PROJECTION), None)
    if projection is None:
        raise rows.error(f"it must name the coordinate system in metres in a row with key {PROJECTION}; there is none")
    try:
        projected = CRS.from_user_input(projection).is_projected
    except CRSError:
        projected = False
    if not projected:
        raise rows.error(
            f"{PROJECTION} must name a coordinate system in metres such as EPSG:32619, it is {projection!r}"
        )
    return projection


def layer_problems(path: Path) -> list[str]:
    """The layers and columns that a map file lacks, one sentence each; empty if none is missing.

    No geometry is read.
    """
    try:
        present = _layers_of(path)
        problems = []
        for name, spec in LAYERS.items():
            if name not in present:
                reader = "" if spec.used else " (only the devkit needs it)"
                problems.append(f"{path}: no layer {name}{reader}")
                continue
            fields = set(pyogrio.read_info(path, layer=name)["fields"])
            for column in (*spec.columns, *spec.devkit):
                if column not in fields:
                    reader = " (only the devkit reads it)" if column in spec.devkit else ""
                    problems.append(f"{path}: layer {name} has no column {column}{reader}")
    except MapError as error:
        return [str(error)]
    except (*DAMAGE, ogr.DataLayerError) as error:
        return [str(damaged(path, error))]
    if not any(f"layer {META}" in problem for problem in problems):
        try:
            read_projection(path)
        except MapError as error:
            problems.append(str(error))
    return problems


def damaged(path: Path, error: Exception) -> MapError:
    """The error for a file that GDAL can't read."""
    return MapError(f"{path}: no intact map file (GeoPackage): {error}. Download the nuPlan maps again")


def _layers_of(path: Path) -> list[str]:
    try:
        return pyogrio.list_layers(path)[:, 0].tolist()
    except DAMAGE as error:
        raise damaged(path, error) from None


def _single_parts(rows: LayerRows, kind: str) -> np.ndarray:
    """The shapes, each taken out of its collection if it is the only part.

    Several parts are refused: the devkit would take their union, which no list of rings can express.
    """
    shapes = rows.shapes.copy()
    for index, shape in enumerate(shapes):
        if shape is not None and shape.geom_type == f"Multi{kind}":
            if len(shape.geoms) > 1:
                raise rows.error(
                    f"row {rows.ids[index]} is a {shape.geom_type} of {counted(len(shape.geoms), 'part')}, not one"
                )
            shapes[index] = shape = shape.geoms[0] if len(shape.geoms) else None
        if shape is None or shape.is_empty:
            raise rows.error(f"row {rows.ids[index]} has no geometry")
        if shape.geom_type != kind:
            raise rows.error(f"row {rows.ids[index]} is a {shape.geom_type}, not a {kind}")
    return shapes


def _projected(rows: LayerRows, shapes: np.ndarray, projection: str | None) -> LayerRows:
    """The rows with these shapes, projected."""
    crs = rows.crs
    if projection is not None and len(shapes):
        if crs is None:
            raise rows.error("it names no coordinate system")
        try:
            if CRS.from_user_input(crs) != CRS.from_user_input(projection):
                shapes = reproject(shapes, source=crs, target=projection)
        except (CRSError, ProjError) as error:
            raise rows.error(f"its coordinates can't be brought from {crs} to {projection} ({error})") from None
        if not np.isfinite(shapely.get_coordinates(shapes)).all():
            raise rows.error(f"coordinates in {crs} have no place in {projection}")
        crs = projection
    return replace(rows, shapes=shapes, crs=crs)
