"""Writes RoadMaps as nuPlan map files: VERSION.json, and PLACE/1.0.0/map.gpkg with every layer that the devkit reads.

The counterpart of data/maps/nuplan_maps.py: whatever reads NAVSIM's maps reads these, too. Geometry
is stored in longitude and latitude, as in nuPlan's own files. The same maps give the same bytes.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from latentdrive.types import RoadMap
from latentdrive.world.roads.map_checks import check_map
from latentdrive.world.roads.map_tables import Rows, map_tables, placeholder

FILE_VERSION = "1.0.0"  # nuPlan's own versions look like 9.17.1964, so no path of theirs is the same
WRITTEN_AT = "2000-01-01T00:00:00.000Z"  # stored in place of the time of writing, which would change the bytes
SCARCE_BYTES = 2**26  # a failed write with less free space than this has filled the disk


def write_maps(root: str | Path, maps: Mapping[str, RoadMap], *, crs: Mapping[str, str], version: str) -> None:
    """Write a map file for each place, then VERSION.json, each atomically.

    maps, crs: by place. crs names the metric coordinate system of a map, such as EPSG:32619. The
    devkit opens all four nuPlan places when it starts, so it needs a map for each of
    `nuplan_maps.PLACES`. Raises MapError for a map that would differ after it is read back (see
    map_checks.py) and for a folder that holds other maps, and DiskFull.
    """
    root = Path(root)
    index = root / f"{version}.json"
    versions = {name: FILE_VERSION for name in maps}
    if index.exists() and read_versions(index) != versions:
        raise MapError(
            f"{index} lists other maps than those to be written ({', '.join(maps)}). Write them to another folder."
        )
    for name, road_map in maps.items():
        if name != road_map.name:
            raise MapError(f"the map for {name} has the name {road_map.name}; both must be the same place")
        check_map(road_map)
        if name not in crs or not _in_metres(crs[name]):
            raise MapError(
                f"the map of {name} needs a metric coordinate system such as EPSG:32619, got {crs.get(name)!r}"
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
    tables = map_tables(road_map)
    # An empty layer gets one row with an unused id, because a layer without rows would not have its columns.
    spare = max((id_ for rows in tables.values() for id_ in rows.ids), default=0) + 1
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / path.name  # GDAL needs the true suffix
        try:
            with _gdal_for_drafts():
                for number, (name, rows) in enumerate(tables.items()):
                    _write_layer(draft, name, rows if rows.ids else placeholder(name, spare + number), crs)
                _write_meta(draft, crs)
        except (ogr.DataSourceError, ogr.DataLayerError, ogr.FeatureError, ogr.GeometryError) as error:
            # On a full disk GDAL reports "disk is full" for some writes and only "failed to commit" for others.
            if shutil.disk_usage(folder).free < SCARCE_BYTES:
                raise DiskFull(
                    f"the disk that holds temporary files ({folder}) is full while writing {path}. Free space or set "
                    "TMPDIR to another disk, and repeat the command."
                ) from error
            raise
        except ProjError as error:
            raise MapError(f"the coordinates of {road_map.name} lie outside of {crs} ({error})") from None
        write_atomic(path, lambda new: shutil.copyfile(draft, new))


def _write_layer(path: Path, layer: str, rows: Rows, crs: str) -> None:
    spec = LAYERS[layer]
    shapes = reproject(np.array(rows.shapes, object), source=crs, target=layers.LONGITUDE_LATITUDE)
    # The field with this name sets the row numbers; without it GDAL would count from 1.
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
    """Write the table that names the metric coordinate system."""
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
    """Options of a layer. The first one sets GeoPackage version 1.2, which the devkit's older GDAL can read."""
    return {"layer_options": layer_options, "dataset_options": {} if path.exists() else {"VERSION": "1.2"}}


def _array(name: str, values: Sequence) -> tuple[np.ndarray, np.ndarray | None]:
    """A column as GDAL stores it, and the mask of the rows without a value (None if all rows have one)."""
    if name in layers.TEXT_COLUMNS:
        return np.array(values, object), None
    gaps = np.array([value is None for value in values], bool)
    filled = [0 if value is None else value for value in values]
    kind = np.float64 if name in layers.REAL_COLUMNS else np.int64
    return np.array(filled, kind), gaps if gaps.any() else None


@contextmanager
def _gdal_for_drafts() -> Iterator[None]:
    """Let GDAL use WRITTEN_AT as the present time and write without syncing; restore its options afterwards.

    A draft need not survive a crash, so syncing would only cost time.
    """
    options = {"OGR_CURRENT_DATE": WRITTEN_AT, "OGR_SQLITE_SYNCHRONOUS": "OFF"}
    before = {name: pyogrio.get_gdal_config_option(name) for name in options}
    pyogrio.set_gdal_config_options(options)
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(before)
