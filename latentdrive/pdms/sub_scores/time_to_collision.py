"""Time to collision within bound (6.6): 0 where the car, going on at its present speed, would touch somebody within 0.9 s."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from latentdrive.pdms.sub_scores.contacts import AHEAD_DEG, BEHIND_DEG, NEVER, Circumstances, Contacts
from latentdrive.pdms.sub_scores.footprint import Footprint

STANDS_MPS = 0.005  # a car slower than this can't run into anybody


def that_may_be_too_close(car: Footprint, found: Contacts, ttc_steps: int) -> Contacts:
    """The first contact with each track, now or ahead, of a car that moves."""
    moving = car.speed[found.scene, found.step, found.trajectory] >= STANDS_MPS
    return found[(found.step < ttc_steps) & moving].first_each()


def time_to_collision(
    found: Contacts, how: Circumstances
) -> tuple[Float[Tensor, "B M"], Int64[Tensor, "B M"], Int64[Tensor, "B M"]]:
    """The sub-score, the first step it is broken at and the track that breaks it; -1 for none. found, how: contacts that may be too close.

    It is broken by a track ahead; in several lanes, off the road or in an intersection by any that isn't behind.
    """
    if not len(found):
        nobody = torch.full(found.shape[:2], -1, device=how.speed.device)
        return how.speed.new_ones(found.shape[:2]), nobody, nobody
    around = how.outside | how.at_junction
    found = found[(how.bearing_deg < AHEAD_DEG) | (around & ~(how.bearing_deg > BEHIND_DEG))]
    count = max(found.shape[2], 1)
    first = found.first_of_each_trajectory(found.step * count + found.track)
    broken = first < NEVER
    score = (~broken).to(how.speed.dtype)
    return score, torch.where(broken, first // count, -1), torch.where(broken, first % count, -1)
