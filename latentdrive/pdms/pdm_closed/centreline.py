"""The centreline from the ego's lane to the end of the route, along which progress is measured.

Specified in docs/pdms.md, section 9.3. Path is a line with arc lengths: it gives poses at arc
lengths and projects points.
"""

import heapq
from collections.abc import Sequence

import numpy as np
import shapely
from jaxtyping import Float64

from latentdrive.boxes import ego_centre, ego_corners
from latentdrive.pdms.map.areas import areas_fetched
from latentdrive.pdms.map.index import MapIndex
from latentdrive.pdms.pdm_closed.route import heading_error

BLOCKS_AHEAD = 30  # blocks of the route that are searched, including the start lane's own
LEAST_S_M = 1e-5
TREE_NODE = 10  # boxes in a node of the search tree whose order settles ties (docs/pdms.md, section 12)


class Path:
    """A line that is driven along.

    poses: its vertices, x, y and heading [n, 3]. progress: arc length at each vertex, metres [n].
    values: the vertices with unwrapped headings [n, 3]. line: the line for shapely.
    """

    def __init__(self, poses: Float64[np.ndarray, "n 3"]) -> None:
        """poses: of at least two vertices. Neighbouring vertices may coincide."""
        self.poses = poses
        steps = np.hypot(np.diff(poses[:, 0]), np.diff(poses[:, 1]))
        self.progress = np.concatenate([[0.0], np.cumsum(steps)])
        self.line = shapely.linestrings(poses[:, :2])
        self.values = np.column_stack([poses[:, :2], np.unwrap(poses[:, 2])])

    @property
    def length(self) -> float:
        """Length in metres."""
        return float(self.progress[-1])

    def at(self, s: Float64[np.ndarray, "*s"]) -> Float64[np.ndarray, "*s 3"]:
        """Poses at arc lengths s, which are clipped to [1e-5, length]."""
        s = np.clip(s, LEAST_S_M, self.length)
        end = np.clip(np.searchsorted(self.progress, s), 1, len(self.progress) - 1)
        return between(self.values[end - 1], self.values[end], self.progress[end - 1], self.progress[end], s)

    def project(self, points: Float64[np.ndarray, "*s 2"]) -> Float64[np.ndarray, "*s"]:
        """Arc lengths of the nearest points of the line; of several equally near ones, the first."""
        return np.asarray(shapely.line_locate_point(self.line, shapely.points(points)))

    def shifted(self, left_m: float) -> "Path":
        """The path with each vertex moved to the left, across its heading. Headings stay."""
        heading = self.poses[:, 2] + np.pi / 2
        shift = left_m * np.column_stack([np.cos(heading), np.sin(heading), np.zeros(len(heading))])
        return Path(self.poses + shift)

    def part(self, start_m: float, end_m: float) -> shapely.LineString:
        """The line through the vertices from start_m to end_m. It is cut exactly only if fewer than
        two lie there.
        """
        inside = (self.progress >= start_m) & (self.progress <= end_m)
        if inside.sum() >= 2:
            return shapely.linestrings(self.poses[inside, :2])
        ends = self.at(np.array([start_m, end_m]))[:, :2]
        return shapely.linestrings(np.concatenate([ends[:1], self.poses[inside, :2], ends[1:]]))


def between(
    start: Float64[np.ndarray, "*s 3"],
    end: Float64[np.ndarray, "*s 3"],
    low: Float64[np.ndarray, "*s"],
    high: Float64[np.ndarray, "*s"],
    s: Float64[np.ndarray, "*s"],
) -> Float64[np.ndarray, "*s 3"]:
    """Poses at arc lengths s on straight pieces, whose headings turn by less than half a circle.

    start, end: poses at the ends of the pieces. low, high: arc lengths there.
    """
    # The slope is undefined only on a line that begins with coinciding vertices; the devkit writes zeros there.
    with np.errstate(divide="ignore", invalid="ignore"):
        poses = (end - start) / (high - low)[..., None] * (s - low)[..., None] + start
    poses[..., 2] = np.arctan2(np.sin(poses[..., 2]), np.cos(poses[..., 2]))
    return np.where(np.isnan(poses), 0.0, poses)


def start_lane(index: MapIndex, ego_pose: Float64[np.ndarray, "3"], lanes: Sequence[str]) -> str:
    """The lane of the route that the ego is in.

    Of the lanes under its rear axle, it is the one with the smallest heading error. If there are
    none, it is the first lane that contains the ego's centre, or else the lane nearest to the ego's
    box. lanes: those of the corrected route, at least one.
    """
    numbers = np.array([index.number[lane] for lane in lanes])
    polygons = index.polygons[numbers]
    under = np.flatnonzero(shapely.intersects_xy(polygons, *ego_pose[:2]))
    if len(under):
        errors = np.array([heading_error(index.baseline(lanes[place]), ego_pose) for place in under])
        best = under[errors == errors.min()]
        return lanes[best[0]] if len(best) == 1 else str(index.ids[_first_met(index, ego_pose, numbers[best])])
    holds = shapely.contains_xy(polygons, *ego_centre(ego_pose)[:2])
    if holds.any():
        return lanes[int(holds.argmax())]
    footprint = shapely.polygons(ego_corners(ego_pose))
    return lanes[int(np.argmin(shapely.distance(polygons, footprint)))]


def centreline(index: MapIndex, start: str, blocks: Sequence[str], lanes: Sequence[str]) -> Float64[np.ndarray, "n 3"]:
    """Vertices of the baselines from the start lane to the end of the route: x, y, heading.

    Lanes are included as wholes, so the line begins behind the ego. The last vertex of a lane and
    the first one of the next are both kept. start: the `start_lane`. blocks, lanes: of the
    corrected route.
    """
    place = blocks.index(index.lanes[start].roadblock)
    goal = blocks[place : place + BLOCKS_AHEAD][-1]
    return np.concatenate([index.baseline(lane) for lane in _way(index, start, goal, set(lanes))])


def _way(index: MapIndex, start: str, goal: str, allowed: set[str]) -> list[str]:
    """Lanes of the shortest way to block `goal`, by the lengths of the baselines entered.

    If no way leads there, the way with the most lanes is taken.
    """
    cost, depth, parent = {start: 0.0}, {start: 1}, {start: ""}
    queue, order, expanded = [(0.0, 0, start)], {start: 0}, []
    end = ""
    while queue:
        spent, _, lane = heapq.heappop(queue)
        if spent > cost[lane]:
            continue  # a cheaper way to this lane was queued later
        if index.lanes[lane].roadblock == goal:
            end = lane
            break
        expanded.append(lane)
        for after in index.lanes[lane].outgoing:
            if after not in allowed:
                continue
            ahead = spent + index.length(after)
            if after not in cost or ahead < cost[after]:
                cost[after], depth[after], parent[after] = ahead, depth[lane] + 1, lane
                heapq.heappush(queue, (ahead, order.setdefault(after, len(order)), after))
    if not end:
        deepest = max(depth[lane] for lane in expanded)
        end = min((lane for lane in expanded if depth[lane] == deepest), key=cost.__getitem__)
    way = [end]
    while parent[way[-1]]:
        way.append(parent[way[-1]])
    return way[::-1]


def _first_met(index: MapIndex, ego_pose: Float64[np.ndarray, "3"], tied: np.ndarray) -> int:
    """The tied area that a search tree over the scene's areas returns first at the rear axle.

    tied: numbers of the areas.
    """
    near = areas_fetched(index, ego_pose)
    tree = shapely.STRtree(index.polygons[near], node_capacity=TREE_NODE)
    under = near[tree.query(shapely.Point(*ego_pose[:2]), "intersects")]
    met = under[np.isin(under, tied)]
    return int(met[0] if len(met) else tied[0])
