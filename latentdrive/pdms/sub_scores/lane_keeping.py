"""Lane keeping (6.10, v2): 0 after two seconds in a row more than half a metre beside the route's centreline."""

import torch
from jaxtyping import Float
from torch import Tensor

from latentdrive.pdms.batch import MapBatch
from latentdrive.pdms.sub_scores.footprint import EgoAreas, Footprint

STEPS_IN_A_ROW = 20


def lane_keeping(car: Footprint, areas: EgoAreas, road: MapBatch) -> Float[Tensor, "B M"]:
    """1 or 0. Steps inside intersections are skipped: they neither count nor end a row."""
    centre = road.grid.locate(*car.centre.unbind(-1))
    beside, counts = ~road.centreline.near(centre).view(car.speed.shape), ~areas.centre_in
    away = (beside & counts).long().cumsum(1)
    back = torch.where(counts & ~beside, away, 0).cummax(1).values  # how many had been away when it was last near
    return ((away - back).amax(1) < STEPS_IN_A_ROW).to(car.speed.dtype)
