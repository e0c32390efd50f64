"""Simulated drives: the motion of the ego and of all others, and the road, before any picture is rendered.

The simulation (simulate.py) produces them; rendering and truth read them. Poses are x, y in metres
and a counter-clockwise heading in radians, in the plane of the drive with y up: highway-env's y
axis is already mirrored here.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float64

from latentdrive import nuplan_vehicle
from latentdrive.boxes import ego_centre
from latentdrive.types import FROZEN


class Mark(StrEnum):
    """The line that is painted along one side of a lane."""

    NONE = "none"
    DASHED = "dashed"
    SOLID = "solid"
    CENTRE = "centre"


@dataclass(**FROZEN)
class Lane:
    """A lane as it is drawn. points: its centre line in driving direction, metres. left, right: its markings."""

    points: Float64[np.ndarray, "n 2"]
    width_m: float
    left: Mark
    right: Mark


@dataclass(**FROZEN)
class Body:
    """The box of the ego. size_m: length, width, height. rear_to_centre_m: from the rear axle to the box's centre."""

    size_m: tuple[float, float, float]
    rear_to_centre_m: float

    @classmethod
    def of_nuplan(cls) -> "Body":
        """Return the box of nuPlan's car."""
        return cls(
            size_m=(nuplan_vehicle.LENGTH_M, nuplan_vehicle.WIDTH_M, nuplan_vehicle.HEIGHT_M),
            rear_to_centre_m=nuplan_vehicle.REAR_TO_CENTRE_M,
        )

    def centre(self, rear: Float64[np.ndarray, "T 3"]) -> Float64[np.ndarray, "T 3"]:
        """Return poses of the centre of the box from poses of the rear axle."""
        return ego_centre(rear, self.rear_to_centre_m)


@dataclass(**FROZEN)
class Agents:
    """Other road users over time; NaN while they are absent.

    poses: of the centres of their boxes. sizes: length, width, height in metres. kinds: car, van,
    truck, bus or pedestrian.
    """

    poses: Float64[np.ndarray, "T N 3"]
    speed_mps: Float64[np.ndarray, "T N"]
    sizes: Float64[np.ndarray, "N 3"]
    kinds: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.kinds)

    def beside(self, others: "Agents") -> "Agents":
        """Return these agents followed by others, which must have the same times."""
        return Agents(
            poses=np.concatenate([self.poses, others.poses], 1),
            speed_mps=np.concatenate([self.speed_mps, others.speed_mps], 1),
            sizes=np.concatenate([self.sizes, others.sizes]),
            kinds=(*self.kinds, *others.kinds),
        )

    def pick(self, rows: np.ndarray) -> "Agents":
        """Return only the agents with the given indices."""
        return Agents(
            poses=self.poses[:, rows],
            speed_mps=self.speed_mps[:, rows],
            sizes=self.sizes[rows],
            kinds=tuple(self.kinds[row] for row in rows),
        )


@dataclass(**FROZEN)
class SimulatedDrive:
    """One simulated drive. ego: poses of the rear axle. The same road_type and seed give the same drive again."""

    road_type: str
    seed: tuple[int, ...]
    times_s: Float64[np.ndarray, "T"]
    ego: Float64[np.ndarray, "T 3"]
    ego_speed_mps: Float64[np.ndarray, "T"]
    agents: Agents
    lanes: tuple[Lane, ...]
