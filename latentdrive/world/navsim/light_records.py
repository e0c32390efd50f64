"""The traffic-light records of a drive: when connectors are red, and where the lights stand
and what they show.
"""

import numpy as np
from jaxtyping import Bool, Float64

from latentdrive.world.roads.layouts import Layout, lane_points
from latentdrive.world.roads.road_map import MappedRoads
from latentdrive.world.traffic.lights import Lights

POST_M = 0.9  # distance from the outer edge of the shoulder to the post of a light
Signals = tuple[tuple[Float64[np.ndarray, "3"], tuple[str, ...]], ...]


def red_connectors(
    lights: Lights | None, mapped: MappedRoads, times_s: Float64[np.ndarray, "T"]
) -> dict[str, Bool[np.ndarray, "T"]]:
    """Return when each lane connector behind a light is red, by id."""
    if lights is None:
        return {}
    red = {
        road: np.array([lights.colour(road, time) == "red" for time in times_s])
        for phase in lights.phases
        for road in phase
    }
    return {
        lane_id: red[road]
        for road in red
        for turn, lane_ids in mapped.connectors.items()
        if turn[0] == road[1]
        for lane_id in lane_ids
    }


def signal_posts(
    lights: Lights | None, layout: Layout, times_s: Float64[np.ndarray, "T"], shoulder_m: float
) -> Signals:
    """Return for each light the pose of its post and its colour over time.

    Posts stand at the ends of approaches, to the right of the shoulder.
    """
    if lights is None:
        return ()
    signals = []
    for road in (road for phase in lights.phases for road in phase):
        lane = layout.network.get_lane((*road, 0))
        aside = -(lane.width_at(0.0) / 2 + shoulder_m + POST_M)
        end, before = lane_points(lane, np.array([lane.length, lane.length - 1.0]), aside)
        heading = float(np.arctan2(*(end - before)[::-1]))
        signals.append((np.array([*end, heading]), tuple(lights.colour(road, time) for time in times_s)))
    return tuple(signals)
