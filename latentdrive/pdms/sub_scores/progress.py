"""Raw progress (6.5): how far the car's centre gets along the centreline of its route, in metres, never below 0."""

import torch
from jaxtyping import Float
from torch import Tensor

from latentdrive.pdms.batch import MapBatch
from latentdrive.pdms.sub_scores.footprint import Footprint


def raw_progress(car: Footprint, road: MapBatch) -> Float[Tensor, "B M"]:
    """Arc length between the projections of the first and the last centre."""
    start = _projected(car.centre[:, 0, :1], road)  # where the car is now, whatever it plans
    return (_projected(car.centre[:, -1], road) - start).clamp(min=0.0)


def _projected(points: Float[Tensor, "B M 2"], road: MapBatch) -> Float[Tensor, "B M"]:
    """Arc length of the nearest point of the centreline, the first one where several are equally near."""
    way = points[:, :, None] - road.points[:, None]
    steps = road.steps[:, None]
    length = (steps**2).sum(-1)
    share = ((way * steps).sum(-1) / length.clamp(min=torch.finfo(length.dtype).tiny)).clamp(0.0, 1.0)
    distance = ((way - share[..., None] * steps) ** 2).sum(-1)
    nearest = torch.where(road.used[:, None], distance, torch.inf).argmin(-1, keepdim=True)
    along = road.along[:, None].expand_as(share) + share * length.sqrt()
    return along.gather(-1, nearest)[..., 0]
