"""The two transformer blocks of inverse and forward dynamics: spatial, and spatio-temporal, causal in time."""

from contextlib import nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel


class SpatialBlock(nn.TransformerEncoderLayer):
    """A pre-norm transformer layer with a fourfold feed-forward part, over tokens [batch, tokens, width]."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__(width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Every token sees every token."""
        # On a CPU the backward pass of torch's fused attention takes ten times as long (measured in
        # bfloat16).
        with sdpa_kernel(SDPBackend.MATH) if tokens.device.type == "cpu" else nullcontext():
            return super().forward(tokens)


class SpatioTemporalBlock(nn.Module):
    """Attention over the tokens of one transition, then of each slot over its own past transitions.

    Time is causal: a slot of transition t depends on the transitions up to t. Patches already join two
    frames, so only slots attend over time, which keeps the cost linear in the number of transitions.
    """

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.space = SpatialBlock(width=width, heads=heads)
        self.norm = nn.LayerNorm(width)
        self.time = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, tokens: Float[Tensor, "B T N D"], slots: int) -> Float[Tensor, "B T N D"]:
        """The tokens after both attentions. The first `slots` tokens of every transition are its slots."""
        batch, times, _, width = tokens.shape
        tokens = self.space(tokens.flatten(0, 1)).unflatten(0, (batch, times))
        past = self.norm(tokens[:, :, :slots]).transpose(1, 2).reshape(batch * slots, times, width)
        mask = nn.Transformer.generate_square_subsequent_mask(times, device=tokens.device, dtype=past.dtype)
        read, _ = self.time(past, past, past, attn_mask=mask, is_causal=True, need_weights=False)
        read = read.reshape(batch, slots, times, width).transpose(1, 2)
        return torch.cat([tokens[:, :, :slots] + read, tokens[:, :, slots:]], 2)
