"""From a panorama and a LiDAR histogram to one bird's-eye-view map, by two networks that exchange features.

After exchange.py, before model.py. The output is the LiDAR network's last map, which the exchanges have
filled with image features. Latent Transfuser (LTF) replaces the histogram by a learned grid, so it plans
from cameras alone. Constructors read no files and download nothing.
"""

import timm
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from latentdrive.backbones import IMAGENET_MEAN, IMAGENET_STD, load_published, require_known
from latentdrive.checkpoint_parts import checkpoint_part
from latentdrive.counting import counted
from latentdrive.errors import ConfigError
from latentdrive.planners.transfuser.exchange import Exchange

STAGES = 4
USUAL_STRIDE = 32  # default stride of the last stage of timm's convolutional networks


class StagedNetwork(nn.Module):
    """A timm backbone that is run stage by stage.

    name: timm's. channels_in: of its input. stride: input cells a cell of the last map. frozen: how many
    of the first stages keep their weights and batch statistics. channels: of the maps of its four stages.
    """

    def __init__(self, *, name: str, channels_in: int, stride: int, frozen: int) -> None:
        super().__init__()
        require_known(name)
        self.name, self.stride = name, stride
        with torch.device("meta"):
            stages = [stage["module"] for stage in timm.create_model(name).feature_info]
        # EfficientNets hold their stages in one Sequential, which timm splits on request.
        blocks = {"feature_cfg": {"flatten_sequential": True}} if stages[-1].startswith("blocks.") else {}
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
                f"{name} has {counted(len(ends), 'stage')} with strides {info.reduction()}, but Transfuser needs "
                f"{STAGES} stages, the last of stride {stride}: choose another timm backbone"
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
        """Frozen stages stay in evaluation mode, so that their batch statistics do not change."""
        super().train(mode)
        for layer in self._frozen:
            layer.eval()
        return self

    def stage(self, number: int, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """The output map of stage `number`, counted from 0. maps: that of the stage before, or the network's input."""
        for layer in self._parts[number]:
            maps = self.network[layer](maps)
        return maps


@checkpoint_part
class TransfuserBackbone(nn.Module):
    """Camera and LiDAR as one map in bird's-eye view.

    image, lidar: names of timm backbones. image_weights: published weights of the image backbone (package,
    hub, a file, or none). image_frozen: how many of its first stages keep them. normalise: scale colours
    by ImageNet's statistics, which NAVSIM does not do. lidar_input: `points` for the histogram, `learned`
    for LTF's grid. lidar_channels: of this input; lidar_cells: its cells along x and along y.
    lidar_stride: input cells a cell of the last map. exchange_blocks and the rest: see Exchange.
    """

    def __init__(
        self,
        *,
        image: str,
        image_weights: str,
        image_frozen: int,
        normalise: bool,
        lidar: str,
        lidar_input: str,
        lidar_channels: int,
        lidar_cells: int,
        lidar_stride: int,
        image_anchors: tuple[int, int],
        lidar_anchors: tuple[int, int],
        exchange_blocks: int,
        exchange_heads: int,
        exchange_dropout: float,
    ) -> None:
        super().__init__()
        if lidar_input not in ("points", "learned"):
            raise ConfigError(f"model.backbone.lidar_input must be points or learned, got {lidar_input}")
        if image_frozen and image_weights == "none":
            raise ConfigError(
                f"model.backbone.image_frozen={image_frozen} keeps published weights, but image_weights=none has "
                "none: set image_weights to package, hub or a file, or set image_frozen to 0"
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
        """Channels of the output map."""
        return self.lidar.channels[-1]

    @property
    def cells(self) -> int:
        """Cells of the output map along x, and along y."""
        return -(-self.lidar_cells // self.lidar.stride)

    def forward(
        self, camera: UInt8[Tensor, "B 3 H W"], lidar: Float[Tensor, "B L X Y"] | None
    ) -> list[Float[Tensor, "B _ _ _"]]:
        """The maps of all stages, finest first; their first axis is forward.

        camera: the RGB panorama. lidar: the histogram; ignored with a learned grid.
        """
        image = ((camera.float() / 255 - self.pixel_mean) / self.pixel_std).contiguous(
            memory_format=torch.channels_last
        )
        ground, maps = lidar if self.grid is None else self.grid, []
        for number, exchange in enumerate(self.exchanges):
            image, ground = self.image.stage(number, image), self.lidar.stage(number, ground)
            # The learned grid is the same for all scenes up to the first exchange, so its first stage runs only once.
            image, ground = exchange(image, ground.expand(len(image), -1, -1, -1))
            maps.append(ground)
        return maps

    def load_pretrained(self) -> None:
        """Load the published weights of the image backbone. The LiDAR backbone has none."""
        load_published(self.image.network, backbone=self.image.name, weights=self.image_weights)
