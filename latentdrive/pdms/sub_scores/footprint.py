"""The scored car at every simulated step: its box, its speed, and the areas of the map that it is in.

After simulate.py; the sub-scores start from here. Axes are B scenes, T = 41 steps, M trajectories; positions are metres from the scene's
origin (batch.py).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from latentdrive.boxes import corners_around, moved_ahead
from latentdrive.nuplan_vehicle import HALF_LENGTH_M, HALF_WIDTH_M, REAR_TO_CENTRE_M
from latentdrive.pdms.batch import MapBatch
from latentdrive.pdms.scene import HEADING, VX, VY, X, Y
from latentdrive.types import FROZEN


@dataclass(**FROZEN)
class Footprint:
    """Rear axle and centre of the box, cosine and sine of the heading, speed (the norm of both components); of shape [B, T, M]."""

    rear: Float[Tensor, "*shape 2"]
    centre: Float[Tensor, "*shape 2"]
    cos: Float[Tensor, "*shape"]
    sin: Float[Tensor, "*shape"]
    speed: Float[Tensor, "*shape"]

    def at(self, rows: tuple[Tensor, Tensor, Tensor]) -> "Footprint":
        """The car at some scenes, steps and trajectories only."""
        return Footprint(
            rear=self.rear[rows],
            centre=self.centre[rows],
            cos=self.cos[rows],
            sin=self.sin[rows],
            speed=self.speed[rows],
        )

    def corners(self) -> Float[Tensor, "*shape 4 2"]:
        """Corners of the box, front left first, counter-clockwise."""
        return corners_around(self.centre, self.cos, self.sin, HALF_LENGTH_M, HALF_WIDTH_M)


@dataclass(**FROZEN)
class EgoAreas:
    """Where the car is (6.1). off_road: a corner in no drivable area. oncoming: the centre in no lane of the route. centre_in: the centre
    inside an intersection."""

    off_road: Bool[Tensor, "B T M"]
    oncoming: Bool[Tensor, "B T M"]
    centre_in: Bool[Tensor, "B T M"]


def footprint(states: Float[Tensor, "B M 41 11"], origin: Float[Tensor, "B 2"]) -> Footprint:
    """The car's box at simulated states (global frame)."""
    states = states.transpose(1, 2)
    rear = states[..., [X, Y]] - origin[:, None, None]
    cos, sin = states[..., HEADING].cos(), states[..., HEADING].sin()
    centre = moved_ahead(rear, cos, sin, REAR_TO_CENTRE_M)
    speed = torch.hypot(states[..., VX], states[..., VY])
    return Footprint(rear=rear, centre=centre, cos=cos, sin=sin, speed=speed)


def ego_areas(car: Footprint, road: MapBatch) -> EgoAreas:
    """Areas that corners and centre are in; a point on a border is outside."""
    grid, shape = road.grid, car.speed.shape
    corners = grid.locate(*car.corners().unbind(-1))
    centre = grid.locate(*car.centre.unbind(-1))
    return EgoAreas(
        off_road=~grid.inside(road.drivable, corners).view(*shape, 4).all(-1),
        oncoming=~grid.inside(road.on_route, centre).view(shape),
        centre_in=grid.inside(road.intersections, centre).view(shape),
    )
