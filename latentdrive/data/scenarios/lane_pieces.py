"""Lane features of a ScenarioNet scenario as pieces that follow one another as in nuPlan: lane → connector → lane.

First step of road_map.py, which makes lanes, roadblocks and intersections of the pieces. The rules:

1. A feature whose type begins with LANE is a connector if it has no polygon while others have one
   (nuScenes: arcs through intersections), or if its type is LANE_SURFACE_UNSTRUCTURE (nuPlan's
   connectors); else it is a lane. Bicycle lanes are left out.
2. Successors are those of `exit_lanes` and `entry_lanes`. If no feature names any, a feature
   follows another if it begins within JOIN_M of the other's end, in the same direction.
3. A connector that lacks a lane on one side, because the map was cut there, is a lane. A connector
   with several lanes on a side becomes one connector per pair. Two pieces of one kind in succession
   get a joint of the other kind between them: the last metre of the first and the first metre of
   the second.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
import shapely
from jaxtyping import Float64
from scipy.spatial import cKDTree

from latentdrive.geometry import wrap_angle

JOIN_M = 0.5  # exporters repeat the joint exactly; ends of neighbours are metres apart
JOIN_RAD = np.pi / 4
JOINT_M = 1.0
FARTHEST_M = 1e8  # coordinates beyond are damage, and would overflow later steps; the largest of UTM are 1e7


@dataclass(kw_only=True)
class Piece:
    """One lane feature, or a joint between two, before it becomes a MapLane.

    Mutable, because linking fills it step by step. source: id of the feature that it was made from.
    beside: ids of its neighbours. after, before: ids of its successors and predecessors, in order
    (the values mean nothing).
    """

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


def linked_pieces(features: Mapping[str, Any]) -> dict[str, Piece]:
    """The pieces of a scenario's map by id, joints included, linked by all three rules.

    Lanes keep the order of the features.
    """
    pieces = read_pieces(features)
    _link(pieces, features)
    for piece in pieces.values():
        piece.connector = piece.connector and bool(piece.before and piece.after)
    return _one_pair_each(_with_joints(pieces))


def read_pieces(features: Mapping[str, Any]) -> dict[str, Piece]:
    """Lane features that have a centre line, by id, not yet linked; see rule 1."""
    lanes = {key: lane for key, lane in features.items() if is_lane(lane) and centre_line(lane) is not None}
    polygons = {key: polygon_of(lane) for key, lane in lanes.items()}
    have_polygons = any(polygon is not None for polygon in polygons.values())
    pieces = {}
    for key, lane in lanes.items():
        bare = have_polygons and polygons[key] is None
        limit = lane.get("speed_limit_kmh")
        # nuScenes has no speed limits: its exporter writes 100 km/h on every connector, and only
        # connectors lack a polygon.
        known = isinstance(limit, int | float) and limit > 0 and not bare
        beside = [name for side in ("left_neighbor", "right_neighbor") for name in _names(lane, side)]
        pieces[key] = Piece(
            id=key,
            source=key,
            baseline=centre_line(lane),
            polygon=polygons[key],
            connector=bare or lane["type"] == "LANE_SURFACE_UNSTRUCTURE",
            speed_limit_mps=float(limit) / 3.6 if known else None,
            beside=tuple(beside),
        )
    return pieces


def is_lane(feature: Any) -> bool:
    """Whether a map feature is a lane for cars."""
    kind = feature.get("type") if isinstance(feature, Mapping) else None
    return isinstance(kind, str) and kind.startswith("LANE") and kind != "LANE_BIKE_LANE"


def centre_line(feature: Mapping[str, Any]) -> Float64[np.ndarray, "n 2"] | None:
    """The centre line without repeated points; None if it has fewer than two points, or numbers that are not finite."""
    line = _points(feature.get("polyline"))
    if line is None or len(line) < 2:
        return None
    line = line[np.concatenate([[True], np.linalg.norm(np.diff(line, axis=0), axis=1) > 1e-6])]
    return line if len(line) >= 2 else None


def polygon_of(feature: Mapping[str, Any]) -> shapely.Polygon | None:
    """The polygon of a map feature; None if it has none."""
    points = _points(feature.get("polygon"))
    if points is None or len(points) < 3:
        return None
    return largest(shapely.make_valid(shapely.Polygon(points)))


def largest(shape: shapely.Geometry) -> shapely.Polygon | None:
    """The largest polygon in a shape; None if there is none."""
    parts = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon" and part.area > 0]
    return max(parts, key=lambda part: part.area, default=None)


def directions(line: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "m"]:
    """Heading of every segment of a line, radians."""
    step = np.diff(line, axis=0)
    return np.arctan2(step[:, 1], step[:, 0])


def _names(feature: Mapping[str, Any], key: str) -> list[str]:
    """Ids of neighbours or successors; none where the entry is no list."""
    others = feature.get(key)
    return [_name(other) for other in others] if isinstance(others, list | tuple | np.ndarray) else []


def _name(other: Any) -> str:
    """Id of a neighbour or successor. Some exporters write ids, others dictionaries that hold one."""
    return str(other.get("feature_id")) if isinstance(other, Mapping) else str(other)


def _points(value: Any) -> Float64[np.ndarray, "n 2"] | None:
    try:
        points = np.array([point[:2] for point in value], np.float64)
    except (TypeError, ValueError, IndexError):
        return None
    near = points.ndim == 2 and points.shape[1] == 2 and (np.abs(points) < FARTHEST_M).all()  # false for NaN
    return points if near else None


def _link(pieces: dict[str, Piece], features: Mapping[str, Any]) -> None:
    """Fills `after` and `before` of every piece; see rule 2."""
    pairs = []
    for key in pieces:
        pairs += [(key, other) for other in _names(features[key], "exit_lanes")]
        pairs += [(other, key) for other in _names(features[key], "entry_lanes")]
    pairs = [(a, b) for a, b in pairs if a in pieces and b in pieces]
    for a, b in pairs or _touching(pieces):
        if a != b:
            pieces[a].after[b] = None
            pieces[b].before[a] = None


def _touching(pieces: dict[str, Piece]) -> list[tuple[str, str]]:
    """Pairs of pieces of which the second begins where the first ends; see rule 2."""
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
    """The pieces, and a joint between every two of one kind that follow each other; see rule 3."""
    joints = {}
    for key, piece in pieces.items():
        for other in [name for name in piece.after if pieces[name].connector == piece.connector]:
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
            piece.after = {joint.id if name == other else name: None for name in piece.after}
            ahead.before = {joint.id if name == key else name: None for name in ahead.before}
            joints[joint.id] = joint
    return pieces | joints


def _joint_line(first: Float64[np.ndarray, "n 2"], then: Float64[np.ndarray, "m 2"]) -> Float64[np.ndarray, "k 2"]:
    """From JOINT_M before the end of one line to JOINT_M after the beginning of the other."""
    before, after = shapely.LineString(first), shapely.LineString(then)
    start = shapely.line_interpolate_point(before, max(0.0, before.length - JOINT_M))
    end = shapely.line_interpolate_point(after, min(JOINT_M, after.length))
    return np.array([[start.x, start.y], first[-1], [end.x, end.y]])


def _one_pair_each(pieces: dict[str, Piece]) -> dict[str, Piece]:
    """The pieces, with every connector split until it leads from one lane to one lane; the first pair keeps the id."""
    split: dict[str, Piece] = {}
    for key, piece in pieces.items():
        if not piece.connector:
            split[key] = replace(piece, before={}, after={})
    for key, piece in pieces.items():
        for number, (a, b) in enumerate(product(piece.before, piece.after) if piece.connector else ()):
            name = key if number == 0 else f"{key}#{number}"
            split[name] = replace(piece, id=name, before={a: None}, after={b: None})
            split[a].after[name] = None
            split[b].before[name] = None
    return split
