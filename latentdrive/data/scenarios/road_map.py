"""The map of a ScenarioNet scenario as a RoadMap, whatever structure its exporter used.

After lane_pieces.py, whose rules 1 to 3 turn features into lanes and connectors that follow one another. Here:

4. Lanes that name each other as neighbours share a roadblock; every other lane is a roadblock of
   its own. A roadblock connector holds all connectors between the same two roadblocks. A joint
   belongs to the roadblock before it.
5. The area of connectors that touch, widened by AROUND_M to every side, is an intersection. It is
   drivable where there are no lanes; arcs have no outline of their own.

Lane polygons stay exactly those of the file. Connectors and joints, which have none, are as wide as
the lanes that they join.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import shapely
from jaxtyping import Float64

from latentdrive.data.scenarios.lane_pieces import Piece, directions, largest, linked_pieces, polygon_of
from latentdrive.types import MapArea, MapConnection, MapLane, RoadMap

LANE_WIDTH_M = 3.5  # used where neither a polygon nor a neighbouring lane gives a width
NARROW_M, WIDE_M = 2.5, 5.0  # bounds on a connector's width: lanes flare out where they meet an intersection
AROUND_M = 1.0  # latentdrive default: how far the road reaches beside a connector that is as wide as its lanes
CLOSING_M = 0.5  # gaps between the polygons of one roadblock that are no gaps in the road
AREAS = {"crosswalks": ("CROSSWALK",), "walkways": ("SIDEWALK", "BOUNDARY_SIDEWALK")}

Way = tuple[str, str]  # from one roadblock to another


def read_road_map(features: Mapping[str, Any], *, name: str, lit: Collection[str]) -> RoadMap:
    """The map of one scenario. lit: ids of the features that a traffic light stands over."""
    pieces = linked_pieces(features)
    bands = {key: _band(piece, pieces) for key, piece in pieces.items() if piece.polygon is None}
    for key, band in bands.items():
        pieces[key].polygon = band
    lanes = {key: piece for key, piece in pieces.items() if not piece.connector}
    connectors = {key: piece for key, piece in pieces.items() if piece.connector}
    block_of = _roadblocks(lanes)
    way_of = {
        key: (block_of[next(iter(connector.before))], block_of[next(iter(connector.after))])
        for key, connector in connectors.items()
    }
    way_names: dict[Way, str] = {}
    for key, way in way_of.items():
        way_names.setdefault(way, f"roadblock_connector:{key}")
    index = _lane_indices(lanes, block_of)
    intersections = _intersections([connector for connector in connectors.values() if not connector.joint])
    return RoadMap(
        name=name,
        lanes=tuple(_map_lane(lane, block_of[key], index[key], False) for key, lane in lanes.items()),
        connectors=tuple(
            _map_lane(connector, way_names[way_of[key]], None, bool({connector.source, *connector.before} & set(lit)))
            for key, connector in connectors.items()
        ),
        roadblocks=_roadblock_areas(lanes, connectors, block_of, way_of),
        roadblock_connectors=_connections(connectors, way_of, way_names, intersections),
        intersections=tuple(MapArea(id=key, rings=_rings(polygon)) for key, polygon in intersections.items()),
        carparks=(),
        **{kind: _areas(features, types) for kind, types in AREAS.items()},
    )


def _band(piece: Piece, pieces: dict[str, Piece]) -> shapely.Polygon:
    """A polygon around the centre line, as wide as the lanes at its two ends, with widths interpolated in between."""
    line = piece.baseline
    before = [_width(pieces[key], -1) for key in piece.before]
    after = [_width(pieces[key], 0) for key in piece.after]
    known = [width for width in before + after if width is not None] or [LANE_WIDTH_M]
    start = next((width for width in before if width is not None), known[0])
    end = next((width for width in after if width is not None), known[-1])
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    half = (start + (end - start) * way / way[-1]).clip(NARROW_M, WIDE_M) / 2
    heading = np.unwrap(directions(line))
    heading = np.concatenate([heading[:1], (heading[1:] + heading[:-1]) / 2, heading[-1:]])
    left = np.stack([-np.sin(heading), np.cos(heading)], -1) * half[:, None]
    band = shapely.Polygon(np.concatenate([line + left, (line - left)[::-1]]))
    return band if band.is_valid else largest(shapely.LineString(line).buffer(half.mean(), cap_style="flat"))


def _width(piece: Piece, end: int) -> float | None:
    """Width of a lane across its first (0) or last (-1) point; None if it has no polygon."""
    if piece.polygon is None:
        return None
    heading = directions(piece.baseline)[end]
    at = piece.baseline[end] + 0.1 * np.array([np.cos(heading), np.sin(heading)]) * (1 if end == 0 else -1)
    across = np.array([-np.sin(heading), np.cos(heading)]) * 2 * WIDE_M
    cut = shapely.LineString([at - across, at + across]).intersection(piece.polygon)
    parts = [part for part in shapely.get_parts(cut) if part.length > 0]
    return min(parts, key=lambda part: part.distance(shapely.Point(at)), default=shapely.Point()).length or None


def _roadblocks(lanes: dict[str, Piece]) -> dict[str, str]:
    """The roadblock of every lane, named after the roadblock's first lane; see rule 4."""
    block = {key: key for key in lanes}

    def root(key: str) -> str:
        while block[key] != key:
            key = block[key]
        return key

    order = {key: number for number, key in enumerate(lanes)}
    for key, lane in lanes.items():
        for other in lane.beside:
            if other in lanes:
                a, b = sorted((root(key), root(other)), key=order.__getitem__)
                block[b] = a
    return {key: f"roadblock:{root(key)}" for key in lanes}


def _lane_indices(pieces: dict[str, Piece], block_of: dict[str, str]) -> dict[str, int]:
    """Position of every lane in its roadblock, 0 leftmost, by the middles of the centre lines."""
    members: dict[str, list[str]] = {}
    for key, block in block_of.items():
        members.setdefault(block, []).append(key)
    index = {}
    for keys in members.values():
        middle = [shapely.line_interpolate_point(shapely.LineString(pieces[key].baseline), 0.5, True) for key in keys]
        line = pieces[keys[0]].baseline
        heading = directions(line)[len(line) // 2 - 1]
        left = [-np.sin(heading) * point.x + np.cos(heading) * point.y for point in middle]
        index |= {keys[k]: place for place, k in enumerate(np.argsort([-offset for offset in left], kind="stable"))}
    return {key: int(place) for key, place in index.items()}


def _roadblock_areas(
    lanes: Mapping[str, Piece], connectors: Mapping[str, Piece], block_of: Mapping[str, str], way_of: Mapping[str, Way]
) -> tuple[MapArea, ...]:
    """Roadblocks with the area of their lanes, and of the joints behind these."""
    parts: dict[str, list[shapely.Polygon]] = {}
    for key, lane in lanes.items():
        parts.setdefault(block_of[key], []).append(lane.polygon)
    for key, connector in connectors.items():
        if connector.joint:
            parts[way_of[key][0]].append(connector.polygon)
    return tuple(MapArea(id=block, rings=_rings(_joined(polygons))) for block, polygons in parts.items())


def _connections(
    connectors: Mapping[str, Piece],
    way_of: Mapping[str, Way],
    way_names: Mapping[Way, str],
    intersections: Mapping[str, shapely.Polygon],
) -> tuple[MapConnection, ...]:
    """Roadblock connectors, each in the first intersection that its first connector touches."""
    parts: dict[Way, list[shapely.Polygon]] = {}
    for key, connector in connectors.items():
        parts.setdefault(way_of[key], []).append(connector.polygon)
    return tuple(
        MapConnection(
            id=way_names[way],
            rings=_rings(_joined(polygons)),
            from_roadblock=way[0],
            to_roadblock=way[1],
            intersection=next((key for key, polygon in intersections.items() if polygon.intersects(polygons[0])), None),
        )
        for way, polygons in parts.items()
    )


def _intersections(connectors: list[Piece]) -> dict[str, shapely.Polygon]:
    """One polygon over each group of connectors that touch, by an id made of the group's first connector."""
    wide = [connector.polygon.buffer(AROUND_M, join_style="mitre") for connector in connectors]
    intersections = {}
    for polygon in shapely.get_parts(shapely.union_all(wide)) if wide else ():
        first = next(connector.id for connector, band in zip(connectors, wide) if polygon.intersects(band))
        intersections[f"intersection:{first}"] = polygon
    return intersections


def _areas(features: Mapping[str, Any], types: tuple[str, ...]) -> tuple[MapArea, ...]:
    polygons = {
        str(key): polygon_of(feature)
        for key, feature in features.items()
        if isinstance(feature, Mapping) and feature.get("type") in types
    }
    return tuple(MapArea(id=key, rings=_rings(polygon)) for key, polygon in polygons.items() if polygon is not None)


def _joined(polygons: list[shapely.Polygon]) -> shapely.Polygon:
    """One polygon over several: their union with small gaps closed, or the convex hull of what still lies apart."""
    union = shapely.union_all(polygons) if len(polygons) > 1 else polygons[0]
    if union.geom_type != "Polygon":
        union = union.buffer(CLOSING_M, join_style="mitre").buffer(-CLOSING_M, join_style="mitre")
    return union if union.geom_type == "Polygon" else union.convex_hull


def _map_lane(piece: Piece, roadblock: str, index: int | None, has_light: bool) -> MapLane:
    return MapLane(
        id=piece.id,
        rings=_rings(piece.polygon),
        roadblock=roadblock,
        baseline=piece.baseline,
        outgoing=tuple(piece.after),
        incoming=tuple(piece.before),
        speed_limit_mps=piece.speed_limit_mps,
        index=index,
        has_light=has_light,
    )


def _rings(polygon: shapely.Polygon) -> tuple[Float64[np.ndarray, "n 2"], ...]:
    return tuple(np.array(ring.coords)[:-1, :2] for ring in (polygon.exterior, *polygon.interiors))
