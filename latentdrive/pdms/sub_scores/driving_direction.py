"""Driving direction compliance (6.4): how far the car's centre goes outside the lanes of its route within one second."""

import torch
from jaxtyping import Float
from torch import Tensor

from latentdrive.pdms.sub_scores.footprint import EgoAreas, Footprint

WINDOW = 11  # steps that are added up: the last second and the present step
COMPLIANT_M, VIOLATION_M = 2.0, 6.0


def driving_direction_compliance(car: Footprint, areas: EgoAreas, *, intersections_count: bool) -> Float[Tensor, "B M"]:
    """1 below 2 m, 0.5 below 6 m, else 0. intersections_count: false in NAVSIM v2, where ways inside intersections are forgiven."""
    wrong = areas.oncoming if intersections_count else areas.oncoming & ~areas.centre_in
    way = torch.zeros_like(car.speed)
    way[:, 1:] = (car.centre[:, 1:] - car.centre[:, :-1]).norm(dim=-1)
    way = torch.where(wrong, way, 0.0)
    total = torch.nn.functional.pad(way, (0, 0, WINDOW - 1, 0)).unfold(1, WINDOW, 1).sum(-1).amax(1)
    return torch.where(total < COMPLIANT_M, 1.0, torch.where(total < VIOLATION_M, 0.5, 0.0)).to(car.speed.dtype)
