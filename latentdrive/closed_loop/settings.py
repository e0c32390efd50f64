"""The settings of a closed loop, and their defaults in configs/closed_loop/."""

from dataclasses import dataclass

from latentdrive.errors import ConfigError
from latentdrive.types import FROZEN

RATES_HZ = (2.0, 10.0)


@dataclass(**FROZEN)
class LoopSettings:
    """How a planner drives, and when a drive ends.

    replan_hz: how often it plans, 2 or 10. execute_poses: if given, this many poses of a plan are driven before the
    next one is made, whatever replan_hz says. collision_ends: whether the first collision ends the drive.
    off_road_ends_s: the drive ends when the car has been off the road for so long. standing_mps, stuck_s: a car is
    stuck when it has stood below this speed for so long and the built-in driver had gone on in this time.
    """

    replan_hz: float
    execute_poses: int | None
    collision_ends: bool
    off_road_ends_s: float
    standing_mps: float
    stuck_s: float

    def __post_init__(self) -> None:
        if self.replan_hz not in RATES_HZ:
            raise ConfigError(f"replan_hz={self.replan_hz:g}: choose 2 or 10, the rates at which the world has frames")
        if self.execute_poses is not None and self.execute_poses < 1:
            raise ConfigError(f"execute_poses={self.execute_poses}: give 1 or more, or null to follow replan_hz")

    def steps(self, *, rate_hz: float, plan_dt_s: float) -> int:
        """Steps of the simulation from one plan to the next."""
        seconds = 1 / self.replan_hz if self.execute_poses is None else self.execute_poses * plan_dt_s
        return max(1, round(seconds * rate_hz))
