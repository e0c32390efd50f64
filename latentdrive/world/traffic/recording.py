"""Drives: what moved where, and on which road, before any picture is taken.

Between traffic.py, which makes them, and cameras.py, which looks at them. Poses are x, y in metres and heading in radians,
counter-clockwise, in the plane of the drive (x to the right on a map, y up): everything here is already mirrored.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float64

from latentdrive import nuplan_vehicle
from latentdrive.types import FROZEN


class Mark(StrEnum):
    """A line painted along one side of a lane."""

    NONE = "none"
    DASHED = "dashed"
    SOLID = "solid"
    CENTRE = "centre"


@dataclass(**FROZEN)
class Lane:
    """points: centre of the lane in driving direction, metres. Marks on its left and right side."""

    points: Float64[np.ndarray, "n 2"]
    width_m: float
    left: Mark
    right: Mark


@dataclass(**FROZEN)
class Body:
    """The ego's box. size_m: length, width, height. rear_to_centre_m: from the rear axle to the middle of the box."""

    size_m: tuple[float, float, float]
    rear_to_centre_m: float

    @classmethod
    def of_nuplan(cls) -> "Body":
        """nuPlan's car."""
        return cls(
            size_m=(nuplan_vehicle.LENGTH_M, nuplan_vehicle.WIDTH_M, nuplan_vehicle.HEIGHT_M),
            rear_to_centre_m=nuplan_vehicle.REAR_TO_CENTRE_M,
        )

    def centre(self, rear: Float64[np.ndarray, "T 3"]) -> Float64[np.ndarray, "T 3"]:
        """Poses of the middle of the box, of poses of the rear axle."""
        ahead = self.rear_to_centre_m * np.stack([np.cos(rear[:, 2]), np.sin(rear[:, 2])], -1)
        return np.concatenate([rear[:, :2] + ahead, rear[:, 2:]], -1)


@dataclass(**FROZEN)
class Agents:
    """Vehicles over time; NaN where absent. poses: centre of the box. sizes: length, width, height in metres. kinds: car, van, …"""

    poses: Float64[np.ndarray, "T N 3"]
    speed_mps: Float64[np.ndarray, "T N"]
    sizes: Float64[np.ndarray, "N 3"]
    kinds: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.kinds)

    def beside(self, others: "Agents") -> "Agents":
        """These and others, over the same times."""
        return Agents(
            poses=np.concatenate([self.poses, others.poses], 1),
            speed_mps=np.concatenate([self.speed_mps, others.speed_mps], 1),
            sizes=np.concatenate([self.sizes, others.sizes]),
            kinds=(*self.kinds, *others.kinds),
        )

    def pick(self, rows: np.ndarray) -> "Agents":
        """Only some of the vehicles. rows: indices."""
        return Agents(
            poses=self.poses[:, rows],
            speed_mps=self.speed_mps[:, rows],
            sizes=self.sizes[rows],
            kinds=tuple(self.kinds[row] for row in rows),
        )


@dataclass(**FROZEN)
class Drive:
    """One ride. ego: pose of the rear axle. road_type and seed say how to make it again."""

    road_type: str
    seed: tuple[int, ...]
    times_s: Float64[np.ndarray, "T"]
    ego: Float64[np.ndarray, "T 3"]
    ego_speed_mps: Float64[np.ndarray, "T"]
    agents: Agents
    lanes: tuple[Lane, ...]
