"""The settings of a closed loop, and their defaults in configs/closed_loop/."""

from dataclasses import dataclass

import torch

from latentdrive.errors import ConfigError
from latentdrive.heads.execution import Execution
from latentdrive.types import FROZEN, Trajectory

RATES_HZ = (2.0, 10.0)


@dataclass(**FROZEN)
class LoopSettings:
    """How a planner drives, and when a drive ends.

    replan_hz: how often it plans, 2 or 10. execute_poses: if given, this many poses of a plan are driven before the
    next one is made, whatever replan_hz says. execution: if given, a rule that says so by the steps that the plan took
    (RD-VLA, arXiv:2602.07845), for planners that refine. collision_ends: whether the first collision ends the drive.
    off_road_ends_s: the drive ends when the car has been off the road for so long. standing_mps, stuck_s: a car is
    stuck when it has stood below this speed for so long and the built-in driver had gone on in this time.
    """

    replan_hz: float
    execute_poses: int | None
    execution: Execution | None
    collision_ends: bool
    off_road_ends_s: float
    standing_mps: float
    stuck_s: float

    def __post_init__(self) -> None:
        if self.replan_hz not in RATES_HZ:
            raise ConfigError(f"replan_hz={self.replan_hz:g}: choose 2 or 10, the rates at which the world has frames")
        if self.execute_poses is not None and self.execute_poses < 1:
            raise ConfigError(f"execute_poses={self.execute_poses}: give 1 or more, or null to follow replan_hz")
        if self.execute_poses is not None and self.execution is not None:
            raise ConfigError("closed_loop.execute_poses and closed_loop.execution both say how far to drive: give one")

    def steps(self, plan: Trajectory, *, rate_hz: float) -> int:
        """Steps of the simulation until the next plan. Raises ConfigError for a rule where a plan was not refined."""
        if self.execution is None:
            seconds = 1 / self.replan_hz if self.execute_poses is None else self.execute_poses * plan.dt_s
            return max(1, round(seconds * rate_hz))
        if plan.refined is None:
            raise ConfigError(
                "closed_loop.execution asks how many steps a plan took, and this planner plans at once: choose one "
                "that refines, such as ltf_anytime, or set closed_loop.execution=null"
            )
        poses = self.execution(torch.from_numpy(plan.refined.steps.reshape(1)), poses=len(plan.poses))
        return max(1, round(int(poses) * plan.dt_s * rate_hz))
