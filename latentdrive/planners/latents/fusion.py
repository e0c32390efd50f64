"""Fusion of latent actions into a planner: what a teacher or student expects, offered to the planner's queries.

After LatentVLA (arXiv:2601.05611): the predictor's visual and action embeddings are pooled by multi-head attention, projected to the
planner's width, and serve as keys and values for cross-attention from its bird's-eye-view queries. The gate, pre-norm, the number
of pooled tokens and that tokens know their places are not published: latentdrive defaults. The gate starts at 0, so an untrained fusion
changes nothing.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from latentdrive.errors import WrongShape
from latentdrive.types import LatentFeatures

LONGEST = 10_000.0  # wavelength of `places`, in tokens


class AttentionPool(nn.Module):
    """`tokens` learned queries gather embeddings of `latent_width` into as many tokens of `width`.

    An embedding is told by its place, too: of which transition and slot a code is, where in the picture a visual token lies.
    """

    def __init__(self, *, latent_width: int, width: int, tokens: int, heads: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(width**-0.5 * torch.randn(tokens, width))
        self.norm = nn.LayerNorm(latent_width)  # states of a language model have outliers of many times their spread
        self.attention = nn.MultiheadAttention(width, heads, kdim=latent_width, vdim=latent_width, batch_first=True)
        self.project = nn.Linear(width, width)

    def forward(self, embeddings: Float[Tensor, "B N Dl"]) -> Float[Tensor, "B n D"]:
        """The pooled tokens."""
        seen = self.norm(embeddings)
        seen = seen + places(*seen.shape[1:], device=seen.device).to(seen.dtype)
        pooled, _ = self.attention(self.queries.expand(len(seen), -1, -1), seen, seen, need_weights=False)
        return self.project(pooled)


def places(count: int, width: int, *, device: torch.device | None = None) -> Float[Tensor, "N D"]:
    """Sines and cosines of each place in a sequence, as in the Transformer (arXiv:1706.03762): any number of tokens, nothing learned."""
    even = torch.arange(0, width, 2, dtype=torch.float32, device=device)
    angles = torch.arange(count, dtype=torch.float32, device=device)[:, None] * torch.exp(
        even * (-math.log(LONGEST) / width)
    )
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width]


class LatentFusion(nn.Module):
    """Queries of `width` look at a predictor's embeddings. visual_width, action_width: the teacher's, which its student shares.

    tokens: to how many the visual and the action embeddings are pooled, each.
    """

    def __init__(self, *, visual_width: int, action_width: int, width: int, tokens: int, heads: int) -> None:
        super().__init__()
        self.visual_width, self.action_width = visual_width, action_width
        self.visual = AttentionPool(latent_width=visual_width, width=width, tokens=tokens, heads=heads)
        self.action = AttentionPool(latent_width=action_width, width=width, tokens=tokens, heads=heads)
        self.norm_latents, self.norm_queries = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.gate = nn.Parameter(torch.zeros(width))

    def require_widths(self, latents: LatentFeatures) -> None:
        """Raise WrongShape for another teacher's widths."""
        for name, expected in (("visual", self.visual_width), ("action", self.action_width)):
            found = getattr(latents, name).shape[-1]
            if found != expected:
                raise WrongShape(
                    f"{name} embeddings are {found} wide, this planner's fusion takes {expected}: use the teacher (or its student) that "
                    f"it was made for, or train it with model.fusion.{name}_width={found}"
                )

    def read(self, latents: LatentFeatures) -> Float[Tensor, "B n D"]:
        """Keys and values for `forward`, made once however often queries look. Raises WrongShape for another teacher's widths."""
        self.require_widths(latents)
        weight = self.gate.dtype
        pooled = [self.visual(latents.visual.to(weight)), self.action(latents.action.to(weight))]
        return self.norm_latents(torch.cat(pooled, 1))

    def forward(self, queries: Float[Tensor, "B N D"], read: Float[Tensor, "B n D"]) -> Float[Tensor, "B N D"]:
        """The queries, plus what they find in `read`, gated."""
        found, _ = self.attention(self.norm_queries(queries), read, read, need_weights=False)
        return queries + self.gate * found
