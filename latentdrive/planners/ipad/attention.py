"""Deformable attention (arXiv:2010.04159) in plain PyTorch: a query reads a map at a few places near its anchors.

refiner.py uses it on the grid of queries and on the cameras' maps. Sampling is done in float32, also under autocast.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


def sample(
    maps: Float[Tensor, "n H d h w"], places: Float[Tensor, "n Q H p 2"], weights: Float[Tensor, "n Q H p"]
) -> Float[Tensor, "n Q D"]:
    """Weighted sums of maps at p places, interpolated bilinearly, for H heads of width d (D = H d).

    places: shares of width and height, from the upper left corner of the map; the map is 0 outside.
    """
    with torch.autocast(maps.device.type, enabled=False):
        grid = (2 * places.float() - 1).transpose(1, 2).flatten(0, 1)
        values = F.grid_sample(maps.float().flatten(0, 1), grid, align_corners=False)
        shares = weights.float().transpose(1, 2).flatten(0, 1)
        summed = (values * shares[:, None]).sum(-1)  # einsum would first copy `values` into another memory layout
    return summed.unflatten(0, maps.shape[:2]).permute(0, 3, 1, 2).flatten(2)


class Samples(nn.Module):
    """Predicts where queries read a map: offsets from their anchors, and weights that sum to 1 for each head.

    Initially every head looks in its own direction, its point k lies `radii[k]` cells away, and all points
    have the same weight.
    """

    def __init__(self, *, width: int, heads: int, radii: list[float]) -> None:
        super().__init__()
        self.heads, self.points = heads, len(radii)
        self.offsets = nn.Linear(width, heads * self.points * 2)
        self.weights = nn.Linear(width, heads * self.points)
        angle = torch.arange(heads) * (2 * math.pi / heads)
        direction = torch.stack([angle.cos(), angle.sin()], -1)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        nn.init.zeros_(self.offsets.weight)
        with torch.no_grad():
            self.offsets.bias.copy_((direction[:, None] * torch.tensor(radii)[:, None]).flatten())
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)

    def forward(
        self, queries: Float[Tensor, "B Q D"], cells: tuple[int, int]
    ) -> tuple[Float[Tensor, "B Q H p 2"], Float[Tensor, "B Q H p"]]:
        """Offsets as shares of a map of `cells` (rows, columns), and weights."""
        shape = (self.heads, self.points)
        offsets = self.offsets(queries).float().unflatten(-1, (*shape, 2))
        weights = self.weights(queries).float().unflatten(-1, shape).softmax(-1)
        return offsets / offsets.new_tensor([cells[1], cells[0]]), weights


class GridAttention(nn.Module):
    """Self-attention of queries on a grid of rows x columns: each reads the queries near its anchor on the grid."""

    def __init__(self, *, width: int, heads: int, points: int, rows: int, columns: int) -> None:
        super().__init__()
        self.cells = (rows, columns)
        self.samples = Samples(width=width, heads=heads, radii=[1.0 + k for k in range(points)])
        self.values, self.out = projection(width), projection(width)

    def forward(
        self, queries: Float[Tensor, "B Q D"], positions: Float[Tensor, "Q D"], places: Float[Tensor, "B Q 2"]
    ) -> Float[Tensor, "B Q D"]:
        """The attention output of each query.

        positions: added to the queries that choose where to look. places: the anchors.
        """
        offsets, weights = self.samples(queries + positions, self.cells)
        maps = by_head(self.values(queries).transpose(1, 2).unflatten(-1, self.cells), self.samples.heads)
        return self.out(sample(maps, places[:, :, None, None] + offsets, weights))


class CameraAttention(nn.Module):
    """Cross-attention to the cameras' maps: one sample near each anchor, averaged over the cameras that see an anchor.

    Initial offsets are one cell, a latentdrive default. In iPad's code they grow from 1 to 16 cells by
    point, which leaves the map.
    """

    def __init__(self, *, width: int, heads: int, points: int) -> None:
        super().__init__()
        self.samples = Samples(width=width, heads=heads, radii=[1.0] * points)
        self.values, self.out = nn.Conv2d(width, width, 1), projection(width)
        nn.init.xavier_uniform_(self.values.weight)
        nn.init.zeros_(self.values.bias)

    def read(self, maps: Float[Tensor, "B V D h w"]) -> Float[Tensor, "n H d h w"]:
        """Values of all cameras, n = B V; one call serves any number of passes."""
        return by_head(self.values(maps.flatten(0, 1)), self.samples.heads)

    def forward(
        self,
        queries: Float[Tensor, "B Q D"],
        values: Float[Tensor, "n H d h w"],
        places: Float[Tensor, "B V Q p 2"],
        seen: Bool[Tensor, "B V Q p"],
    ) -> Float[Tensor, "B Q D"]:
        """The attention output of each query; 0 where no camera sees its anchors. values: from `read`."""
        offsets, weights = self.samples(queries, tuple(values.shape[-2:]))
        cameras = places.shape[1]
        sampled = (places[:, :, :, None] + offsets[:, None]).flatten(0, 1)
        shares = weights[:, None].expand(-1, cameras, -1, -1, -1).flatten(0, 1)
        by_camera = sample(values, sampled, shares).unflatten(0, (-1, cameras))
        sees = seen.any(-1).to(by_camera.dtype)
        mean = (by_camera * sees[..., None]).sum(1) / sees.sum(1).clamp(min=1.0)[..., None]
        return self.out(mean) * sees.any(1)[..., None]


def by_head(maps: Float[Tensor, "n D h w"], heads: int) -> Float[Tensor, "n H d h w"]:
    """Maps with the channels of each head on an axis of their own."""
    return maps.unflatten(1, (heads, -1))


def projection(width: int) -> nn.Linear:
    """A linear layer, initialised as in deformable attention."""
    layer = nn.Linear(width, width)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
