"""NAVSIM's driving command: the side on which the route lies 20 m ahead.

Used by everything that knows a route: recorded traffic (data/scenarios/route.py) and the built-in
world, which writes logs.
"""

import numpy as np
import shapely
from jaxtyping import Float64

from latentdrive.types import Command

AHEAD_M, ASIDE_M = 20.0, 2.0  # distance along the route, and sideways distance from which on it is a turn


def command_along(line: Float64[np.ndarray, "n 2"], pose: Float64[np.ndarray, "3"]) -> Command:
    """The command at a pose whose route is `line`, both in one frame.

    The route is seen from the pose on the line that is nearest to the ego. If it lies 2 m or more
    to the left (right) after 20 m, the command is LEFT (RIGHT), else STRAIGHT. UNKNOWN if the pose
    is not finite or the line ends earlier.
    """
    if not np.isfinite(pose).all():
        return Command.UNKNOWN
    route = shapely.LineString(line)
    along_m = route.project(shapely.Point(pose[:2]))
    if along_m + AHEAD_M > route.length:
        return Command.UNKNOWN
    beside, ahead = (route.interpolate(metres) for metres in (along_m, along_m + AHEAD_M))
    heading = direction_at(line, along_m)
    aside = -np.sin(heading) * (ahead.x - beside.x) + np.cos(heading) * (ahead.y - beside.y)
    if abs(aside) < ASIDE_M:
        return Command.STRAIGHT
    return Command.LEFT if aside > 0 else Command.RIGHT


def direction_at(line: Float64[np.ndarray, "n 2"], along_m: float) -> float:
    """Heading of the segment of a line that lies `along_m` from its beginning, radians."""
    steps = np.diff(line, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    steps, ends = steps[lengths > 0], np.cumsum(lengths[lengths > 0])  # joined lines repeat the point where they meet
    x, y = steps[min(int(np.searchsorted(ends, along_m, side="right")), len(ends) - 1)]
    return float(np.arctan2(y, x))
