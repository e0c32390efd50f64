"""A planner that sees a teacher's or student's features and the ego's state, and nothing else.

The recurrent-depth head of RD-VLA (arXiv:2602.07845) over any predictor: its action features are the latent tokens,
its visual features the vision tokens, and those of its middle layer the middle depth. The paper's head reads the
network's states as they are; here they are normalised and marked with their positions, as in the fusion of other
planners, because a store keeps pooled states (latentdrive default). The plan before the first step comes from a
small network on the ego's state and the mean action feature (latentdrive default).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from latentdrive.checkpoint_parts import checkpoint_part
from latentdrive.errors import ConfigError, WrongShape
from latentdrive.heads.layers import Features
from latentdrive.planners.anytime import AnytimeHead, AnytimeSettings, Perceived, RefinesPlans
from latentdrive.planners.inputs.batch import STATUS, PlannerInputs, PlannerOutput, Refinement
from latentdrive.planners.inputs.sensors import Sensors
from latentdrive.planners.latents.fusion import LatentFusion, ReadsLatents, positions, require_widths
from latentdrive.planners.learned import LearnedPlanner
from latentdrive.types import LatentFeatures


class MarkedFeatures(nn.Module):
    """Features of one depth, normalised and marked with their positions."""

    def __init__(self, *, visual_width: int, action_width: int) -> None:
        super().__init__()
        self.visual, self.action = nn.LayerNorm(visual_width), nn.LayerNorm(action_width)

    def forward(self, latents: LatentFeatures) -> Features:
        """The head's tokens and vision."""
        weight = self.visual.weight.dtype
        pairs = ((self.action, latents.action), (self.visual, latents.visual))
        normed = [norm(states.to(weight)) for norm, states in pairs]
        return Features(*(read + positions(*read.shape[1:], device=read.device).to(read) for read in normed))


@checkpoint_part
class LatentAnytime(RefinesPlans, LearnedPlanner):
    """A head whose depth is chosen in the car, over a predictor's features (an AnytimePlanner).

    visual_width, action_width: of the features. width: of the head. poses: of the plan. anytime: of the head.
    fusion: must be None, because the whole planner reads the features.
    """

    def __init__(
        self,
        *,
        anytime: AnytimeSettings,
        visual_width: int,
        action_width: int,
        width: int,
        poses: int,
        fusion: LatentFusion | None,
    ) -> None:
        if fusion is not None:
            raise ConfigError("planner=latent_anytime reads the embeddings as they are: leave fusion out")
        super().__init__(sensors=Sensors(cameras=None, lidar=None), fusion=None)
        self.visual_width, self.action_width, self.poses = visual_width, action_width, poses
        widths = {"visual_width": visual_width, "action_width": action_width}
        self.middle, self.last = MarkedFeatures(**widths), MarkedFeatures(**widths)
        self.first = nn.Sequential(
            nn.Linear(STATUS + action_width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
            nn.Linear(width, poses * 3),
        )  # fmt: skip
        self.head = AnytimeHead(
            anytime,
            poses=poses,
            width=width,
            middle_widths=(action_width, visual_width),
            last_widths=(action_width, visual_width),
            ego=STATUS,
        )

    @property
    def reads(self) -> ReadsLatents:
        """The planner itself."""
        return self

    def require_fit(self, latents: LatentFeatures) -> None:
        """Raise WrongShape where the features have other widths, or no states of a middle layer."""
        require_widths(latents, visual=self.visual_width, action=self.action_width, reader="this planner", node="model")
        if latents.middle is None:
            raise WrongShape(
                "these embeddings have no states of a middle layer, which planner=latent_anytime reads: label with a "
                "teacher, or a student of one, that was built with model.middle_depth=0.5"
            )

    def perceive(self, inputs: PlannerInputs) -> Perceived:
        """Read the features, and plan without the head."""
        latents, status = self.embeddings(inputs), inputs.status()
        self.require_fit(latents)
        middle, last = self.middle(latents.middle), self.last(latents)
        first = self.first(torch.cat([status, last.tokens.mean(1).to(status)], 1)).unflatten(1, (self.poses, 3))
        return Perceived(seen=None, first=first, middle=middle, last=last)

    def output(self, seen: None, trajectory: Float[Tensor, "B P 3"], refinement: Refinement) -> PlannerOutput:
        """The refined plan; there is nothing else."""
        return PlannerOutput(trajectory=trajectory, refinement=refinement)
