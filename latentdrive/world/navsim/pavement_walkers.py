"""People who walk along the pavements of a drive, in the coordinates of its layout. They do not
take part in the traffic.
"""

import numpy as np
from jaxtyping import Float64

from latentdrive.world.roads.layouts import Layout, lane_points
from latentdrive.world.roads.road_areas import KERB_M, WALKWAY_M
from latentdrive.world.traffic.recording import Agents

WALKER_M = np.array([0.6, 0.6, 1.72])  # length, width, height
PAVEMENT_END_M = 1.0  # walkers keep this far from the ends of a pavement


def pavement_walkers(
    rng: np.random.Generator,
    layout: Layout,
    times_s: Float64[np.ndarray, "T"],
    *,
    number: tuple[int, int],
    walk_mps: tuple[float, float],
    shoulder_m: float,
) -> Agents:
    """Draw walkers who keep a constant pace. number, walk_mps: ranges. shoulder_m: width of the road's shoulders."""
    outer_lanes = [lanes[-1] for start in layout.network.graph.values() for lanes in start.values()]
    longest = walk_mps[1] * (times_s[-1] - times_s[0]) + 2 * PAVEMENT_END_M
    outer_lanes = [lane for lane in outer_lanes if lane.length > longest]
    count = int(rng.integers(*number, endpoint=True)) if outer_lanes else 0
    poses, speeds = np.zeros((len(times_s), count, 3)), np.zeros((len(times_s), count))
    for row in range(count):
        lane, pace = outer_lanes[int(rng.integers(len(outer_lanes)))], float(rng.uniform(*walk_mps))
        walked, backwards = pace * (times_s - times_s[0]), bool(rng.random() < 0.5)
        start = rng.uniform(PAVEMENT_END_M, lane.length - PAVEMENT_END_M - walked[-1])
        along = start + (walked[-1] - walked if backwards else walked)
        aside = -(lane.width_at(0.0) / 2 + shoulder_m + KERB_M + WALKWAY_M * rng.uniform(0.25, 0.75))
        points, ahead = (lane_points(lane, along + step, aside) for step in (0.0, -0.1 if backwards else 0.1))
        poses[:, row] = np.concatenate([points, np.arctan2(*(ahead - points).T[::-1])[:, None]], -1)
        speeds[:, row] = pace
    sizes = WALKER_M * rng.uniform(0.9, 1.1, (count, 1))
    return Agents(poses=poses, speed_mps=speeds, sizes=sizes, kinds=("pedestrian",) * count)
