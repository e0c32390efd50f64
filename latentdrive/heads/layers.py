"""The layer of the recurrent-depth head (RD-VLA, arXiv:2602.07845): self-attention of the rows, then
reading from the features, then a gated feed-forward part. No layer has a bias.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

LONGEST = 10_000.0  # base of the rotary wavelengths, in rows
EXPANSION = 4  # of the feed-forward part


class Features(NamedTuple):
    """What a layer reads of one depth of a network. tokens: latent tokens, and the ego's state as one more."""

    tokens: Float[Tensor, "B N Dt"]
    vision: Float[Tensor, "B M Dv"]


class KeysValues(NamedTuple):
    """Keys and values of Features; they serve every step, because the features don't change from step to step."""

    token_keys: Float[Tensor, "B H N d"]
    vision_keys: Float[Tensor, "B H M d"]
    values: Float[Tensor, "B H n d"]  # of the tokens, then of the vision: n = N + M

    def of(self, rows: Tensor) -> "KeysValues":
        """Those of some samples. rows: their indices, or a mask of all samples."""
        return KeysValues(self.token_keys[rows], self.vision_keys[rows], self.values[rows])


def rotate(queries: Float[Tensor, "*batch K d"]) -> Float[Tensor, "*batch K d"]:
    """Rotary position embeddings (arXiv:2104.09864): row k is turned by k times the angle of each pair of channels."""
    rows, width = queries.shape[-2:]
    even = torch.arange(0, width, 2, dtype=torch.float32, device=queries.device)
    angles = torch.arange(rows, dtype=torch.float32, device=queries.device)[:, None] * LONGEST ** (-even / width)
    sine, cosine = angles.sin().to(queries.dtype), angles.cos().to(queries.dtype)
    first, second = queries.unflatten(-1, (2, -1)).unbind(-2)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], -1)


class SelfAttention(nn.Module):
    """Attention of all rows to all rows, with rotary positions."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, rows: Float[Tensor, "B K D"]) -> Float[Tensor, "B K D"]:
        """What each row takes over from the others."""
        query, key, value = self.qkv(rows).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        read = F.scaled_dot_product_attention(rotate(query), rotate(key), value)
        return self.out(read.transpose(1, 2).flatten(2))


class GatedReading(nn.Module):
    """Cross-attention from rows to features, with one softmax over tokens and vision.

    Both have projections of their own. The logits of the vision are multiplied by tanh(gate), and the gate
    starts at 0: at first the vision is read evenly, whatever it shows.
    """

    def __init__(self, *, width: int, heads: int, token_width: int, vision_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.out = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.tokens = nn.Linear(token_width, 2 * width, bias=False)
        self.vision = nn.Linear(vision_width, 2 * width, bias=False)
        self.gate = nn.Parameter(torch.zeros(()))

    def keys_values(self, features: Features) -> KeysValues:
        """Keys and values; one call serves any number of steps."""
        of_tokens, of_vision = (
            projection(read).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
            for projection, read in ((self.tokens, features.tokens), (self.vision, features.vision))
        )
        return KeysValues(of_tokens[0], of_vision[0], torch.cat([of_tokens[1], of_vision[1]], 2))

    def forward(self, rows: Float[Tensor, "B K D"], read: KeysValues) -> Float[Tensor, "B K D"]:
        """What each row takes over from the features."""
        query = self.query(rows).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        # Scaling the keys by the gate scales the logits, and leaves the rest to the fused attention.
        keys = torch.cat([read.token_keys, self.gate.tanh() * read.vision_keys], 2)
        attended = F.scaled_dot_product_attention(query, keys, read.values)
        return self.out(attended.transpose(1, 2).flatten(2))


class GatedFeedForward(nn.Module):
    """SwiGLU (arXiv:2002.05202)."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(width, 2 * EXPANSION * width, bias=False)
        self.out = nn.Linear(EXPANSION * width, width, bias=False)

    def forward(self, rows: Float[Tensor, "B K D"]) -> Float[Tensor, "B K D"]:
        """Each row by itself."""
        gate, value = self.enter(rows).chunk(2, -1)
        return self.out(F.silu(gate) * value)


class HeadLayer(nn.Module):
    """One layer: the rows see each other, read the features, and are transformed one by one. Each is pre-normed."""

    def __init__(self, *, width: int, heads: int, token_width: int, vision_width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(3))
        self.attention = SelfAttention(width=width, heads=heads)
        self.reading = GatedReading(width=width, heads=heads, token_width=token_width, vision_width=vision_width)
        self.feed_forward = GatedFeedForward(width=width)

    def forward(self, rows: Float[Tensor, "B K D"], read: KeysValues) -> Float[Tensor, "B K D"]:
        """The rows after the layer. read: from `reading.keys_values`."""
        rows = rows + self.attention(self.norms[0](rows))
        rows = rows + self.reading(self.norms[1](rows), read)
        return rows + self.feed_forward(self.norms[2](rows))

    @property
    def outputs(self) -> list[nn.Linear]:
        """The projections that are added to the rows; the head starts them smaller than the others."""
        return [self.attention.out, self.reading.out, self.feed_forward.out]
