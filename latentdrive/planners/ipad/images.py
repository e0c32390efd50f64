"""Camera features of iPad: a timm backbone and a feature pyramid give one map for each camera.

The pyramid has one level, made of the named stages of the backbone (iPad: the last stage of a ResNet-34).
In training, GridMask (arXiv:2001.04086) hides squares of the pictures, as in iPad's code: one mask a batch.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from latentdrive.backbones import IMAGENET_MEAN, IMAGENET_STD, TimmFeatures, load_published
from latentdrive.errors import ConfigError

TRAINED = ("all", "weights", "nothing")  # values of train_backbone


class CameraFeatures(nn.Module):
    """Feature maps of V cameras. A learned embedding of the camera, and one of the level, are added to each.

    stages: numbers of timm's feature levels; the maps have the grid of the finest. stride: pixels a cell of
    the coarsest. weights: as in backbones.py. normalise: by ImageNet's channel statistics.
    train_backbone: `all`; `weights` without the statistics of BatchNorm, for batches too small to estimate
    them; or `nothing`. grid_mask: probability of hiding squares in training.
    """

    def __init__(
        self,
        *,
        backbone: str,
        stages: list[int],
        stride: int,
        weights: str,
        normalise: bool,
        train_backbone: str,
        grid_mask: float,
        cameras: int,
        width: int,
    ) -> None:
        super().__init__()
        if train_backbone not in TRAINED:
            raise ConfigError(f"model.train_backbone must be one of {', '.join(TRAINED)}, got {train_backbone}")
        if train_backbone != "all" and weights == "none":
            raise ConfigError(
                f"model.train_backbone={train_backbone} needs published weights: set model.weights to package, hub "
                "or a file, or set train_backbone=all"
            )
        features = TimmFeatures(backbone=backbone, stages=list(stages), stride=stride, weights=weights)
        self.backbone = features.backbone.requires_grad_(train_backbone != "nothing")
        self.name, self.weights, self.train_backbone, self.stride = backbone, weights, train_backbone, stride
        self.normalise, self.grid_mask = normalise, grid_mask
        self.neck = FeaturePyramid(channels=self.backbone.feature_info.channels(), width=width)
        self.camera = nn.Parameter(torch.randn(cameras, width))
        self.level = nn.Parameter(torch.randn(width))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> "CameraFeatures":
        """Unless all of the backbone is trained, its BatchNorm keeps the published statistics."""
        super().train(mode)
        if self.train_backbone != "all":
            self.backbone.train(False)
        return self

    def load_pretrained(self) -> None:
        """Load the published weights that `weights` names."""
        load_published(self.backbone, backbone=self.name, weights=self.weights)

    def forward(self, cameras: UInt8[Tensor, "B V 3 H W"]) -> Float[Tensor, "B V D h w"]:
        """A map for each camera. Its cells cover the picture after padding to `padded_size`."""
        pixels = cameras.flatten(0, 1).float() / 255
        if self.normalise:
            pixels = (pixels - self.mean) / self.std
        height, width = padded_size(*pixels.shape[-2:], self.stride)
        pixels = F.pad(pixels, (0, width - pixels.shape[-1], 0, height - pixels.shape[-2]))
        if self.training and self.grid_mask > 0:
            pixels = grid_masked(pixels, self.grid_mask)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.train_backbone != "nothing"):
            maps = self.backbone(pixels)
        marks = (self.camera + self.level)[:, :, None, None]
        return self.neck(maps).unflatten(0, cameras.shape[:2]) + marks


class FeaturePyramid(nn.Module):
    """Joins stages of a backbone to one map of `width` on the finest grid (arXiv:1612.03144).

    1x1 convolutions, summed from coarse to fine, then a 3x3 convolution.
    """

    def __init__(self, *, channels: list[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.out = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, maps: list[Tensor]) -> Float[Tensor, "n D h w"]:
        """The joined map. maps: [n, channels, h, w] of each stage, finest first."""
        joined = self.lateral[-1](maps[-1])
        for lateral, finer in zip(reversed(self.lateral[:-1]), reversed(maps[:-1])):
            joined = lateral(finer) + F.interpolate(joined, finer.shape[-2:], mode="nearest")
        return self.out(joined)


def padded_size(height: int, width: int, stride: int) -> tuple[int, int]:
    """The size of a picture padded at its right and bottom so that cells of `stride` pixels cover it exactly."""
    return -(-height // stride) * stride, -(-width // stride) * stride


def grid_masked(pixels: Float[Tensor, "n 3 H W"], probability: float) -> Float[Tensor, "n 3 H W"]:
    """With this probability, the pictures with a grid of squares set to 0; otherwise unchanged.

    Period and shift come from torch's global random state. Half of each period is hidden in both
    directions, so a quarter of the picture is.
    """
    if torch.rand(()).item() >= probability:
        return pixels
    height, width = pixels.shape[-2:]
    period = int(torch.randint(2, max(height, 3), ()).item())
    shown = min(max(int(period * 0.5 + 0.5), 1), period - 1)
    down, right = torch.randint(period, (2,)).tolist()
    rows = (torch.arange(height, device=pixels.device) + down) % period < shown
    columns = (torch.arange(width, device=pixels.device) + right) % period < shown
    return pixels * (rows[:, None] | columns)
