"""Transfuser: from camera and LiDAR to a plan, the vehicles around, and a semantic bird's-eye view.

After backbone.py. One query for the plan and one for each vehicle attend to the cells of the map and to
the ego's state. Chitta et al. (arXiv:2205.15997) in NAVSIM's variant (arXiv:2406.15349). The semantic view
is an auxiliary task; the plan does not read it. With a fusion (LatentVLA, arXiv:2601.05611), the map's
cells attend to the embeddings right before the queries read the cells.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from latentdrive.checkpoint_parts import checkpoint_part
from latentdrive.errors import ConfigError
from latentdrive.planners.inputs.batch import STATUS, PlannerInputs, PlannerOutput
from latentdrive.planners.inputs.sensors import Panorama, Sensors
from latentdrive.planners.latents.fusion import LatentFusion
from latentdrive.planners.learned import LearnedPlanner, run_in_weight_dtype
from latentdrive.planners.transfuser.backbone import TransfuserBackbone
from latentdrive.planners.transfuser.official import read_official, to_ours
from latentdrive.types import FROZEN

BOX = 5  # x, y, heading, length, width


@dataclass(**FROZEN)
class TransfuserOutput(PlannerOutput):
    """The plan, and the predicted surroundings.

    agents: x, y, heading, length and width of N vehicles in the ego frame of now. agent_logits: of their
    existence. semantics: logits of C classes for every cell of the bird's-eye view, as in BevSemantics.
    """

    agents: Float[Tensor, "B N 5"]
    agent_logits: Float[Tensor, "B N"]
    semantics: Float[Tensor, "B C h w"]


class Seen(NamedTuple):
    """A scene between perception and plan.

    bev: the backbone's last map. earlier: its map one stage before. cells: those of the last map, as the
    queries read them. queries: after each layer of the decoder; the first query is that of the plan.
    """

    bev: Float[Tensor, "B C x y"]
    earlier: Float[Tensor, "B c X Y"]
    cells: Float[Tensor, "B n D"]
    queries: tuple[Float[Tensor, "B q D"], ...]


class SemanticHead(nn.Module):
    """Scales the backbone's map up and classifies its cells.

    middle: rows and columns of the map before the last two layers. size: rows and columns of the output.
    """

    def __init__(self, *, channels: int, width: int, classes: int, middle: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.middle, self.size = middle, size
        self.enter = nn.Conv2d(channels, width, 1)
        self.twice = nn.Conv2d(width, width, 3, padding=1)
        self.whole = nn.Conv2d(width, width, 3, padding=1)
        self.refine = nn.Conv2d(width, width, 3, padding=1)
        self.sort = nn.Conv2d(width, classes, 1)

    def forward(self, bev: Float[Tensor, "B D x y"]) -> Float[Tensor, "B C h w"]:
        """Logits of the classes."""
        bev = F.relu(self.enter(bev))
        bev = F.relu(self.twice(_resized(bev, (2 * bev.shape[-2], 2 * bev.shape[-1]))))
        bev = F.relu(self.whole(_resized(bev, (self.middle, self.middle))))
        return _resized(self.sort(F.relu(self.refine(bev))), self.size)


@checkpoint_part
class Transfuser(LearnedPlanner):
    """Transfuser, or LTF if the backbone's LiDAR grid is learned.

    width, feedforward, layers, heads, dropout: of the decoder. agents: number of vehicles it predicts,
    within ±agents_half_m of the ego in x and in y. semantic_width: channels of the semantic head;
    semantic_classes, semantic_size: classes, rows and columns of its output. poses: of the plan.
    """

    def __init__(
        self,
        *,
        sensors: Sensors,
        fusion: LatentFusion | None,
        backbone: TransfuserBackbone,
        width: int,
        feedforward: int,
        layers: int,
        heads: int,
        dropout: float,
        agents: int,
        agents_half_m: float,
        semantic_width: int,
        semantic_classes: int,
        semantic_size: tuple[int, int],
        poses: int,
    ) -> None:
        super().__init__(sensors=sensors, fusion=fusion)
        _require_fitting(sensors, backbone)
        self.backbone, self.poses, self.agents_half_m = backbone, poses, agents_half_m
        self.bev_in = nn.Conv2d(backbone.channels, width, 1)
        self.status_in = nn.Linear(STATUS, width)
        self.memory_positions = nn.Embedding(backbone.cells**2 + 1, width)
        self.queries = nn.Embedding(1 + agents, width)
        layer = nn.TransformerDecoderLayer(width, heads, feedforward, dropout, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, layers)
        self.trajectory = nn.Sequential(nn.Linear(width, feedforward), nn.ReLU(), nn.Linear(feedforward, 3 * poses))
        self.agent_boxes = nn.Sequential(nn.Linear(width, feedforward), nn.ReLU(), nn.Linear(feedforward, BOX))
        self.agent_logits = nn.Linear(width, 1)
        self.semantics = SemanticHead(
            channels=backbone.channels,
            width=semantic_width,
            classes=semantic_classes,
            middle=backbone.lidar_cells // 4,
            size=tuple(semantic_size),
        )

    def forward(self, inputs: PlannerInputs) -> TransfuserOutput:
        """The plans and surroundings of B scenes. Raises ConfigError for a fusion without embeddings."""
        seen = self.see(inputs)
        return TransfuserOutput(trajectory=self.plan_of(seen), **self.surroundings(seen))

    def see(self, inputs: PlannerInputs) -> Seen:
        """Everything before the plan. Raises ConfigError for a fusion without embeddings."""
        *_, earlier, bev = self.backbone(inputs.cameras[:, 0], inputs.lidar)
        cells = self.bev_in(bev).flatten(2).transpose(1, 2)
        if self.fusion is not None:
            cells = self.fusion(cells, self.fusion.read(self.embeddings(inputs)))
        memory = torch.cat([cells, self.status_in(inputs.status())[:, None]], 1) + self.memory_positions.weight
        queries = [self.queries.weight.expand(len(bev), -1, -1)]
        for layer in self.decoder.layers:
            queries.append(layer(queries[-1], memory))
        return Seen(bev=bev, earlier=earlier, cells=cells, queries=tuple(queries[1:]))

    def plan_of(self, seen: Seen) -> Float[Tensor, "B P 3"]:
        """The plan that the first query holds."""
        plan = run_in_weight_dtype(self.trajectory, seen.queries[-1][:, 0])
        return with_heading(plan.unflatten(1, (self.poses, 3)))

    def surroundings(self, seen: Seen) -> dict[str, Tensor]:
        """The outputs besides the plan, by their names in TransfuserOutput."""
        queries = seen.queries[-1][:, 1:]
        boxes = run_in_weight_dtype(self.agent_boxes, queries)
        return {
            "agents": with_heading(torch.cat([self.agents_half_m * boxes[..., :2].tanh(), boxes[..., 2:]], -1)),
            "agent_logits": self.agent_logits(queries)[..., 0],
            "semantics": self.semantics(seen.bev),
        }

    def load_pretrained(self) -> None:
        """Load the published weights of the image backbone."""
        self.backbone.load_pretrained()

    def load_official(self, file: str | Path) -> None:
        """Load the weights of a NAVSIM checkpoint of this planner. A fusion, which NAVSIM lacks, keeps its weights.

        Raises CheckpointError where the file is no such checkpoint, or one of other sizes or of the other variant.
        """
        own = {key: value for key, value in self.state_dict().items() if not key.startswith("fusion.")}
        state = to_ours(read_official(file), own, file=file)
        self.load_state_dict(
            state | {key: value for key, value in self.state_dict().items() if key not in own}, strict=True
        )


def with_heading(rows: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    """The rows with their third entry squashed to a heading: π tanh."""
    return torch.cat([rows[..., :2], math.pi * rows[..., 2:3].tanh(), rows[..., 3:]], -1)


def _resized(maps: Float[Tensor, "B C H W"], size: tuple[int, int]) -> Float[Tensor, "B C h w"]:
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def _require_fitting(sensors: Sensors, backbone: TransfuserBackbone) -> None:
    if not isinstance(sensors.cameras, Panorama):
        raise ConfigError("model.sensors.cameras of Transfuser must be a Panorama, which is one picture")
    if backbone.grid is not None:
        if sensors.lidar is not None:
            raise ConfigError(
                "model.sensors.lidar must be null with model.backbone.lidar_input=learned: LTF reads no LiDAR, so "
                "none should be opened"
            )
        return
    if sensors.lidar is None:
        raise ConfigError(
            "model.backbone.lidar_input=points needs a LidarGrid as model.sensors.lidar; for LTF set "
            "lidar_input=learned"
        )
    given = (1 + sensors.lidar.ground, round(2 * sensors.lidar.half_m * sensors.lidar.cells_per_m))
    expected = (backbone.lidar_channels, backbone.lidar_cells)
    if given != expected:
        raise ConfigError(
            f"model.sensors.lidar gives {given[0]} channels of {given[1]} cells a side, but model.backbone expects "
            f"lidar_channels={expected[0]}, lidar_cells={expected[1]}: make them agree"
        )
