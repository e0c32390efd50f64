"""The blind baseline that learns: a plan from the ego's own state and the driving command, without any sensor.

NAVSIM's ego-status MLP (arXiv:2406.15349): what it scores, a data set gives to whoever does not look. Four linear layers with ReLU.
"""

from torch import nn

from latentdrive.errors import ConfigError
from latentdrive.planners.inputs.batch import STATUS, PlannerInputs, PlannerOutput
from latentdrive.planners.inputs.sensors import Sensors
from latentdrive.planners.latents.fusion import LatentFusion
from latentdrive.planners.learned import LearnedPlanner


class EgoMlp(LearnedPlanner):
    """width: of the hidden layers, three of them. poses: of the plan. fusion: None, for it has no queries that could look."""

    def __init__(self, *, width: int, poses: int, fusion: LatentFusion | None) -> None:
        if fusion is not None:
            raise ConfigError("planner=ego_mlp is the blind baseline and fuses nothing: leave fusion out")
        super().__init__(sensors=Sensors(cameras=None, lidar=None), fusion=None)
        self.poses = poses
        self.layers = nn.Sequential(
            nn.Linear(STATUS, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, poses * 3),
        )  # fmt: skip

    def forward(self, inputs: PlannerInputs) -> PlannerOutput:
        """Plans of B scenes from their status alone."""
        return PlannerOutput(trajectory=self.layers(inputs.status()).unflatten(1, (self.poses, 3)))
