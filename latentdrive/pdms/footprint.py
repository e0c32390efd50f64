"""The scored car at every simulated step: its box, its speed, and the areas of the map that it is in.

After simulate.py; the sub-scores start from here. Axes are B scenes, T = 41 steps, M trajectories; positions are metres from the scene's
origin (batch.py).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from latentdrive.nuplan_vehicle import LENGTH_M, REAR_TO_CENTRE_M, WIDTH_M
from latentdrive.pdms.batch import MapBatch
from latentdrive.pdms.scene import CORNERS, HEADING, VX, VY, X, Y
from latentdrive.types import FROZEN

HALF_LENGTH_M, HALF_WIDTH_M = LENGTH_M / 2, WIDTH_M / 2


@dataclass(**FROZEN)
class Footprint:
    """Rear axle and centre of the box, cosine and sine of the heading, speed (the norm of both components)."""

    rear: Float[Tensor, "B T M 2"]
    centre: Float[Tensor, "B T M 2"]
    cos: Float[Tensor, "B T M"]
    sin: Float[Tensor, "B T M"]
    speed: Float[Tensor, "B T M"]

    def corners(self) -> Float[Tensor, "B T M 4 2"]:
        """Corners of the box, front left first, counter-clockwise."""
        ahead = torch.stack([self.cos, self.sin], -1) * HALF_LENGTH_M
        left = torch.stack([-self.sin, self.cos], -1) * HALF_WIDTH_M
        return torch.stack([self.centre + a * ahead + b * left for a, b in CORNERS], -2)


@dataclass(**FROZEN)
class EgoAreas:
    """Where the car is (6.1). several_lanes: corners in more than one lane, and no lane holds all four. off_road: a corner in no drivable
    area. oncoming: the centre in no lane of the route. centre_in, rear_in: centre and rear axle inside an intersection."""

    several_lanes: Bool[Tensor, "B T M"]
    off_road: Bool[Tensor, "B T M"]
    oncoming: Bool[Tensor, "B T M"]
    centre_in: Bool[Tensor, "B T M"]
    rear_in: Bool[Tensor, "B T M"]


def footprint(states: Float[Tensor, "B M 41 11"], origin: Float[Tensor, "B 2"]) -> Footprint:
    """The car's box at simulated states (global frame)."""
    states = states.transpose(1, 2)
    rear = states[..., [X, Y]] - origin[:, None, None]
    cos, sin = states[..., HEADING].cos(), states[..., HEADING].sin()
    centre = rear + REAR_TO_CENTRE_M * torch.stack([cos, sin], -1)
    speed = torch.hypot(states[..., VX], states[..., VY])
    return Footprint(rear=rear, centre=centre, cos=cos, sin=sin, speed=speed)


def ego_areas(car: Footprint, road: MapBatch) -> EgoAreas:
    """Areas that corners, centre and rear axle are in; a point on a border is outside."""
    points = torch.cat([car.corners(), car.centre[..., None, :], car.rear[..., None, :]], -2)
    scene = torch.arange(len(points), device=points.device)[:, None, None, None].expand(points.shape[:-1])
    words = road.grid.containing(points.reshape(-1, 2), scene.reshape(-1)).view(*points.shape[:-1], -1)
    mask = {kind: getattr(road, kind)[:, None, None] for kind in ("drivable", "lanes", "on_route", "intersections")}
    corners = words[..., :4, :]
    lanes = corners & mask["lanes"][..., None, :]
    any_corner = lanes[..., 0, :] | lanes[..., 1, :] | lanes[..., 2, :] | lanes[..., 3, :]
    all_corners = lanes[..., 0, :] & lanes[..., 1, :] & lanes[..., 2, :] & lanes[..., 3, :]
    words_used = (any_corner != 0).sum(-1)
    two_in_a_word = ((any_corner & (any_corner - 1)) != 0).any(-1)
    return EgoAreas(
        several_lanes=(two_in_a_word | (words_used > 1)) & (all_corners == 0).all(-1),
        off_road=((corners & mask["drivable"][..., None, :]) == 0).all(-1).any(-1),
        oncoming=((words[..., 4, :] & mask["on_route"]) == 0).all(-1),
        centre_in=((words[..., 4, :] & mask["intersections"]) != 0).any(-1),
        rear_in=((words[..., 5, :] & mask["intersections"]) != 0).any(-1),
    )
