"""iPad: proposals that look where they lead, and a score for each (arXiv:2505.15111).

From four cameras and the ego's state, `proposals` x `poses` queries are refined `passes` times by one
Refiner; the plan is the proposal with the highest score. What the paper leaves open is taken from the
public code; choices of our own are marked "latentdrive default". With a fusion, the queries attend to the
predictor's embeddings before each pass.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from latentdrive.checkpoint_parts import checkpoint_part
from latentdrive.counting import counted
from latentdrive.errors import ConfigError, WrongShape
from latentdrive.pdms.scene import STEPS
from latentdrive.planners.inputs.batch import PlannerInputs, PlannerOutput
from latentdrive.planners.inputs.sensors import Sensors, Surround
from latentdrive.planners.ipad.heads import STEPS_A_POSE, TOTAL, AgentHead, AreaHead, ScoreHead
from latentdrive.planners.ipad.images import CameraFeatures, padded_size
from latentdrive.planners.ipad.refiner import Refiner, Views
from latentdrive.planners.latents.fusion import LatentFusion
from latentdrive.planners.learned import LearnedPlanner
from latentdrive.types import FROZEN, Command

STATUS = 7 + len(Command)  # pose, velocity, acceleration, command one-hot


@dataclass(**FROZEN)
class IpadOutput(PlannerOutput):
    """The plan, and what iPad predicts about its proposals.

    passes: proposals of every pass; those of the last one are `proposals`. score_logits: of heads.SCORES.
    In training mode only, at S = 5 P simulated steps after now: agent_boxes, agent_logits: of the two most
    relevant road users; area_logits: of leaving the drivable area, and the lanes of the route.
    """

    passes: Float[Tensor, "B R M P 3"]
    score_logits: Float[Tensor, "B M 6"]
    agent_boxes: Float[Tensor, "B M S 2 8"] | None = None
    agent_logits: Float[Tensor, "B M S 2"] | None = None
    area_logits: Float[Tensor, "B M S 2"] | None = None


class Seen(NamedTuple):
    """A scene before the choice. maps: of the cameras. passes: proposals of every pass. queries: after every pass."""

    maps: Float[Tensor, "B V D h w"]
    passes: Float[Tensor, "B R M P 3"]
    queries: tuple[Float[Tensor, "B Q D"], ...]


@checkpoint_part
class Ipad(LearnedPlanner):
    """The network. There is a query for each of `poses` poses of each of `proposals` proposals.

    backbone ... grid_mask: see CameraFeatures. passes: how often the Refiner runs. width, hidden, heads and
    grid_points ... pose_units: see Refiner. box_unit_m: see AgentHead.
    """

    def __init__(
        self,
        *,
        sensors: Sensors,
        backbone: str,
        stages: list[int],
        stride: int,
        weights: str,
        normalise: bool,
        train_backbone: str,
        grid_mask: float,
        proposals: int,
        poses: int,
        passes: int,
        width: int,
        hidden: int,
        heads: int,
        grid_points: int,
        heights: int,
        low_m: float,
        high_m: float,
        reach_m: float,
        pose_units: list[float],
        box_unit_m: float,
        fusion: LatentFusion | None,
    ) -> None:
        super().__init__(sensors=sensors, fusion=fusion)
        if not isinstance(sensors.cameras, Surround):
            raise ConfigError(
                "model.sensors.cameras of iPad must be a Surround, because it projects points into calibrated cameras"
            )
        if width % (2 * heads) or passes < 1 or poses * STEPS_A_POSE >= STEPS:
            raise ConfigError(
                f"iPad needs a width divisible by 2 heads (got {width} and {heads}), at least one pass (got "
                f"{passes}) and no more than {counted((STEPS - 1) // STEPS_A_POSE, 'pose')}, because the score "
                f"simulates no more (got {poses})"
            )
        self.passes, self.poses, self.stride = passes, poses, stride
        self.images = CameraFeatures(
            backbone=backbone,
            stages=stages,
            stride=stride,
            weights=weights,
            normalise=normalise,
            train_backbone=train_backbone,
            grid_mask=grid_mask,
            cameras=len(sensors.cameras.names),
            width=width,
        )
        self.status = nn.Linear(STATUS, width)
        self.queries = nn.Parameter(torch.randn(proposals * poses, width))
        self.refiner = Refiner(
            proposals=proposals,
            poses=poses,
            width=width,
            hidden=hidden,
            heads=heads,
            grid_points=grid_points,
            heights=heights,
            low_m=low_m,
            high_m=high_m,
            reach_m=reach_m,
            pose_units=pose_units,
        )
        self.score = ScoreHead(width=width, hidden=hidden)
        self.agents = AgentHead(width=width, hidden=hidden, poses=poses, unit_m=box_unit_m)
        self.areas = AreaHead(width=width, hidden=hidden)

    def load_pretrained(self) -> None:
        """Load the published weights of the backbone."""
        self.images.load_pretrained()

    def forward(self, inputs: PlannerInputs) -> IpadOutput:
        """Plans of B scenes.

        Raises WrongShape for inputs without calibrated cameras, ConfigError for a fusion without embeddings.
        """
        return self.chosen(self.see(inputs))

    def see(self, inputs: PlannerInputs) -> Seen:
        """Everything before the choice. Raises as `forward` does."""
        maps, views = self._views(inputs)
        queries = self.queries + self.status(ego_status(inputs))[:, None]
        latents = None if self.fusion is None else self.fusion.read(self.embeddings(inputs))
        passes, updated = [], []
        for _ in range(self.passes):
            if latents is not None:
                queries = self.fusion(queries, latents)
            passes.append(self.refiner.propose(queries))
            queries = self.refiner(queries, passes[-1], views)
            updated.append(queries)
        return Seen(maps=maps, passes=torch.stack(passes, 1), queries=tuple(updated))

    def chosen(self, seen: Seen) -> IpadOutput:
        """The proposal of the last pass with the highest score, and what is predicted about all of them."""
        queries = seen.queries[-1].unflatten(1, (-1, self.poses))
        proposals, logits = seen.passes[:, -1], self.score(queries)
        chosen = logits[..., TOTAL].argmax(1)
        boxes, relevance = self.agents(queries) if self.training else (None, None)
        return IpadOutput(
            trajectory=proposals[torch.arange(len(chosen), device=chosen.device), chosen],
            proposals=proposals,
            passes=seen.passes,
            score_logits=logits,
            agent_boxes=boxes,
            agent_logits=relevance,
            area_logits=self.areas(queries) if self.training else None,
        )

    def _views(self, inputs: PlannerInputs) -> tuple[Float[Tensor, "B V D h w"], Views]:
        """The cameras' maps, and how the refiner reads them."""
        if inputs.cameras is None or inputs.intrinsics is None or inputs.camera_to_ego is None:
            raise WrongShape(
                "Ipad: expected inputs with cameras, intrinsics and camera_to_ego: make them with the planner's own "
                "sensors"
            )
        height, width = padded_size(*inputs.cameras.shape[-2:], self.stride)
        maps = self.images(inputs.cameras)
        return maps, Views(
            values=self.refiner.cameras.read(maps),
            intrinsics=inputs.intrinsics,
            camera_to_ego=inputs.camera_to_ego,
            height=height,
            width=width,
        )


def ego_status(inputs: PlannerInputs) -> Float[Tensor, "B 11"]:
    """iPad's ego state: pose (0, the origin of the ego frame), velocity, acceleration, command one-hot."""
    command = F.one_hot(inputs.command, len(Command)).to(inputs.velocity.dtype)
    pose = inputs.velocity.new_zeros(len(inputs), 3)
    return torch.cat([pose, inputs.velocity, inputs.acceleration, command], 1)
