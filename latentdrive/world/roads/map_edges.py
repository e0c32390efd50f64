"""Parts of a nuPlan map that a RoadMap lacks: the edges of lanes, and stop polygons at traffic lights.

map_tables.py derives them from the polygons and centre lines of the lanes.
"""

import numpy as np
import shapely
from jaxtyping import Float64

from latentdrive.types import MapLane

SAME_LINE_M = 0.05  # a polygon is a ribbon if the middle between its sides is at most this far from the centre line
STOP_BEFORE_M = 1.0  # a stop polygon begins this far before the start of its connector
# ... and ends this far beyond it, because the devkit looks for the stop polygon that a connector's centre line meets.
STOP_BEYOND_M = 0.25


def lane_edges(lane: MapLane) -> tuple[Float64[np.ndarray, "n 2"], Float64[np.ndarray, "n 2"]]:
    """Return the left and the right edge of a lane in driving direction, with one point per vertex of its centre line.

    A polygon of 2n corners that lie in pairs about the n vertices is a ribbon, and its sides are
    the edges. The edges of any other polygon lie half its mean width (area divided by length) to
    either side of the centre line.
    """
    line, ring = lane.baseline, lane.rings[0]
    across = _left_of(line)
    if len(ring) == 2 * len(line):
        first, second = ring[: len(line)], ring[len(line) :][::-1]
        if np.abs((first + second) / 2 - line).max() <= SAME_LINE_M:
            return (first, second) if ((first - second) * across).sum() > 0 else (second, first)
    half = shapely.Polygon(ring, lane.rings[1:]).area / shapely.LineString(line).length / 2
    return line + half * across, line - half * across


def stop_polygon(connector: MapLane) -> Float64[np.ndarray, "4 2"]:
    """Return a rectangle as wide as the connector, across its start."""
    left, right = (edge[0] for edge in lane_edges(connector))
    across = _left_of(connector.baseline)[0]
    ahead = np.array([across[1], -across[0]])
    back, front = -STOP_BEFORE_M * ahead, STOP_BEYOND_M * ahead
    return np.stack([left + back, right + back, right + front, left + front])


def _left_of(line: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
    """Unit vectors to the left of a line at its vertices, perpendicular to the mean direction of
    the adjacent segments.
    """
    steps = np.diff(line, axis=0)
    lengths = np.hypot(*steps.T)
    # A doubled vertex has no direction: the last segment before it stands in, or else the first segment of the line.
    known = np.maximum.accumulate(np.where(lengths > 0, np.arange(len(steps)), -1))
    pieces = np.where(known >= 0, known, np.flatnonzero(lengths > 0)[0])
    units = steps[pieces] / lengths[pieces, None]
    mean = np.concatenate([units[:1], units[:-1] + units[1:], units[-1:]])
    sizes = np.hypot(*mean.T)[:, None]
    # Where the line turns back on itself the mean vanishes, and the segment before decides.
    ahead = np.where(sizes > 1e-9, mean / np.maximum(sizes, 1e-9), np.concatenate([units[:1], units]))
    return np.stack([-ahead[:, 1], ahead[:, 0]], -1)
