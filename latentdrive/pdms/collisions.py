"""No at-fault collision (6.2): 1, 0.5 after hitting a static object, 0 after hitting a vehicle, pedestrian or bicycle."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from latentdrive.pdms.batch import STANDS_MPS, MapBatch, TrackBatch
from latentdrive.pdms.contacts import BEHIND_DEG, NEVER, Contacts, bearing_deg, front_touches
from latentdrive.pdms.footprint import EgoAreas, Footprint, in_several_lanes

STATIC_PENALTY = 0.5


def no_at_fault_collisions(
    car: Footprint, tracks: TrackBatch, road: MapBatch, areas: EgoAreas, found: Contacts
) -> tuple[Float[Tensor, "B M"], Int64[Tensor, "B M"], Int64[Tensor, "B M"]]:
    """The sub-score, the step of the first at-fault collision and the track that was hit; -1 for none.

    A standing car is never at fault. A car that moves is at fault with a standing track, with what its front edge touches, and with what
    it touches sideways while it is in several lanes or off the road; never with what comes from behind.
    """
    scenes, _, trajectories = car.speed.shape
    count = tracks.half.shape[1]
    found = found[found.ahead == 0].first_each((scenes, trajectories, count))
    rows = found.scene, found.step, found.trajectory
    moving, stands = car.speed[rows] > STANDS_MPS, tracks.stands[found.scene, found.track]
    behind = bearing_deg(car, tracks, found, torch.zeros_like(found.step)) > BEHIND_DEG
    outside = in_several_lanes(car, road, rows) | areas.off_road[rows]
    at_fault = moving & (stands | (~behind & (front_touches(car, tracks, found) | outside)))
    found = found[at_fault]
    place = found.scene * trajectories + found.trajectory
    worth = torch.where(tracks.agent[found.scene, found.track], 0.0, STATIC_PENALTY).to(car.speed.dtype)
    score = car.speed.new_ones(scenes * trajectories).scatter_reduce_(0, place, worth, "amin")
    order = found.step * max(count, 1) + found.track
    first = order.new_full((scenes * trajectories,), NEVER).scatter_reduce_(0, place, order, "amin")
    hit = first < NEVER
    step, track = torch.where(hit, first // max(count, 1), -1), torch.where(hit, first % max(count, 1), -1)
    shape = scenes, trajectories
    return score.view(shape), step.view(shape), track.view(shape)
