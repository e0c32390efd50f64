"""Fusion of latent actions into a planner: the planner's queries look at a teacher's or student's embeddings.

After LatentVLA (arXiv:2601.05611): the predictor's visual and action embeddings are pooled by
multi-head attention, projected to the planner's width, and serve as keys and values for
cross-attention from the planner's queries. LatentVLA does not publish the gate, the pre-norm, the number
of pooled tokens, or whether embeddings carry positions: here these are latentdrive defaults. The gate
starts at 0, so an untrained fusion changes nothing.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from latentdrive.checkpoint_parts import checkpoint_part
from latentdrive.errors import MixedCodebooks, WrongShape
from latentdrive.identity import FormerIds, same_id
from latentdrive.types import LatentFeatures, Origin, Scene, SceneSource, SensorNeeds

LONGEST = 10_000.0  # longest wavelength of `positions`, in tokens


class AttentionPool(nn.Module):
    """Learned queries pool any number of embeddings of `latent_width` into `tokens` tokens of `width`.

    The embeddings are marked with their positions in the sequence: for a code its transition and slot,
    for a visual token its place in the picture.
    """

    def __init__(self, *, latent_width: int, width: int, tokens: int, heads: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(width**-0.5 * torch.randn(tokens, width))
        # Hidden states of a language model have outliers of many times their standard deviation.
        self.norm = nn.LayerNorm(latent_width)
        self.attention = nn.MultiheadAttention(width, heads, kdim=latent_width, vdim=latent_width, batch_first=True)
        self.project = nn.Linear(width, width)

    def forward(self, embeddings: Float[Tensor, "B N Dl"]) -> Float[Tensor, "B n D"]:
        """The pooled tokens."""
        marked = self.norm(embeddings)
        marked = marked + positions(*marked.shape[1:], device=marked.device).to(marked.dtype)
        pooled, _ = self.attention(self.queries.expand(len(marked), -1, -1), marked, marked, need_weights=False)
        return self.project(pooled)


def require_widths(latents: LatentFeatures, *, visual: int, action: int, reader: str, node: str) -> None:
    """Raise WrongShape where embeddings have other widths than these. reader: what takes them, in words. node: of the
    configuration that gives its widths.
    """
    for name, width, expected in (
        ("visual", latents.visual.shape[-1], visual),
        ("action", latents.action.shape[-1], action),
    ):
        if width != expected:
            raise WrongShape(
                f"{name} embeddings are {width} wide, {reader} takes {expected}: use the teacher (or its student) "
                f"that the planner was made for, or train the planner with {node}.{name}_width={width}"
            )


def positions(count: int, width: int, *, device: torch.device | None = None) -> Float[Tensor, "N D"]:
    """Sinusoidal position encodings as in the Transformer (arXiv:1706.03762), for any number of tokens."""
    even = torch.arange(0, width, 2, dtype=torch.float32, device=device)
    frequencies = torch.exp(even * (-math.log(LONGEST) / width))
    angles = torch.arange(count, dtype=torch.float32, device=device)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width]


@checkpoint_part
class LatentFusion(nn.Module):
    """Gated cross-attention from queries of `width` to a predictor's embeddings.

    visual_width, action_width: of the teacher's embeddings; its students have the same. tokens: how many
    tokens the visual embeddings are pooled to, and the action embeddings too.
    """

    def __init__(self, *, visual_width: int, action_width: int, width: int, tokens: int, heads: int) -> None:
        super().__init__()
        self.visual_width, self.action_width = visual_width, action_width
        self.visual = AttentionPool(latent_width=visual_width, width=width, tokens=tokens, heads=heads)
        self.action = AttentionPool(latent_width=action_width, width=width, tokens=tokens, heads=heads)
        self.norm_latents, self.norm_queries = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.gate = nn.Parameter(torch.zeros(width))

    def require_fit(self, latents: LatentFeatures) -> None:
        """Raise WrongShape where the embeddings have other widths: another teacher made them."""
        require_widths(
            latents,
            visual=self.visual_width,
            action=self.action_width,
            reader="this planner's fusion",
            node="model.fusion",
        )

    def read(self, latents: LatentFeatures) -> Float[Tensor, "B n D"]:
        """Keys and values for `forward`; one call serves any number of passes. Raises WrongShape for other widths."""
        self.require_fit(latents)
        weight = self.gate.dtype
        pooled = [self.visual(latents.visual.to(weight)), self.action(latents.action.to(weight))]
        return self.norm_latents(torch.cat(pooled, 1))

    def forward(self, queries: Float[Tensor, "B N D"], latents: Float[Tensor, "B n D"]) -> Float[Tensor, "B N D"]:
        """The queries plus, through the gate, what they attend to. latents: from `read`."""
        attended, _ = self.attention(self.norm_queries(queries), latents, latents, need_weights=False)
        return queries + self.gate * attended


@runtime_checkable
class ReadsLatents(Protocol):
    """What reads a predictor's embeddings in a planner: a fusion, or the whole planner."""

    def require_fit(self, latents: LatentFeatures) -> None:
        """Raise WrongShape where it can't read these embeddings."""


@runtime_checkable
class LatentSource(Protocol):
    """Where a planner's embeddings come from: stores on disk (stored.py) or a live predictor (live.py).

    codebook_id: of the codes that the predictor was trained on. maker: fingerprint of the predictor's
    checkpoint. former_ids: earlier ids of both, as in `checkpoint.Card`. origin: kind of predictor. needs:
    sensors that must be opened to make the embeddings.
    """

    codebook_id: str
    former_ids: FormerIds
    maker: str
    origin: Origin
    needs: SensorNeeds

    def of(self, scenes: Sequence[Scene]) -> LatentFeatures:
        """Embeddings of the scenes. Raises UnreadableScene where a scene has none."""

    def require_fit(self, reader: ReadsLatents) -> None:
        """Raise WrongShape where the reader can't read the embeddings."""

    def require_scenes(self, source: SceneSource, tokens: Sequence[str]) -> None:
        """Raise StoreError where it has embeddings for none of these scenes of `source`."""

    def provenance(self) -> dict[str, Any]:
        """Provenance of the embeddings, recorded in results."""


def require_codebook(source: LatentSource, codebook_id: str, *, former_ids: FormerIds) -> None:
    """Raise MixedCodebooks, with both ids, where a source has embeddings of another codebook than a planner.

    codebook_id, former_ids: of the codebook that the planner was trained with.
    """
    if not same_id(source.codebook_id, codebook_id, source.former_ids, former_ids):
        raise MixedCodebooks(
            f"this planner was trained with embeddings of codebook {codebook_id}, these are of codebook "
            f"{source.codebook_id} (made by {source.maker}): codes of two codebooks mean different things. Give the "
            "planner a teacher, student or store of its own codebook"
        )
