"""Lane keeping (6.10, v2): 0 after two seconds in a row more than half a metre beside the route's centreline."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from latentdrive.pdms.batch import MapBatch
from latentdrive.pdms.footprint import EgoAreas, Footprint

OFFSET_M, STEPS_IN_A_ROW = 0.5, 20


def lane_keeping(car: Footprint, areas: EgoAreas, road: MapBatch) -> Float[Tensor, "B M"]:
    """1 or 0. Steps inside intersections are skipped: they neither count nor end a row."""
    beside, counts = ~_near_centreline(car.centre, road), ~areas.centre_in
    away = (beside & counts).long().cumsum(1)
    back = torch.where(counts & ~beside, away, 0).cummax(1).values  # how many had been away when it was last near
    return ((away - back).amax(1) < STEPS_IN_A_ROW).to(car.speed.dtype)


def _near_centreline(points: Float[Tensor, "B T M 2"], road: MapBatch) -> Bool[Tensor, "B T M"]:
    near = torch.zeros(points.shape[:-1], dtype=torch.bool, device=points.device)
    low, high = points.amin((1, 2)) - OFFSET_M, points.amax((1, 2)) + OFFSET_M  # of everything that is asked, a scene
    ends = road.points + road.steps
    reached = (torch.maximum(road.points, ends) >= low[:, None]).all(-1) & (
        torch.minimum(road.points, ends) <= high[:, None]
    ).all(-1)
    reached &= road.used
    for segment in torch.nonzero(reached.any(0))[:, 0].tolist():
        start, step = road.points[:, None, None, segment], road.steps[:, None, None, segment]
        way = points - start
        length = (step**2).sum(-1).clamp(min=torch.finfo(step.dtype).tiny)
        share = ((way * step).sum(-1) / length).clamp(0.0, 1.0)
        inside = ((way - share[..., None] * step) ** 2).sum(-1).sqrt() <= OFFSET_M
        near |= inside & reached[:, segment, None, None]
    return near
