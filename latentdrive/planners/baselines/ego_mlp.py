"""A blind planner that learns: a plan from the ego's state and the driving command, without any sensor.

NAVSIM's ego-status MLP (arXiv:2406.15349). Its score shows how far a data set can be solved without
looking. Four linear layers with ReLU.
"""

from torch import nn

from latentdrive.checkpoint_parts import checkpoint_part
from latentdrive.errors import ConfigError
from latentdrive.planners.inputs.batch import STATUS, PlannerInputs, PlannerOutput
from latentdrive.planners.inputs.sensors import Sensors
from latentdrive.planners.latents.fusion import LatentFusion
from latentdrive.planners.learned import LearnedPlanner


@checkpoint_part
class EgoMlp(LearnedPlanner):
    """width: of the three hidden layers. poses: of the plan. fusion: must be None, because it has no queries."""

    def __init__(self, *, width: int, poses: int, fusion: LatentFusion | None) -> None:
        if fusion is not None:
            raise ConfigError("planner=ego_mlp is the blind baseline and fuses no embeddings: leave fusion out")
        super().__init__(sensors=Sensors(cameras=None, lidar=None), fusion=None)
        self.poses = poses
        self.layers = nn.Sequential(
            nn.Linear(STATUS, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, poses * 3),
        )

    def forward(self, inputs: PlannerInputs) -> PlannerOutput:
        """Plans of B scenes, from `status` alone."""
        return PlannerOutput(trajectory=self.layers(inputs.status()).unflatten(1, (self.poses, 3)))
