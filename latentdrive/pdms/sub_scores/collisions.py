"""No at-fault collision (6.2): 1, 0.5 after hitting a static object, 0 after hitting a vehicle, pedestrian or bicycle."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from latentdrive.pdms.batch import STANDS_MPS, TrackBatch
from latentdrive.pdms.sub_scores.contacts import BEHIND_DEG, NEVER, Circumstances, Contacts, front_touches
from latentdrive.pdms.sub_scores.footprint import Footprint

STATIC_PENALTY = 0.5


def that_may_be_collisions(found: Contacts) -> Contacts:
    """The first contact with each track where the car is, not where it would be."""
    return found[found.ahead == 0].first_each()


def no_at_fault_collisions(
    car: Footprint, tracks: TrackBatch, found: Contacts, how: Circumstances
) -> tuple[Float[Tensor, "B M"], Int64[Tensor, "B M"], Int64[Tensor, "B M"]]:
    """The sub-score, the step of the first at-fault collision and the track that was hit; -1 for none.

    found, how: contacts that may be collisions. A standing car is never at fault. A car that moves is at fault with a standing track, with
    what its front edge touches, and with what it touches sideways while it is in several lanes or off the road; never with what comes
    from behind.
    """
    if not len(found):
        nobody = torch.full(found.shape[:2], -1, device=car.speed.device)
        return car.speed.new_ones(found.shape[:2]), nobody, nobody
    stands, behind = tracks.stands[found.scene, found.track], how.bearing_deg > BEHIND_DEG
    hits = stands | (~behind & (front_touches(car, tracks, found) | how.outside))
    found = found[(how.speed > STANDS_MPS) & hits]
    count = max(found.shape[2], 1)
    first = found.first_of_each_trajectory(found.step * count + found.track)
    agent = found.first_of_each_trajectory(torch.where(tracks.agent[found.scene, found.track], 0, 1))
    hit = first < NEVER
    score = torch.where(hit, torch.where(agent == 0, 0.0, STATIC_PENALTY), 1.0).to(car.speed.dtype)
    return score, torch.where(hit, first // count, -1), torch.where(hit, first % count, -1)
