"""Forward dynamics: predicts the next frame from the present one and the codes of an action.

`WarpForwardDynamics` (latentdrive default) predicts a flow field, moves the present frame's features and
pixels along it, and adds a correction. The published kind, `PlainForwardDynamics`, only adds a correction
and was found to ignore its codes. Both predict the change: with their last layers at zero the next frame is
a copy of the present one.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from latentdrive.codebook.transformer import SpatialBlock

# Flow fields that the conditions mix. The image of a rigid world moves by the sum of six fields, one for each
# degree of freedom of the camera.
FIELDS = 6


class Prediction(NamedTuple):
    """A predicted next frame. pixels: the small picture, RGB in [-1, 1]. flow: backward displacement, in patches."""

    features: Float[Tensor, "N C h w"]
    pixels: Float[Tensor, "N 3 H W"]
    flow: Float[Tensor, "N 2 fh fw"] | None


class _Trunk(nn.Module):
    """The transformer from patches of the present frame and condition tokens to patch states.

    Attention runs over tokens of `pool` x `pool` patches. Its result is spread over the patches again
    and joined with each patch's own features. The conditions enter twice: as tokens to attend to, and
    summed into every patch, so that depth (from the patch) and action meet in the first feed-forward
    layer. The first `sectors` conditions belong to vertical sectors of the picture, left to right: a
    patch gets that of its own sector, blended towards the neighbour's, and no token carries it.
    """

    def __init__(
        self,
        *,
        feature_channels: int,
        grid: tuple[int, int],
        pool: int,
        width: int,
        layers: int,
        heads: int,
        conditions: int,
        sectors: int,
        condition_width: int,
        patch_pixels: int,
    ) -> None:
        super().__init__()
        self.local = nn.Conv2d(feature_channels + 3 * patch_pixels**2, width, 1)
        self.down = nn.Conv2d(width, width, pool, pool)
        self.positions = nn.Parameter(torch.randn(grid[0] // pool * (grid[1] // pool), width) * 0.02)
        self.condition = nn.Linear(condition_width, width)
        self.slots = nn.Parameter(torch.randn(conditions - sectors, width) * 0.02)
        self.everywhere = nn.Linear((conditions - sectors) * condition_width, width)
        self.within = nn.Linear(condition_width, width) if sectors else None
        self.sectors = sectors
        self.blocks = nn.ModuleList(SpatialBlock(width=width, heads=heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.up = nn.Conv2d(width, width * pool**2, 1)
        self.join = nn.Conv2d(2 * width, width, 1)
        self.pool, self.patch_pixels = pool, patch_pixels

    def forward(
        self, features: Float[Tensor, "N C h w"], pixels: Float[Tensor, "N 3 H W"], conditions: Float[Tensor, "N n Dc"]
    ) -> tuple[Float[Tensor, "N D h w"], Float[Tensor, "N D h w"]]:
        """Patch states that depend on the conditions, and each patch's own features, which do not."""
        local = F.gelu(self.local(torch.cat([features, F.pixel_unshuffle(pixels, self.patch_pixels)], 1)))
        coarse = self.down(local)
        if self.within is not None:
            columns = self.within(conditions[:, : self.sectors]).transpose(1, 2)
            columns = F.interpolate(columns, coarse.shape[-1], mode="linear", align_corners=False)
            coarse = coarse + columns[:, :, None]
            conditions = conditions[:, self.sectors :]
        patches = coarse.flatten(2).transpose(1, 2) + self.positions + self.everywhere(conditions.flatten(1))[:, None]
        tokens = torch.cat([patches, self.condition(conditions) + self.slots], 1)
        for block in self.blocks:
            tokens = block(tokens)
        states = self.norm(tokens[:, : patches.shape[1]]).transpose(1, 2).unflatten(2, coarse.shape[-2:])
        states = F.pixel_shuffle(self.up(states), self.pool)
        return F.gelu(self.join(torch.cat([states, local], 1))), local


class PlainForwardDynamics(nn.Module):
    """The published kind: a spatial transformer that adds a correction to the present frame.

    conditions: number of condition tokens. sectors: how many of them belong to sectors, see _Trunk.
    patch_pixels: side of a patch in the small picture.
    """

    def __init__(
        self,
        *,
        feature_channels: int,
        grid: tuple[int, int],
        pool: int,
        width: int,
        layers: int,
        heads: int,
        conditions: int,
        sectors: int,
        condition_width: int,
        patch_pixels: int,
    ) -> None:
        super().__init__()
        self.trunk = _Trunk(
            feature_channels=feature_channels,
            grid=grid,
            pool=pool,
            width=width,
            layers=layers,
            heads=heads,
            conditions=conditions,
            sectors=sectors,
            condition_width=condition_width,
            patch_pixels=patch_pixels,
        )
        self.patch_pixels = patch_pixels
        self.correct_features = _zero(nn.Conv2d(width, feature_channels, 1))
        self.correct_pixels = _zero(nn.Conv2d(width, 3 * patch_pixels**2, 1))

    def forward(
        self, features: Float[Tensor, "N C h w"], pixels: Float[Tensor, "N 3 H W"], conditions: Float[Tensor, "N n Dc"]
    ) -> Prediction:
        """Predict the next frame. features, pixels: of the present one. conditions: vectors of codes and motion."""
        states, _ = self.trunk(features, pixels, conditions)
        correction = F.pixel_shuffle(self.correct_pixels(states), self.patch_pixels)
        return Prediction(features + self.correct_features(states), pixels + correction, None)


class WarpForwardDynamics(PlainForwardDynamics):
    """Moves the present frame along a predicted flow and corrects it.

    Conditions act through the flow alone: a code says where things go, never how they look. The
    correction sees the patch and its flow, and sends no gradient back into the flow. flow_cells: flow
    vectors per patch, each way.
    """

    def __init__(self, *, flow_cells: int, feature_channels: int, width: int, **trunk) -> None:
        super().__init__(feature_channels=feature_channels, width=width, **trunk)
        self.flow_cells = flow_cells
        self.flow = _zero(nn.Conv2d(width, 2 * flow_cells**2, 1))
        self.shares = nn.Linear((trunk["conditions"] - trunk["sectors"]) * trunk["condition_width"], FIELDS, bias=False)
        self.fields = _zero(nn.Conv2d(width, FIELDS * 2 * flow_cells**2, 1))
        self.correct = nn.Conv2d(width + 2 * flow_cells**2, width, 3, 1, 1)

    def forward(
        self, features: Float[Tensor, "N C h w"], pixels: Float[Tensor, "N 3 H W"], conditions: Float[Tensor, "N n Dc"]
    ) -> Prediction:
        """Predict the next frame, as PlainForwardDynamics does. conditions: those of sectors first."""
        states, local = self.trunk(features, pixels, conditions)
        shares = self.shares(conditions[:, self.trunk.sectors :].flatten(1))
        fields = self.fields(states).unflatten(1, (FIELDS, -1))
        flow = self.flow(states) + (shares[..., None, None, None] * fields).sum(1)
        moved = F.gelu(self.correct(torch.cat([local, flow.detach()], 1)))
        flow = F.pixel_shuffle(flow, self.flow_cells).float()
        correction = F.pixel_shuffle(self.correct_pixels(moved), self.patch_pixels)
        return Prediction(
            warp(features.float(), flow, features.shape[-2:]) + self.correct_features(moved),
            warp(pixels.float(), flow, features.shape[-2:]) + correction,
            flow,
        )


def warp(
    maps: Float[Tensor, "N C H W"], flow: Float[Tensor, "N 2 fh fw"], grid: tuple[int, int] | torch.Size
) -> Float[Tensor, "N C H W"]:
    """Give every place the value from where its flow points; beyond the edge, that of the edge.

    flow: right and down, in patches of `grid`. A map whose flow holds NaN or infinity becomes NaN.
    """
    height, width = maps.shape[-2:]
    # With NaN coordinates, the backward pass of grid_sample reads outside its memory (seen with PyTorch 2.14).
    finite = torch.isfinite(flow)
    flow = torch.where(finite, flow, 0.0)
    if flow.shape[-2:] != (height, width):
        flow = F.interpolate(flow, (height, width), mode="bilinear", align_corners=False)
    across = (torch.arange(width, device=maps.device, dtype=maps.dtype) + 0.5) * (2 / width) - 1
    down = (torch.arange(height, device=maps.device, dtype=maps.dtype) + 0.5) * (2 / height) - 1
    place = torch.stack(torch.broadcast_tensors(across[None, :], down[:, None]), -1)
    scale = torch.tensor([2 / grid[1], 2 / grid[0]], device=maps.device, dtype=maps.dtype)
    place = place + flow.permute(0, 2, 3, 1) * scale
    sampled = F.grid_sample(maps, place, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.add_(torch.where(finite.flatten(1).all(1), 0.0, torch.nan)[:, None, None, None])


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
