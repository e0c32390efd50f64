"""From a panorama and a LiDAR histogram to one bird's-eye-view map: two convolutional networks that exchange after every stage.

After exchange.py, before model.py. The LiDAR's map comes out, with what the camera told it. Latent Transfuser (LTF) puts a learned grid
in the place of the histogram, and so plans from cameras alone. Constructors touch neither files nor network.
"""

import timm
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from latentdrive.backbones import IMAGENET_MEAN, IMAGENET_STD, load_published, require_known
from latentdrive.errors import ConfigError
from latentdrive.planners.transfuser.exchange import Exchange

STAGES = 4
USUAL_STRIDE = 32  # of the last stage of timm's convolutional networks, unless told otherwise


class StagedNetwork(nn.Module):
    """A timm backbone that is run stage by stage. name: timm's. channels_in: of its input. stride: cells a cell of its last map.

    frozen: how many of the first stages keep their weights (and batch statistics). channels: of the maps of its four stages.
    """

    def __init__(self, *, name: str, channels_in: int, stride: int, frozen: int) -> None:
        super().__init__()
        require_known(name)
        self.name, self.stride = name, stride
        with torch.device("meta"):
            places = [one["module"] for one in timm.create_model(name).feature_info]
        # EfficientNets hold their stages in one Sequential, which timm takes apart when told to.
        blocks = {"feature_cfg": {"flatten_sequential": True}} if places[-1].startswith("blocks.") else {}
        self.network = timm.create_model(
            name,
            pretrained=False,
            features_only=True,
            in_chans=channels_in,
            feature_cls="list",
            **blocks,
            **({} if stride == USUAL_STRIDE else {"output_stride": stride}),
        ).to(memory_format=torch.channels_last)  # up to twice as fast on a CPU, as in backbones.py
        info, ends = self.network.feature_info, list(self.network.return_layers)[-STAGES:]
        if len(ends) < STAGES or info.reduction()[-1] != stride:
            raise ConfigError(
                f"{name} has {len(ends)} stages and strides {info.reduction()}; needed: {STAGES} stages, the last of stride {stride}"
            )
        self.channels = tuple(info.channels()[-STAGES:])
        self._parts: list[list[str]] = [[]]
        for layer in self.network:
            self._parts[-1].append(layer)
            if layer in ends:
                self._parts.append([])
        self._frozen = [self.network[layer] for part in self._parts[:frozen] for layer in part]
        for layer in self._frozen:
            layer.requires_grad_(False)

    def train(self, mode: bool = True) -> "StagedNetwork":
        """Batch statistics of frozen stages must not move."""
        super().train(mode)
        for layer in self._frozen:
            layer.eval()
        return self

    def stage(self, number: int, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """The map after stage `number` (from 0) from the one before it; before stage 0 that is the input."""
        for layer in self._parts[number]:
            maps = self.network[layer](maps)
        return maps


class TransfuserBackbone(nn.Module):
    """Camera and LiDAR as one map in bird's-eye view. image, lidar: names of timm backbones.

    lidar_input: `points` for the histogram, `learned` for LTF's grid. lidar_channels, lidar_cells: of that, cells along x and y.
    lidar_stride: cells a cell of the last map. image_weights: published weights of the image backbone (package, hub, a file, none).
    image_frozen: how many of its first stages keep them. normalise: scale colours by ImageNet's statistics (NAVSIM does not).
    """

    def __init__(
        self, *, image: str, image_weights: str, image_frozen: int, normalise: bool, lidar: str, lidar_input: str, lidar_channels: int,
        lidar_cells: int, lidar_stride: int, image_anchors: tuple[int, int], lidar_anchors: tuple[int, int], exchange_blocks: int,
        exchange_heads: int, exchange_dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        if lidar_input not in ("points", "learned"):
            raise ConfigError(f"model.backbone.lidar_input is points or learned, got {lidar_input}")
        if image_frozen and image_weights == "none":
            raise ConfigError(
                f"model.backbone.image_frozen={image_frozen} keeps published weights, and image_weights=none has none: set it to package, hub or "
                "a file, or image_frozen to 0"
            )
        self.image = StagedNetwork(name=image, channels_in=3, stride=USUAL_STRIDE, frozen=image_frozen)
        self.lidar = StagedNetwork(name=lidar, channels_in=lidar_channels, stride=lidar_stride, frozen=0)
        self.image_weights, self.lidar_cells, self.lidar_channels = image_weights, lidar_cells, lidar_channels
        shape = (1, lidar_channels, lidar_cells, lidar_cells)
        self.grid = nn.Parameter(torch.randn(shape)) if lidar_input == "learned" else None
        self.exchanges = nn.ModuleList(
            Exchange(
                image_width=image_width,
                lidar_width=lidar_width,
                image_anchors=tuple(image_anchors),
                lidar_anchors=tuple(lidar_anchors),
                blocks=exchange_blocks,
                heads=exchange_heads,
                dropout=exchange_dropout,
            )
            for image_width, lidar_width in zip(self.image.channels, self.lidar.channels)
        )
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if normalise else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("pixel_mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(std).view(3, 1, 1), persistent=False)

    @property
    def channels(self) -> int:
        """Of the map that comes out."""
        return self.lidar.channels[-1]

    @property
    def cells(self) -> int:
        """Of the map that comes out, along x and along y."""
        return -(-self.lidar_cells // self.lidar.stride)

    def forward(
        self, camera: UInt8[Tensor, "B 3 H W"], lidar: Float[Tensor, "B L X Y"] | None
    ) -> Float[Tensor, "B C x y"]:
        """The map, first axis forward. camera: the panorama, RGB. lidar: the histogram; not looked at with a learned grid."""
        image = ((camera.float() / 255 - self.pixel_mean) / self.pixel_std).contiguous(
            memory_format=torch.channels_last
        )
        ground = lidar if self.grid is None else self.grid
        for number, exchange in enumerate(self.exchanges):
            image, ground = self.image.stage(number, image), self.lidar.stage(number, ground)
            # The learned grid is the same for all scenes until the first exchange: its first stage is run once.
            image, ground = exchange(image, ground.expand(len(image), -1, -1, -1))
        return ground

    def load_pretrained(self) -> None:
        """Load the published weights of the image backbone; the LiDAR's has none."""
        load_published(self.image.network, backbone=self.image.name, weights=self.image_weights)
