"""Time to collision within bound (6.6): 0 where the car, going on at its present speed, would touch somebody within 0.9 s."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from latentdrive.pdms.batch import MapBatch, TrackBatch
from latentdrive.pdms.contacts import AHEAD, AHEAD_DEG, BEHIND_DEG, NEVER, Contacts, bearing_deg
from latentdrive.pdms.footprint import EgoAreas, Footprint, in_several_lanes, rear_in_intersection

STANDS_MPS = 0.005  # a car slower than this can't run into anybody


def time_to_collision(
    car: Footprint, tracks: TrackBatch, road: MapBatch, areas: EgoAreas, found: Contacts, ttc_steps: int
) -> tuple[Float[Tensor, "B M"], Int64[Tensor, "B M"]]:
    """The sub-score and the first step it is broken at, -1 for none.

    It is broken by a track ahead; in several lanes, off the road or in an intersection by any that isn't behind.
    """
    scenes, _, trajectories = car.speed.shape
    counts = (found.step < ttc_steps) & (car.speed[found.scene, found.step, found.trajectory] >= STANDS_MPS)
    found = found[counts].first_each((scenes, trajectories, tracks.half.shape[1]))
    rows = found.scene, found.step, found.trajectory
    bearing = bearing_deg(car, tracks, found, torch.tensor(AHEAD, device=found.step.device)[found.ahead])
    around = in_several_lanes(car, road, rows) | areas.off_road[rows] | rear_in_intersection(car, road, rows)
    broken = (bearing < AHEAD_DEG) | (around & ~(bearing > BEHIND_DEG))
    place = (found.scene * trajectories + found.trajectory)[broken]
    first = found.step.new_full((scenes * trajectories,), NEVER).scatter_reduce_(0, place, found.step[broken], "amin")
    first = first.view(scenes, trajectories)
    return (first == NEVER).to(car.speed.dtype), torch.where(first < NEVER, first, -1)
