"""nuPlan maps as RoadMaps.

VERSION.json names each place's file, map_layers.py reads its layers, and a graph of lanes is made
here. Scoring and training targets need it beside the logs. Ids are the row numbers of the file as
text, and everything keeps the order of the file, because results of the devkit depend on it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from latentdrive.counting import counted
from latentdrive.data.maps import map_layers as layers
from latentdrive.data.maps.map_layers import LayerRows, layer_problems, read_layer, read_projection
from latentdrive.errors import MapError
from latentdrive.plain_files import read_json
from latentdrive.types import MAP_ALIASES, MapArea, MapConnection, MapLane, RoadMap

PLACES = ("us-ma-boston", "us-pa-pittsburgh-hazelwood", "sg-one-north", "us-nv-las-vegas-strip")
MAP_FILE = "map.gpkg"

Rings = tuple[Float64[np.ndarray, "_ 2"], ...]


class NuplanMaps:
    """The maps below one folder, by place. root: $NUPLAN_MAPS_ROOT. version: name of its JSON file (nuplan-maps-v1.0).

    `maps["us-ma-boston"]` reads that map at its first use, and keeps it. Nothing is read before, so
    that every use may raise MapError for a missing or damaged JSON file. identity: stands for these
    maps in the id of scenes.
    """

    def __init__(self, *, root: str | Path, version: str) -> None:
        self.root = Path(root).expanduser()
        self.identity = {"_target_": "NuplanMaps", "root": str(root), "version": version}
        self.index = self.root / f"{version}.json"
        self._maps: dict[str, RoadMap] = {}
        self._loose_ends: dict[str, tuple[str, ...]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes, which read maps on their own."""
        return self.__dict__ | {"_maps": {}, "_loose_ends": {}}

    @cached_property
    def _versions(self) -> dict[str, str]:
        return read_versions(self.index)

    @property
    def names(self) -> tuple[str, ...]:
        """Places that have a map file, in the order of the JSON file."""
        return tuple(name for name in self._versions if self._file(name).is_file())

    def stamps(self) -> list[tuple[str, int, int]]:
        """Place, size in bytes and time of change of every map file; empty without maps."""
        if not self.index.is_file():
            return []
        files = {name: self._file(name).stat() for name in self.names}
        return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files.items()]

    def path(self, name: str) -> Path:
        """The map file of a place; it may be absent. Raises MapError for a place that the JSON file does not name."""
        name = MAP_ALIASES.get(name, name)
        if name not in self._versions:
            raise MapError(
                f"{self.index} has no map of {name!r}, only of {', '.join(self._versions) or 'no place'}: "
                "name one of these, or give the folder of maps that holds it"
            )
        return self._file(name)

    def __getitem__(self, name: str) -> RoadMap:
        """The map of a place. Raises MapError for an unknown place and for a missing, damaged or incomplete file."""
        name = MAP_ALIASES.get(name, name)
        if name not in self._maps:
            path = self.path(name)
            if not path.is_file():
                raise MapError(
                    f"{path} is missing, the map of {name}: download the nuPlan maps, or correct their folder"
                )
            self._maps[name], self._loose_ends[name] = read_road_map(path, name)
        return self._maps[name]

    def loose_ends(self, name: str) -> tuple[str, ...]:
        """Lane connectors of a map that name a lane it does not hold, one sentence each.

        The graph of lanes ends there.
        """
        name = self[name].name
        return self._loose_ends[name]

    def problems(self) -> list[str]:
        """What is missing (places, files, layers, columns), one sentence each. No map is read completely."""
        problems = [
            f"{self.index}: no entry for {name}; the devkit opens the maps of all four places"
            for name in PLACES
            if name not in self._versions
        ]
        for name in self._versions:
            path = self._file(name)
            problems += layer_problems(path) if path.is_file() else [f"{path} is missing, the map of {name}"]
        return problems

    def _file(self, name: str) -> Path:
        return map_file(self.root, name, self._versions[name])


def map_file(root: Path, name: str, version: str) -> Path:
    """The path of a place's map file."""
    return root / name / version / MAP_FILE


def read_versions(index: Path) -> dict[str, str]:
    """The version of each place's map, from VERSION.json. Raises MapError if it is missing or has another form."""
    try:
        content = read_json(index)
        versions = {name: entry["version"] for name, entry in content.items()}
    except FileNotFoundError:
        raise MapError(
            f"{index} is missing: the folder of the nuPlan maps must hold it beside the places (NUPLAN_MAPS_ROOT)"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MapError(
            f'{index}: expected {{place: {{"version": TEXT, …}}}}, got something else '
            f"({type(error).__name__}: {error}). Download the nuPlan maps again"
        ) from None
    for name, version in versions.items():
        if not isinstance(version, str):
            raise MapError(f"{index}: the version of {name} must be text, it is {version!r}. Download the maps again")
    return versions


def read_road_map(path: Path, name: str) -> tuple[RoadMap, tuple[str, ...]]:
    """One map file as a RoadMap; and sentences on lane connectors that name a missing lane. Raises MapError."""
    projection = read_projection(path)

    def rows(layer: str) -> LayerRows:
        return read_layer(path, layer, projection=projection)

    lane_rows, connector_rows, baselines = rows(layers.LANES), rows(layers.CONNECTORS), rows(layers.BASELINES)
    graph, loose = _lane_graph(connector_rows, set(lane_rows.ids))
    polygons = rows(layers.CONNECTOR_POLYGONS)
    road_map = RoadMap(
        name=name,
        lanes=_lanes(lane_rows, _by_owner(baselines, layers.LANE, baselines.lines()), graph),
        connectors=_connectors(
            connector_rows,
            _by_owner(baselines, layers.CONNECTOR, baselines.lines()),
            _by_owner(polygons, layers.CONNECTOR, polygons.rings()),
            graph,
        ),
        roadblocks=_areas(rows(layers.ROADBLOCKS)),
        roadblock_connectors=_connections(rows(layers.ROADBLOCK_CONNECTORS)),
        intersections=_areas(rows(layers.INTERSECTIONS)),
        carparks=_areas(rows(layers.CARPARKS)),
        crosswalks=_areas(rows(layers.CROSSWALKS)),
        walkways=_areas(rows(layers.WALKWAYS)),
    )
    repeated = repeated_ids(road_map)
    if repeated:
        raise MapError(
            f"{path}: ids must be unique over lanes, connectors, roadblocks, intersections and car parks; "
            f"{len(repeated)} are used twice, for example {', '.join(repeated[:5])}. Download the nuPlan maps again"
        )
    return road_map, loose


def repeated_ids(road_map: RoadMap) -> list[str]:
    """Ids that two objects share. Scoring keeps lanes, roadblocks, intersections and car parks in one list of ids."""
    lanes = (*road_map.lanes, *road_map.connectors)
    blocks = (*road_map.roadblocks, *road_map.roadblock_connectors)
    uses = Counter(item.id for item in (*lanes, *blocks, *road_map.intersections, *road_map.carparks))
    return [id_ for id_, count in uses.items() if count > 1]


class _LaneGraph:
    """Which connectors leave and enter a lane, and which lanes a connector joins, in the order of the connectors."""

    def __init__(self) -> None:
        self.outgoing: defaultdict[str, list[str]] = defaultdict(list)
        self.incoming: defaultdict[str, list[str]] = defaultdict(list)

    def ends(self, id_: str) -> dict[str, tuple[str, ...]]:
        return {"outgoing": tuple(self.outgoing[id_]), "incoming": tuple(self.incoming[id_])}


def _lane_graph(rows: LayerRows, lanes: set[str]) -> tuple[_LaneGraph, tuple[str, ...]]:
    graph, loose = _LaneGraph(), []
    exits, entries = rows.named(layers.EXIT_LANE), rows.named(layers.ENTRY_LANE)
    for connector, start, end in zip(rows.ids, exits, entries, strict=True):
        for lane, column in ((start, layers.EXIT_LANE), (end, layers.ENTRY_LANE)):
            if lane not in lanes:
                target = "no lane" if lane is None else f"lane {lane}, which is not in {layers.LANES}"
                loose.append(f"{rows.path}: lane connector {connector}: {column} names {target}")
        if start in lanes:
            graph.outgoing[start].append(connector)
            graph.incoming[connector].append(start)
        if end in lanes:
            graph.incoming[end].append(connector)
            graph.outgoing[connector].append(end)
    return graph, tuple(loose)


def _lanes(rows: LayerRows, baselines: dict[str, np.ndarray], graph: _LaneGraph) -> tuple[MapLane, ...]:
    for id_, lane in zip(rows.ids, rows.named(layers.LANE), strict=True):
        if lane != id_:
            raise rows.error(f"row {id_} has {layers.LANE} {lane}, and both must be equal")
    _require_all(rows, baselines, f"a line in {layers.BASELINES} with that {layers.LANE}")
    roadblocks, limits = rows.required(layers.ROADBLOCK), rows.numbers(layers.SPEED_LIMIT)
    columns = zip(rows.ids, rows.rings(), roadblocks, limits, rows.numbers(layers.LANE_INDEX), strict=True)
    return tuple(
        MapLane(
            id=id_,
            rings=rings,
            roadblock=roadblock,
            baseline=baselines[id_],
            speed_limit_mps=limit,
            index=None if index is None else int(index),
            has_light=False,
            **graph.ends(id_),
        )
        for id_, rings, roadblock, limit, index in columns
    )


def _connectors(
    rows: LayerRows, baselines: dict[str, np.ndarray], polygons: dict[str, Rings], graph: _LaneGraph
) -> tuple[MapLane, ...]:
    _require_all(rows, baselines, f"a line in {layers.BASELINES} with that {layers.CONNECTOR}")
    _require_all(rows, polygons, f"a polygon in {layers.CONNECTOR_POLYGONS} with that {layers.CONNECTOR}")
    roadblocks, limits = rows.required(layers.ROADBLOCK_CONNECTOR), rows.numbers(layers.SPEED_LIMIT)
    columns = zip(rows.ids, roadblocks, limits, rows.texts(layers.STOP_LINES), strict=True)
    return tuple(
        MapLane(
            id=id_,
            rings=polygons[id_],
            roadblock=roadblock,
            baseline=baselines[id_],
            speed_limit_mps=limit,
            index=None,
            has_light=bool(stops.replace(",", " ").strip()),
            **graph.ends(id_),
        )
        for id_, roadblock, limit, stops in columns
    )


def _connections(rows: LayerRows) -> tuple[MapConnection, ...]:
    starts, ends = rows.required(layers.FROM_ROADBLOCK), rows.required(layers.TO_ROADBLOCK)
    columns = zip(rows.ids, rows.rings(), starts, ends, rows.named(layers.INTERSECTION), strict=True)
    return tuple(
        MapConnection(id=id_, rings=rings, from_roadblock=start, to_roadblock=end, intersection=intersection)
        for id_, rings, start, end, intersection in columns
    )


def _areas(rows: LayerRows) -> tuple[MapArea, ...]:
    return tuple(MapArea(id=id_, rings=rings) for id_, rings in zip(rows.ids, rows.rings(), strict=True))


def _by_owner(rows: LayerRows, column: str, shapes: list) -> dict[str, np.ndarray | Rings]:
    """Shapes by the lane or connector that a column names. Raises MapError if two rows name the same one."""
    owned: dict[str, np.ndarray | Rings] = {}
    for id_, owner, shape in zip(rows.ids, rows.named(column), shapes, strict=True):
        if owner in owned:
            raise rows.error(f"row {id_} is the second one with {column} {owner}; each has one")
        if owner is not None:
            owned[owner] = shape
    return owned


def _require_all(rows: LayerRows, owned: Iterable[str], what: str) -> None:
    """Raises MapError, with the first rows, if any row has no shape in `owned`. what: they lack."""
    absent = [id_ for id_ in rows.ids if id_ not in owned]
    if absent:
        raise rows.error(f"{counted(len(absent), 'row')} ({', '.join(absent[:5])}) without {what}")
