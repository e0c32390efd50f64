"""The scored car at every simulated step: its box, its speed, and the areas of the map that it is in.

Every sub-score but comfort starts from here. Axes are B scenes, T = 41 steps, M trajectories;
positions are metres from the scene's origin (batch.py).
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
    """The car's box.

    rear: rear axle. centre: of the box. cos, sin: of the heading. speed: norm of both components,
    m/s.
    """

    rear: Float[Tensor, "*shape 2"]
    centre: Float[Tensor, "*shape 2"]
    cos: Float[Tensor, "*shape"]
    sin: Float[Tensor, "*shape"]
    speed: Float[Tensor, "*shape"]

    def at(self, places: tuple[Tensor, Tensor, Tensor]) -> "Footprint":
        """The car at chosen places only. places: indices of scene, step and trajectory."""
        return Footprint(
            rear=self.rear[places],
            centre=self.centre[places],
            cos=self.cos[places],
            sin=self.sin[places],
            speed=self.speed[places],
        )

    def corners(self) -> Float[Tensor, "*shape 4 2"]:
        """Corners of the box in the order of boxes.CORNERS."""
        return corners_around(self.centre, self.cos, self.sin, HALF_LENGTH_M, HALF_WIDTH_M)


@dataclass(**FROZEN)
class EgoAreas:
    """Where the car is (docs/pdms.md, section 6.1).

    off_road: a corner lies in no drivable area. oncoming: the centre lies in no lane of the route.
    centre_in: the centre lies inside an intersection.
    """

    off_road: Bool[Tensor, "B T M"]
    oncoming: Bool[Tensor, "B T M"]
    centre_in: Bool[Tensor, "B T M"]


def footprint(states: Float[Tensor, "B M 41 11"], origin: Float[Tensor, "B 2"]) -> Footprint:
    """The car's box at simulated states. states: in the global frame."""
    states = states.transpose(1, 2)
    rear = states[..., [X, Y]] - origin[:, None, None]
    cos, sin = states[..., HEADING].cos(), states[..., HEADING].sin()
    centre = moved_ahead(rear, cos, sin, REAR_TO_CENTRE_M)
    speed = torch.hypot(states[..., VX], states[..., VY])
    return Footprint(rear=rear, centre=centre, cos=cos, sin=sin, speed=speed)


def ego_areas(car: Footprint, road: MapBatch) -> EgoAreas:
    """The areas that corners and centre lie in. A point on a border lies outside."""
    grid, shape = road.grid, car.speed.shape
    corners = grid.locate(*car.corners().unbind(-1))
    centre = grid.locate(*car.centre.unbind(-1))
    return EgoAreas(
        off_road=~grid.inside(road.drivable, corners).view(*shape, 4).all(-1),
        oncoming=~grid.inside(road.on_route, centre).view(shape),
        centre_in=grid.inside(road.intersections, centre).view(shape),
    )
