"""The lanes of a ScenarioNet scenario as a RoadMap: nuPlan's lane → connector → lane, whatever the exporter had.

Below scenario_logs.py. The rule, from the file to nuPlan's structure:
1. A feature whose type begins with LANE is a connector if it has no polygon while others have one (nuScenes: arcs through
   intersections), or if its type is LANE_SURFACE_UNSTRUCTURE (nuPlan: the same); else a lane. Bicycle lanes are left out.
2. Successors are those of `exit_lanes` and `entry_lanes`; where no feature names any, a feature follows another if it begins
   within JOIN_M of the other's end, in its direction.
3. A connector that lacks a lane on one side (the map was cut there) is a lane. One with several on a side becomes one
   connector for each pair. Two of a kind in succession get a joint of the other kind between them: the last metre of the one
   and the first of the other.
4. Lanes that name each other as neighbours share a roadblock; else each lane is a roadblock. A roadblock connector holds all
   connectors between the same two roadblocks. What connectors cover together, and AROUND_M to every side, is an intersection: only
   that is drivable where there are no lanes, and an arc has no outline of its own. A joint belongs to the roadblock before it.
Lane polygons stay exactly those of the file; connectors and joints, which have none, are as wide as the lanes they join.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
import shapely
from jaxtyping import Float64
from scipy.spatial import cKDTree

from latentdrive.geometry import wrap_angle
from latentdrive.types import MapArea, MapConnection, MapLane, RoadMap

JOIN_M = 0.5  # exporters repeat the joint exactly; neighbours' ends are metres away
JOIN_RAD = np.pi / 4
JOINT_M = 1.0
LANE_WIDTH_M = 3.5  # where neither a polygon nor a neighbouring lane tells
NARROW_M, WIDE_M = 2.5, 5.0  # bounds on a connector's width: lanes flare out where they meet an intersection
AROUND_M = 1.0  # latentdrive default: how far the road reaches beside a connector that is as wide as its lanes
CLOSING_M = 0.5  # gaps between the polygons of one roadblock that are no gaps in the road
AREAS = {"crosswalks": ("CROSSWALK",), "walkways": ("SIDEWALK", "BOUNDARY_SIDEWALK")}


@dataclass(kw_only=True)
class Piece:
    """One lane feature, or a joint between two, on its way to the map. source: the feature that it was made from."""

    id: str
    source: str
    baseline: Float64[np.ndarray, "n 2"]
    polygon: shapely.Polygon | None
    connector: bool
    speed_limit_mps: float | None
    joint: bool = False
    beside: tuple[str, ...] = ()
    after: dict[str, None] = field(default_factory=dict)
    before: dict[str, None] = field(default_factory=dict)


def read_road_map(features: Mapping[str, Any], *, name: str, lit: Collection[str]) -> RoadMap:
    """The map of one scenario. lit: ids of the features that a traffic light stands over."""
    pieces = read_pieces(features)
    _link(pieces, features)
    for piece in pieces.values():
        piece.connector = piece.connector and bool(piece.before and piece.after)
    pieces = _one_pair_each(_with_joints(pieces))
    bands = {key: _band(one, pieces) for key, one in pieces.items() if one.polygon is None}
    for key, band in bands.items():
        pieces[key].polygon = band
    block_of = _roadblocks({key: one for key, one in pieces.items() if not one.connector})
    way_of = {
        key: (block_of[next(iter(one.before))], block_of[next(iter(one.after))])
        for key, one in pieces.items()
        if one.connector
    }
    way_names: dict[tuple[str, str], str] = {}
    for key, way in way_of.items():
        way_names.setdefault(way, f"roadblock_connector:{key}")
    index = _lane_indices(pieces, block_of)
    lanes = [_map_lane(one, block_of[key], index[key], False) for key, one in pieces.items() if not one.connector]
    connectors = [
        _map_lane(pieces[key], way_names[way], None, bool({pieces[key].source, *pieces[key].before} & set(lit)))
        for key, way in way_of.items()
    ]
    blocks: dict[str, list[shapely.Polygon]] = {}
    for key, block in block_of.items():
        blocks.setdefault(block, []).append(pieces[key].polygon)
    ways: dict[tuple[str, str], list[shapely.Polygon]] = {}
    for key, way in way_of.items():
        ways.setdefault(way, []).append(pieces[key].polygon)
        if pieces[key].joint:
            blocks[way[0]].append(pieces[key].polygon)
    intersections = _intersections([pieces[key] for key in way_of if not pieces[key].joint])
    return RoadMap(
        name=name,
        lanes=tuple(lanes),
        connectors=tuple(connectors),
        roadblocks=tuple(MapArea(id=block, rings=_rings(_joined(parts))) for block, parts in blocks.items()),
        roadblock_connectors=tuple(
            MapConnection(
                id=way_names[way],
                rings=_rings(_joined(parts)),
                from_roadblock=way[0],
                to_roadblock=way[1],
                intersection=next(
                    (one for one, polygon in intersections.items() if polygon.intersects(parts[0])), None
                ),
            )
            for way, parts in ways.items()
        ),
        intersections=tuple(MapArea(id=one, rings=_rings(polygon)) for one, polygon in intersections.items()),
        carparks=(),
        **{kind: _areas(features, types) for kind, types in AREAS.items()},
    )


def read_pieces(features: Mapping[str, Any]) -> dict[str, Piece]:
    """Lane features with a centre line, not yet linked; see rule 1."""
    found = {str(key): one for key, one in features.items() if is_lane(one) and centre_line(one) is not None}
    polygons = {key: _polygon(one.get("polygon")) for key, one in found.items()}
    some = any(polygon is not None for polygon in polygons.values())
    pieces = {}
    for key, one in found.items():
        bare = some and polygons[key] is None
        limit = one.get("speed_limit_kmh")
        # nuScenes knows no limits: its exporter writes 100 km/h on every connector, and these alone have no polygon.
        known = isinstance(limit, int | float) and limit > 0 and not bare
        beside = [_name(other) for side in ("left_neighbor", "right_neighbor") for other in one.get(side) or ()]
        pieces[key] = Piece(
            id=key,
            source=key,
            baseline=centre_line(one),
            polygon=polygons[key],
            connector=bare or one["type"] == "LANE_SURFACE_UNSTRUCTURE",
            speed_limit_mps=float(limit) / 3.6 if known else None,
            beside=tuple(beside),
        )
    return pieces


def is_lane(feature: Any) -> bool:
    """Whether a map feature is driven on by cars."""
    kind = feature.get("type") if isinstance(feature, Mapping) else None
    return isinstance(kind, str) and kind.startswith("LANE") and kind != "LANE_BIKE_LANE"


def centre_line(feature: Mapping[str, Any]) -> Float64[np.ndarray, "n 2"] | None:
    """The centre line without repeated points; None where it holds fewer than two, or numbers that are not finite."""
    line = _points(feature.get("polyline"))
    if line is None or len(line) < 2:
        return None
    line = line[np.concatenate([[True], np.linalg.norm(np.diff(line, axis=0), axis=1) > 1e-6])]
    return line if len(line) >= 2 else None


def directions(line: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "m"]:
    """Heading of every segment."""
    step = np.diff(line, axis=0)
    return np.arctan2(step[:, 1], step[:, 0])


def _name(other: Any) -> str:
    """Some exporters write ids, some dictionaries that hold one."""
    return str(other.get("feature_id")) if isinstance(other, Mapping) else str(other)


def _points(value: Any) -> Float64[np.ndarray, "n 2"] | None:
    try:
        points = np.array([point[:2] for point in value], np.float64)
    except (TypeError, ValueError, IndexError):
        return None
    return points if points.ndim == 2 and points.shape[1] == 2 and np.isfinite(points).all() else None


def _polygon(value: Any) -> shapely.Polygon | None:
    points = None if value is None else _points(value)
    if points is None or len(points) < 3:
        return None
    return _largest(shapely.make_valid(shapely.Polygon(points)))


def _largest(shape: shapely.Geometry) -> shapely.Polygon | None:
    """The largest polygon in a shape; None where there is none."""
    parts = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon" and part.area > 0]
    return max(parts, key=lambda part: part.area, default=None)


def _rings(polygon: shapely.Polygon) -> tuple[Float64[np.ndarray, "n 2"], ...]:
    return tuple(np.array(ring.coords)[:-1, :2] for ring in (polygon.exterior, *polygon.interiors))


def _joined(polygons: list[shapely.Polygon]) -> shapely.Polygon:
    """One polygon over several: their union, small gaps closed, or the hull of what still lies apart."""
    union = shapely.union_all(polygons) if len(polygons) > 1 else polygons[0]
    if union.geom_type != "Polygon":
        union = union.buffer(CLOSING_M, join_style="mitre").buffer(-CLOSING_M, join_style="mitre")
    return union if union.geom_type == "Polygon" else union.convex_hull


def _intersections(connectors: list[Piece]) -> dict[str, shapely.Polygon]:
    """Polygons over connectors that touch one another, by id: named after the first connector of each."""
    wide = [one.polygon.buffer(AROUND_M, join_style="mitre") for one in connectors]
    found = {}
    for polygon in shapely.get_parts(shapely.union_all(wide)) if wide else ():
        first = next(one.id for one, band in zip(connectors, wide) if polygon.intersects(band))
        found[f"intersection:{first}"] = polygon
    return found


def _areas(features: Mapping[str, Any], types: tuple[str, ...]) -> tuple[MapArea, ...]:
    found = [
        (str(key), _polygon(one.get("polygon")))
        for key, one in features.items()
        if isinstance(one, Mapping) and one.get("type") in types
    ]
    return tuple(MapArea(id=key, rings=_rings(polygon)) for key, polygon in found if polygon is not None)


def _link(pieces: dict[str, Piece], features: Mapping[str, Any]) -> None:
    """Fill `after` and `before`; see rule 2."""
    pairs = []
    for key in pieces:
        feature = features[key]
        pairs += [(key, _name(other)) for other in feature.get("exit_lanes") or ()]
        pairs += [(_name(other), key) for other in feature.get("entry_lanes") or ()]
    pairs = [(a, b) for a, b in pairs if a in pieces and b in pieces]
    for a, b in pairs or _touching(pieces):
        if a != b:
            pieces[a].after[b] = None
            pieces[b].before[a] = None


def _touching(pieces: dict[str, Piece]) -> list[tuple[str, str]]:
    keys = list(pieces)
    if not keys:
        return []
    starts = cKDTree(np.array([pieces[key].baseline[0] for key in keys]))
    begins = np.array([directions(pieces[key].baseline)[0] for key in keys])
    pairs = []
    for a, near in zip(keys, starts.query_ball_point([pieces[key].baseline[-1] for key in keys], JOIN_M)):
        heading = directions(pieces[a].baseline)[-1]
        pairs += [(a, keys[k]) for k in sorted(near) if abs(wrap_angle(begins[k] - heading)) < JOIN_RAD]
    return pairs


def _with_joints(pieces: dict[str, Piece]) -> dict[str, Piece]:
    """A joint between two of a kind; see rule 3."""
    joints = {}
    for key, piece in pieces.items():
        for other in [one for one in piece.after if pieces[one].connector == piece.connector]:
            ahead = pieces[other]
            joint = Piece(
                id=f"{key}>{other}",
                source=key,
                baseline=_joint_line(piece.baseline, ahead.baseline),
                polygon=None,
                connector=not piece.connector,
                speed_limit_mps=piece.speed_limit_mps,
                joint=True,
                after={other: None},
                before={key: None},
            )
            piece.after = {joint.id if one == other else one: None for one in piece.after}
            ahead.before = {joint.id if one == key else one: None for one in ahead.before}
            joints[joint.id] = joint
    return pieces | joints


def _joint_line(first: Float64[np.ndarray, "n 2"], then: Float64[np.ndarray, "m 2"]) -> Float64[np.ndarray, "k 2"]:
    one, two = shapely.LineString(first), shapely.LineString(then)
    end = shapely.line_interpolate_point(one, max(0.0, one.length - JOINT_M))
    begin = shapely.line_interpolate_point(two, min(JOINT_M, two.length))
    return np.array([[end.x, end.y], first[-1], [begin.x, begin.y]])


def _one_pair_each(pieces: dict[str, Piece]) -> dict[str, Piece]:
    """Connectors that lead from one lane to one lane; the first pair keeps the id."""
    split: dict[str, Piece] = {}
    for key, piece in pieces.items():
        if not piece.connector:
            split[key] = replace(piece, before={}, after={})
    for key, piece in pieces.items():
        for number, (a, b) in enumerate(product(piece.before, piece.after) if piece.connector else ()):
            one = replace(piece, id=key if number == 0 else f"{key}#{number}", before={a: None}, after={b: None})
            split[one.id] = one
            split[a].after[one.id] = None
            split[b].before[one.id] = None
    return split


def _band(piece: Piece, pieces: dict[str, Piece]) -> shapely.Polygon:
    """A polygon about the centre line, as wide as the lanes before and after, in between in proportion to the way."""
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
    return band if band.is_valid else _largest(shapely.LineString(line).buffer(half.mean(), cap_style="flat"))


def _width(piece: Piece, end: int) -> float | None:
    """Width of a lane across its first (0) or last (-1) point; None for what has no polygon of its own."""
    if piece.polygon is None:
        return None
    heading = directions(piece.baseline)[end]
    at = piece.baseline[end] + 0.1 * np.array([np.cos(heading), np.sin(heading)]) * (1 if end == 0 else -1)
    across = np.array([-np.sin(heading), np.cos(heading)]) * 2 * WIDE_M
    cut = shapely.LineString([at - across, at + across]).intersection(piece.polygon)
    parts = [part for part in shapely.get_parts(cut) if part.length > 0]
    return min(parts, key=lambda part: part.distance(shapely.Point(at)), default=shapely.Point()).length or None


def _roadblocks(lanes: dict[str, Piece]) -> dict[str, str]:
    """Lane → roadblock, named after its first lane."""
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
    """Place of every lane in its roadblock, 0 leftmost, by where the middles of the centre lines lie."""
    members: dict[str, list[str]] = {}
    for key, block in block_of.items():
        members.setdefault(block, []).append(key)
    index = {}
    for keys in members.values():
        middle = [shapely.line_interpolate_point(shapely.LineString(pieces[key].baseline), 0.5, True) for key in keys]
        line = pieces[keys[0]].baseline
        heading = directions(line)[len(line) // 2 - 1]
        left = [-np.sin(heading) * point.x + np.cos(heading) * point.y for point in middle]
        index |= {keys[k]: place for place, k in enumerate(np.argsort([-one for one in left], kind="stable"))}
    return {key: int(place) for key, place in index.items()}


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
