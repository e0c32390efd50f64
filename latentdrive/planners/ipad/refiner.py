"""The step that iPad repeats: decode proposals from the queries, then let the queries look where the proposals lead.

One Refiner serves all passes, so the passes share their weights.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentdrive.planners.ipad.anchors import box_points, heights_between, on_grid, project
from latentdrive.planners.ipad.attention import CameraAttention, GridAttention
from latentdrive.planners.learned import run_in_weight_dtype
from latentdrive.types import FROZEN

CORNERS = 4


@dataclass(**FROZEN)
class Views:
    """The cameras of B scenes, the same in all passes.

    values: attention values of their maps by head, n = B V. intrinsics, camera_to_ego: as in PlannerInputs.
    height, width: of the padded pictures that the maps cover.
    """

    values: Float[Tensor, "n H d h w"]
    intrinsics: Float[Tensor, "B V 3 3"]
    camera_to_ego: Float[Tensor, "B V 4 4"]
    height: int
    width: int

    def locate(self, points: Float[Tensor, "B Q n 3"]) -> tuple[Float[Tensor, "B V Q n 2"], Bool[Tensor, "B V Q n"]]:
        """Places of points of the ego frame in the pictures, and whether the pictures show them."""
        return project(points, self.intrinsics, self.camera_to_ego, height=self.height, width=self.width)


class Mlp(nn.Module):
    """Two hidden layers with LayerNorm and ReLU, as in iPad's code. The last layer runs in float32."""

    def __init__(self, *, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden),
            nn.LayerNorm(hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.LayerNorm(hidden),
            nn.ReLU(),
        )
        self.last = nn.Linear(hidden, out)

    def forward(self, inputs: Float[Tensor, "*n D"]) -> Float[Tensor, "*n out"]:
        """The output, float32."""
        return run_in_weight_dtype(self.last, self.layers(inputs))


class Refiner(nn.Module):
    """Decodes `proposals` x `poses` queries of `width` to proposals, and updates the queries.

    heads, hidden: of attention and feed-forward. grid_points: places on the grid of queries that a query
    reads (iPad's code samples each of 4 places twice). heights: number of heights between low_m and high_m
    at which corners of the ego's box are projected. reach_m: half the side of the square that the grid of
    queries covers. pose_units: metres, metres and radians that an output of 1 stands for (iPad: 1, 1, 1).
    """

    def __init__(
        self,
        *,
        proposals: int,
        poses: int,
        width: int,
        hidden: int,
        heads: int,
        grid_points: int,
        heights: int,
        low_m: float,
        high_m: float,
        reach_m: float,
        pose_units: list[float],
    ) -> None:
        super().__init__()
        self.shape, self.reach_m = (proposals, poses), reach_m
        self.decode = Mlp(width=width, hidden=hidden, out=3)
        self.row, self.column = (nn.Parameter(torch.rand(count, width // 2)) for count in self.shape)
        self.own = GridAttention(width=width, heads=heads, points=grid_points, rows=proposals, columns=poses)
        self.cameras = CameraAttention(width=width, heads=heads, points=CORNERS * heights)
        self.forward_layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.norm_own, self.norm_cameras, self.norm_out = (nn.LayerNorm(width) for _ in range(3))
        self.register_buffer("heights_m", heights_between(low_m, high_m, heights), persistent=False)
        self.register_buffer("pose_units", torch.tensor(pose_units), persistent=False)

    def propose(self, queries: Float[Tensor, "B Q D"]) -> Float[Tensor, "B M P 3"]:
        """The proposals that the queries encode, as poses in the ego frame of now."""
        return self.decode(queries).unflatten(1, self.shape) * self.pose_units

    def forward(
        self, queries: Float[Tensor, "B Q D"], proposals: Float[Tensor, "B M P 3"], views: Views
    ) -> Float[Tensor, "B Q D"]:
        """The queries after they read each other and the cameras. Anchors carry no gradient back to `proposals`."""
        poses = proposals.detach().flatten(1, 2)
        queries = self.norm_own(queries + self.own(queries, self.positions(), on_grid(poses, self.reach_m)))
        places, seen = views.locate(box_points(poses, self.heights_m))
        queries = self.norm_cameras(queries + self.cameras(queries, views.values, places, seen))
        return self.norm_out(queries + self.forward_layers(queries))

    def positions(self) -> Float[Tensor, "Q D"]:
        """A learned position embedding for every query: half of it for its pose, half for its proposal."""
        rows, columns = self.shape
        pose, proposal = self.column.expand(rows, -1, -1), self.row[:, None].expand(-1, columns, -1)
        return torch.cat([pose, proposal], -1).flatten(0, 1)
