"""Areas of a map, in the plane: ribbons of lanes, paved outlines with shoulders, intersections,
crosswalks and pavements.

Second step of road_map.py, after road_pieces.py. All points are metres in the plane of the drive.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import shapely
from highway_env.road.lane import AbstractLane
from jaxtyping import Float64

from latentdrive.types import MapArea
from latentdrive.world.roads.layouts import Layout, lane_points
from latentdrive.world.roads.road_pieces import CutRoads, Piece

POINT_M = 1.0  # spacing of the points of centre lines and edges
CLOSED_M = 3.0  # gaps narrower than twice this between the lanes of a junction count as part of its area
WALKWAY_M, KERB_M = 2.5, 0.5  # width of a pavement, and its distance from the shoulder of the road
TOUCH_M = 0.05  # roads that are closer to each other than this have no shoulder between them
CROSSWALK_M = 4.0  # width of a crosswalk

Points = Float64[np.ndarray, "_ 2"]


def plane_points(layout: Layout, points: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
    """Return where points of the layout lie once its roads are bent."""
    if layout.line is None:
        return points
    return layout.line.place(np.concatenate([points, np.zeros((len(points), 1))], -1))[:, :2]


def lane_ribbon(
    layout: Layout, piece: Piece, lane: AbstractLane, *, shift_m: float
) -> tuple[Float64[np.ndarray, "n 2"], Float64[np.ndarray, "m 2"]]:
    """Return the centre line and the outline of a piece of a lane. shift_m: how far to the left its end is shifted."""
    along = _along(piece)
    half = lane.width_at(0.0) / 2
    shift = shift_m * (1 - np.cos(np.pi * (along - along[0]) / (along[-1] - along[0]))) / 2
    middle, left, right = (
        plane_points(layout, lane_points(lane, along, shift + aside)) for aside in (0.0, half, -half)
    )
    return middle, np.concatenate([left, right[::-1]])


def outline(rings: Sequence[Float64[np.ndarray, "n 2"]]) -> Float64[np.ndarray, "m 2"]:
    """Return the outline of adjacent lanes: the left edge of the first ring, and the right edge of the last."""
    if len(rings) == 1:
        return rings[0]
    left, right = rings[0][: len(rings[0]) // 2], rings[-1][len(rings[-1]) // 2 :]
    return np.concatenate([left, right])


def paved_outlines(outlines: dict[Piece, Points], shoulder_m: float) -> dict[Piece, Points]:
    """Widen outlines by a shoulder on either side. Where another road is near, each gets half of
    the gap between them.
    """
    tree, pieces = shapely.STRtree([shapely.Polygon(ring) for ring in outlines.values()]), list(outlines)
    widened = {}
    for piece, ring in outlines.items():
        half = len(ring) // 2
        left, right = ring[:half], ring[half:][::-1]
        across = (left - right) / np.linalg.norm(left - right, axis=1, keepdims=True)
        sides = []
        for edge, outwards in ((left, across), (right, -across)):
            # Rays begin slightly outside, because a road touches its predecessor and its successor at the corners.
            rays = shapely.linestrings(np.stack([edge + TOUCH_M * outwards, edge + 2 * shoulder_m * outwards], 1))
            room = np.full(half, 2 * shoulder_m)
            for ray, other in tree.query(rays, "intersects").T:
                if pieces[other].road != piece.road:
                    overlap = shapely.intersection(rays[ray], tree.geometries[other])
                    gap = shapely.distance(shapely.Point(edge[ray]), overlap)
                    room[ray] = min(room[ray], gap if gap > TOUCH_M + 1e-6 else 0.0)
            sides.append(edge + room[:, None] / 2 * outwards)
        widened[piece] = np.concatenate([sides[0], sides[1][::-1]])
    return widened


def joint_ends(layout: Layout, roads: CutRoads, piece: Piece) -> set[tuple | str]:
    """Return what identifies the intersection of a joint: the nodes of a turn, or the position of a cut."""
    if piece.road in layout.turns:
        return {*piece.road}
    lane = roads.roads[piece.road][0]
    return {("cut", round(float(lane.position((piece.from_m + piece.to_m) / 2, 0.0)[0]), 1))}


def intersection_areas(joints: Sequence[tuple[set, shapely.Polygon]], ids: Iterator[str]) -> list[tuple[set, MapArea]]:
    """Merge the areas of joints that share an end, as ways do that merge or part at one node. Each
    area keeps its ends.
    """
    groups: list[tuple[set, list]] = []
    for ends, polygon in joints:
        connected = [group for group in groups if group[0] & ends]
        merged = (
            set(ends).union(*(group[0] for group in connected)),
            [polygon, *(member for group in connected for member in group[1])],
        )
        groups = [group for group in groups if group not in connected] + [merged]
    return [(ends, MapArea(id=next(ids), rings=(_closed_outline(polygons),))) for ends, polygons in groups]


def _closed_outline(polygons: Sequence[shapely.Polygon]) -> Points:
    """The outline of the union of polygons, with narrow gaps closed."""
    area = shapely.union_all(polygons)
    with np.errstate(all="ignore"):  # straight corners make shapely divide by zero; its result is right
        area = area.buffer(CLOSED_M, join_style="mitre").buffer(-CLOSED_M, join_style="mitre")
    if isinstance(area, shapely.MultiPolygon):
        area = shapely.union_all(polygons).convex_hull
    return np.array(area.exterior.coords)[:-1]


def crosswalk_areas(
    layout: Layout, roads: CutRoads, middles_m: Sequence[float], shoulder_m: float, ids: Iterator[str]
) -> Iterator[MapArea]:
    """Yield a crosswalk across all lanes and shoulders of a bent road at each of middles_m, metres along its line."""
    lanes = [lane for side in roads.roads.values() for lane in side]
    for middle in middles_m:
        edges = [
            float(-lane.position(0.0, 0.0)[1]) + side * lane.width_at(0.0) / 2 for lane in lanes for side in (-1, 1)
        ]
        near, far = np.array([middle - CROSSWALK_M / 2, middle + CROSSWALK_M / 2])
        right, left = min(edges) - shoulder_m, max(edges) + shoulder_m
        corners = np.array([[near, right], [far, right], [far, left], [near, left]])
        yield MapArea(id=next(ids), rings=(plane_points(layout, corners),))


def walkway_areas(layout: Layout, roads: CutRoads, shoulder_m: float, ids: Iterator[str]) -> Iterator[MapArea]:
    """Yield the pavement to the right of the shoulder of each roadblock."""
    for road, pieces in roads.pieces.items():
        lane = roads.roads[road][-1]
        edge = lane.width_at(0.0) / 2 + shoulder_m + KERB_M
        for piece in pieces:
            if piece.joins:
                continue
            along = _along(piece)
            inner, outer = (
                plane_points(layout, lane_points(lane, along, -aside)) for aside in (edge, edge + WALKWAY_M)
            )
            yield MapArea(id=next(ids), rings=(np.concatenate([inner, outer[::-1]]),))


def _along(piece: Piece) -> Float64[np.ndarray, "n"]:
    """Positions along a piece, about POINT_M apart, with both ends."""
    number = max(2, round((piece.to_m - piece.from_m) / POINT_M) + 1)
    return np.linspace(piece.from_m, piece.to_m, number)
