"""NAVSIM's driving command: on which side the route lies 20 m ahead.

Shared by whoever knows a route: recorded traffic (scenario_route.py) and the world that writes logs.
"""

import numpy as np
import shapely
from jaxtyping import Float64

from latentdrive.types import Command

AHEAD_M, ASIDE_M = 20.0, 2.0


def command_along(line: Float64[np.ndarray, "n 2"], pose: Float64[np.ndarray, "3"]) -> Command:
    """The command at a pose whose route is `line`, both in one frame.

    Seen from the line's own pose next to the ego, a line that lies 20 m on at least 2 m to the left (right) means LEFT (RIGHT).
    UNKNOWN where the pose is not finite or the line ends earlier.
    """
    if not np.isfinite(pose).all():
        return Command.UNKNOWN
    whole = shapely.LineString(line)
    at = whole.project(shapely.Point(pose[:2]))
    if at + AHEAD_M > whole.length:
        return Command.UNKNOWN
    here, ahead = (whole.interpolate(way) for way in (at, at + AHEAD_M))
    heading = direction_at(line, at)
    aside = -np.sin(heading) * (ahead.x - here.x) + np.cos(heading) * (ahead.y - here.y)
    if abs(aside) < ASIDE_M:
        return Command.STRAIGHT
    return Command.LEFT if aside > 0 else Command.RIGHT


def direction_at(line: Float64[np.ndarray, "n 2"], along_m: float) -> float:
    """Heading of the segment that lies this far along a line, radians."""
    steps = np.diff(line, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    steps, ends = steps[lengths > 0], np.cumsum(lengths[lengths > 0])  # joined lines repeat the point where they meet
    x, y = steps[min(int(np.searchsorted(ends, along_m, side="right")), len(ends) - 1)]
    return float(np.arctan2(y, x))
