"""Drivable area compliance (6.3): 0 where a corner of the car leaves roadblocks, intersections and car parks at any step."""

from jaxtyping import Float
from torch import Tensor

from latentdrive.pdms.sub_scores.footprint import EgoAreas, Footprint


def drivable_area_compliance(car: Footprint, areas: EgoAreas) -> Float[Tensor, "B M"]:
    """1 inside all the way, else 0."""
    return (~areas.off_road.any(1)).to(car.speed.dtype)
