"""Inverse dynamics: infers the action that turned one frame into the next.

A spatio-temporal transformer, causal in time, reads every pair of neighbouring frames and writes one
vector per action slot, which quantizer.py turns into a code. After LAPO (arXiv:2312.10812) and UniVLA's
latent action model (arXiv:2505.06111); LatentVLA (arXiv:2601.05611) has the same parts. We differ in
what a token is: both frames are fused per patch, by a small convolutional stem over the stacked
pictures, by the change of the features and by a correlation volume. A transformer that gets the two
frames as separate sets of tokens has to find the motion by itself, and hardly does.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from latentdrive.codebook.transformer import SpatioTemporalBlock


class MotionStem(nn.Module):
    """Stacked pictures → one vector per patch of `stride` pixels. It sees displacements smaller and
    larger than a patch.

    Convolutions as in FlowNetS (arXiv:1504.06852), with group norm in place of batch norm so that an
    example never depends on its batch.
    """

    def __init__(self, *, channels: int, width: int, stride: int) -> None:
        super().__init__()
        steps = (stride - 1).bit_length()  # for patches of 14 pixels, the picture is enlarged so that they have 16
        self.side = 1 << steps
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]  # the first halving loses no pixel and needs no weights
        channels *= 4
        for step in range(1, steps):
            out = max(32, width >> (steps - 1 - step))
            layers += [nn.Conv2d(channels, out, 3, 2, 1), nn.GroupNorm(8, out), nn.GELU()]
            channels = out
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, pictures: Float[Tensor, "N C H W"], grid: tuple[int, int]) -> Float[Tensor, "N D h w"]:
        """Vectors of all patches. pictures: in [-1, 1]; grid: patches down and across."""
        size = (grid[0] * self.side, grid[1] * self.side)
        if pictures.shape[-2:] != size:
            pictures = F.interpolate(pictures, size, mode="bilinear", align_corners=False)
        return self.layers(pictures)


class Correlation(nn.Module):
    """Similarity of each patch of the first frame to the patches around its place in the second one.

    As in FlowNetC (arXiv:1504.06852). The similarity is the cosine of the features, and 0 beyond the
    edge. reach: patches each way.
    """

    def __init__(self, *, grid: tuple[int, int], reach: int) -> None:
        super().__init__()
        rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
        steps = torch.arange(-reach, reach + 1)
        down, right = (step.flatten() for step in torch.meshgrid(steps, steps, indexing="ij"))
        row, column = rows.reshape(-1, 1) + down, columns.reshape(-1, 1) + right
        inside = (row >= 0) & (row < grid[0]) & (column >= 0) & (column < grid[1])
        self.channels = len(down)
        self.register_buffer("place", torch.where(inside, row * grid[1] + column, 0), persistent=False)
        self.register_buffer("inside", inside, persistent=False)

    def forward(self, first: Float[Tensor, "N C h w"], second: Float[Tensor, "N C h w"]) -> Float[Tensor, "N K h w"]:
        """Similarities for every displacement of up to `reach` patches; K displacements."""
        a, b = (F.normalize(part.flatten(2), dim=1) for part in (first, second))
        similarity = (a.transpose(1, 2) @ b).gather(2, self.place.expand(len(a), -1, -1)) * self.inside
        return similarity.transpose(1, 2).unflatten(2, first.shape[-2:])


class InverseDynamics(nn.Module):
    """Pairs of frames, perhaps with context → one continuous vector per slot.

    grid: patches down and across at the features' stride. pool: patches joined to a token, each way.
    reach: see Correlation. pictures: number of pictures that the stem stacks; 2, or 3 where the first
    is a prediction from motion. context_width: width of the context tokens (motion, or environment
    codes), 0 for none. sectors: slot k reads the k-th of `slots` vertical sectors of the picture, left
    to right (latentdrive default for the environment); otherwise every slot reads the whole picture.
    """

    def __init__(
        self,
        *,
        feature_channels: int,
        stride: int,
        grid: tuple[int, int],
        pool: int,
        reach: int,
        pictures: int,
        width: int,
        layers: int,
        heads: int,
        slots: int,
        code_width: int,
        context_width: int,
        sectors: bool,
    ) -> None:
        super().__init__()
        self.slots, self.sectors = slots, sectors
        self.stem = MotionStem(channels=3 * pictures, width=width, stride=stride)
        self.correlation = Correlation(grid=grid, reach=reach)
        self.fuse = nn.Conv2d(2 * feature_channels + self.correlation.channels, width, 1)
        self.down = nn.Conv2d(width, width, 5, pool, 2)  # wide: near the car half a second is many patches
        self.tokens = (-(-grid[0] // pool), -(-grid[1] // pool))
        self.positions = nn.Parameter(torch.randn(self.tokens[0] * self.tokens[1], width) * 0.02)
        self.queries = nn.Parameter(torch.randn(slots, width) * 0.02)
        self.context = nn.Linear(context_width, width) if context_width else None
        self.blocks = nn.ModuleList(SpatioTemporalBlock(width=width, heads=heads) for _ in range(layers))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, code_width))
        # Gives every slot's vectors mean 0 and variance 1 over the transitions. Without it they differ
        # far less between transitions than between slots: k-means finds the slots, and a slot always
        # gives the same code.
        self.spread = nn.BatchNorm1d(slots * code_width, affine=False, momentum=0.05)

    def forward(
        self,
        first: Float[Tensor, "B T C h w"],
        second: Float[Tensor, "B T C h w"],
        pictures: Float[Tensor, "B T P H W"],
        context: Float[Tensor, "B T n Dc"] | None,
    ) -> Float[Tensor, "B T slots Dk"]:
        """Vectors of all slots of every transition.

        first: features at the start of each transition, or their prediction from motion. second:
        features at its end. pictures: the pictures that belong to them, stacked. context: tokens of
        width `context_width`, or None.
        """
        batch, times = first.shape[:2]
        first, second = first.flatten(0, 1), second.flatten(0, 1)
        similarity = self.correlation(first, second).to(first.dtype)
        # Cosines are small beside standardised features; times 4 they weigh as much from the first step on.
        fused = self.fuse(torch.cat([first, second - first, 4 * similarity], 1))
        patches = self.down(F.gelu(fused + self.stem(pictures.flatten(0, 1), first.shape[-2:])))
        patches = patches.flatten(2).transpose(1, 2) + self.positions
        tokens = [self.queries.expand(batch * times, -1, -1).to(patches.dtype)]
        if self.context is not None:
            tokens.append(self.context(context.flatten(0, 1)))
        states = torch.cat([*tokens, patches], 1).unflatten(0, (batch, times))
        for block in self.blocks:
            states = block(states, self.slots)
        patches = (
            states[:, :, -self.tokens[0] * self.tokens[1] :].flatten(0, 1).transpose(1, 2).unflatten(2, self.tokens)
        )
        # The mean of the patches gives the gradient a short path; attention alone takes long to find
        # the motion.
        read = F.adaptive_avg_pool2d(patches, (1, self.slots if self.sectors else 1)).flatten(2).transpose(1, 2)
        vectors = self.head(states[:, :, : self.slots] + read.unflatten(0, (batch, times)))
        return self.spread(vectors.float().flatten(2).flatten(0, 1)).reshape(vectors.shape)
