"""What a nuPlan map holds beside a RoadMap: the left and right edge of every lane, and stop polygons before traffic lights.

Derived for map_writer.py from the lanes' own polygons and centre lines.
"""

import numpy as np
import shapely
from jaxtyping import Float64

from latentdrive.types import MapLane

SAME_LINE_M = 0.05  # a polygon is a ribbon about its centre line if the middle of its sides is no further from it
STOP_BEFORE_M = 1.0  # a stop polygon reaches from here before the start of its connector
STOP_BEYOND_M = 0.25  # to here beyond it: the devkit looks for the stop polygon that a connector's centre line meets


def lane_edges(lane: MapLane) -> tuple[Float64[np.ndarray, "n 2"], Float64[np.ndarray, "n 2"]]:
    """Left and right edge of a lane in driving direction, a point for each vertex of its centre line (n of them).

    A polygon of 2n corners that lie in pairs about the vertices is a ribbon: its sides are the edges. Of any other, the edges
    lie half of its mean width (area by length) to either side of the centre line.
    """
    line, ring = lane.baseline, lane.rings[0]
    across = _left_of(line)
    if len(ring) == 2 * len(line):
        one, other = ring[: len(line)], ring[len(line) :][::-1]
        if np.abs((one + other) / 2 - line).max() <= SAME_LINE_M:
            return (one, other) if ((one - other) * across).sum() > 0 else (other, one)
    half = shapely.Polygon(ring, lane.rings[1:]).area / shapely.LineString(line).length / 2
    return line + half * across, line - half * across


def stop_polygon(connector: MapLane) -> Float64[np.ndarray, "4 2"]:
    """A rectangle as wide as the connector, across its start."""
    left, right = (edge[0] for edge in lane_edges(connector))
    across = _left_of(connector.baseline)[0]
    ahead = np.array([across[1], -across[0]])
    back, front = -STOP_BEFORE_M * ahead, STOP_BEYOND_M * ahead
    return np.stack([left + back, right + back, right + front, left + front])


def _left_of(line: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
    """Unit vectors to the left of a line at its vertices, at right angles to the mean of the pieces before and after."""
    steps = np.diff(line, axis=0)
    lengths = np.hypot(*steps.T)
    # A doubled vertex has no direction of its own: the last piece before it stands in, or the first of all.
    known = np.maximum.accumulate(np.where(lengths > 0, np.arange(len(steps)), -1))
    pieces = np.where(known >= 0, known, np.flatnonzero(lengths > 0)[0])
    units = steps[pieces] / lengths[pieces, None]
    mean = np.concatenate([units[:1], units[:-1] + units[1:], units[-1:]])
    sizes = np.hypot(*mean.T)[:, None]
    # Where the line turns straight back the mean vanishes, and the piece before decides.
    ahead = np.where(sizes > 1e-9, mean / np.maximum(sizes, 1e-9), np.concatenate([units[:1], units]))
    return np.stack([-ahead[:, 1], ahead[:, 0]], -1)
