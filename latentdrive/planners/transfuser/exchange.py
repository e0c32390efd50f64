"""Exchange between camera and LiDAR: a small transformer reads a few tokens of both maps and adds to both.

backbone.py runs one exchange after each stage. Transfuser (arXiv:2205.15997), in NAVSIM's variant.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from latentdrive.errors import ConfigError

INIT_STD = 0.02  # standard deviation of the initial weights of the transformer's linear layers


class Attention(nn.Module):
    """Self-attention over all tokens. dropout: of the attention weights, and of the output."""

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(
                f"model.backbone.exchange_heads={heads} must divide the channels of every stage of the image "
                f"backbone, and one has {width}: choose another number of heads"
            )
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """The projected output of self-attention for each token."""
        query, key, value = (
            layer(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return F.dropout(self.out(attended.transpose(1, 2).flatten(2)), dropout)


class Block(nn.Module):
    """A pre-norm transformer layer: attention, then a feed-forward network of four times the width with ReLU."""

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_attention, self.norm_feedforward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width=width, heads=heads, dropout=dropout)
        self.feedforward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width), nn.Dropout(dropout)
        )

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """The tokens after this layer."""
        tokens = tokens + self.attention(self.norm_attention(tokens))
        return tokens + self.feedforward(self.norm_feedforward(tokens))


class Exchange(nn.Module):
    """Pools both maps to tokens, runs a transformer over all tokens, and adds its output to both maps.

    image_width, lidar_width: channels of the maps of this stage; the transformer is as wide as the image
    map. image_anchors, lidar_anchors: rows and columns that the maps are pooled to.
    """

    def __init__(
        self,
        *,
        image_width: int,
        lidar_width: int,
        image_anchors: tuple[int, int],
        lidar_anchors: tuple[int, int],
        blocks: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.image_anchors, self.lidar_anchors = image_anchors, lidar_anchors
        self.lidar_in = nn.Conv2d(lidar_width, image_width, 1)
        self.lidar_out = nn.Conv2d(image_width, lidar_width, 1)
        tokens = image_anchors[0] * image_anchors[1] + lidar_anchors[0] * lidar_anchors[1]
        self.positions = nn.Parameter(torch.zeros(1, tokens, image_width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width=image_width, heads=heads, dropout=dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(image_width)
        for layer in self.blocks.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=INIT_STD)
                nn.init.zeros_(layer.bias)

    def forward(
        self, image: Float[Tensor, "B Ci Hi Wi"], lidar: Float[Tensor, "B Cl Hl Wl"]
    ) -> tuple[Float[Tensor, "B Ci Hi Wi"], Float[Tensor, "B Cl Hl Wl"]]:
        """Both maps plus the transformer's output for their tokens, scaled to the maps' sizes."""
        image_tokens = F.adaptive_avg_pool2d(image, self.image_anchors).flatten(2)
        lidar_tokens = self.lidar_in(F.adaptive_avg_pool2d(lidar, self.lidar_anchors)).flatten(2)
        tokens = self.dropout(torch.cat([image_tokens, lidar_tokens], 2).transpose(1, 2) + self.positions)
        for block in self.blocks:
            tokens = block(tokens)
        output, images = self.norm(tokens).transpose(1, 2), image_tokens.shape[-1]
        to_image = output[..., :images].unflatten(-1, self.image_anchors)
        to_lidar = self.lidar_out(output[..., images:].unflatten(-1, self.lidar_anchors))
        return image + _scaled(to_image, image), lidar + _scaled(to_lidar, lidar)


def _scaled(small: Float[Tensor, "B C h w"], like: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    return F.interpolate(small, like.shape[-2:], mode="bilinear", align_corners=False)
