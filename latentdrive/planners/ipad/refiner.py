"""The step that iPad repeats: read the proposals off the queries, then let the queries look where these lead.

After images.py, before heads.py. One Refiner serves all passes, so passes share their weights by construction.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from latentdrive.planners.ipad.anchors import box_points, heights_between, on_grid, project
from latentdrive.planners.ipad.attention import CameraAttention, GridAttention
from latentdrive.planners.learned import in_full
from latentdrive.types import FROZEN

CORNERS = 4


@dataclass(**FROZEN)
class Views:
    """What the cameras show in all passes. values: of their maps, by head, n = B V; calibration as in PlannerInputs; height, width: of the
    pictures that the maps cover."""

    values: Float[Tensor, "n H d h w"]
    intrinsics: Float[Tensor, "B V 3 3"]
    camera_to_ego: Float[Tensor, "B V 4 4"]
    height: int
    width: int

    def locate(self, points: Float[Tensor, "B Q n 3"]) -> tuple[Float[Tensor, "B V Q n 2"], Bool[Tensor, "B V Q n"]]:
        """Places of points in the pictures, and whether they are seen."""
        return project(points, self.intrinsics, self.camera_to_ego, height=self.height, width=self.width)


class Mlp(nn.Module):
    """Two hidden layers with LayerNorm and ReLU, as in iPad's code. The last layer is in float32."""

    def __init__(self, *, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.ReLU(),
            nn.Linear(hidden, hidden), nn.LayerNorm(hidden), nn.ReLU(),
        )  # fmt: skip
        self.last = nn.Linear(hidden, out)

    def forward(self, inputs: Float[Tensor, "*n D"]) -> Float[Tensor, "*n out"]:
        """The layers, one behind the other."""
        return in_full(self.last, self.layers(inputs))


class Refiner(nn.Module):
    """proposals x poses queries of `width`. heads, hidden: of attention and feed-forward. grid_points: places that a query looks at among
    the queries (iPad's code samples each of 4 twice, alike). heights: how many, between low_m and high_m. reach_m: half side of the
    square that the grid of queries stands for. pose_units: metres, metres, radians for which the network says 1 (iPad: 1, 1, 1)."""

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
        """The proposals that the queries stand for, poses in the ego frame of now."""
        return self.decode(queries).unflatten(1, self.shape) * self.pose_units

    def forward(
        self, queries: Float[Tensor, "B Q D"], proposals: Float[Tensor, "B M P 3"], views: Views
    ) -> Float[Tensor, "B Q D"]:
        """The queries after they looked at each other and at the cameras. No gradient flows through where they look from."""
        poses = proposals.detach().flatten(1, 2)
        queries = self.norm_own(queries + self.own(queries, self.marks(), on_grid(poses, self.reach_m)))
        places, seen = views.locate(box_points(poses, self.heights_m))
        queries = self.norm_cameras(queries + self.cameras(queries, views.values, places, seen))
        return self.norm_out(queries + self.forward_layers(queries))

    def marks(self) -> Float[Tensor, "Q D"]:
        """A learned position for every query: which pose, of which proposal."""
        rows, columns = self.shape
        pose, proposal = self.column.expand(rows, -1, -1), self.row[:, None].expand(-1, columns, -1)
        return torch.cat([pose, proposal], -1).flatten(0, 1)
