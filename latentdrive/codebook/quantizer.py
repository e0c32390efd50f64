"""Vector quantisation: a continuous action vector becomes one of K codes.

Between inverse_dynamics.py and forward_dynamics.py. A five-argument wrapper over vector-quantize-pytorch: EMA book in
float32 (van den Oord et al., arXiv:1711.00937, appendix A), k-means start, re-seeding of dead codes that resets their EMA
statistics, statistics summed over ranks. One book is shared by all slots of a transition (latentdrive default).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from vector_quantize_pytorch import VectorQuantize

from latentdrive.errors import CheckpointError


class Quantized(NamedTuple):
    """vectors: codes' vectors, straight-through. codes: their numbers. logits: minus squared distances. commitment: loss."""

    vectors: Float[Tensor, "*batch slots D"]
    codes: Int64[Tensor, "*batch slots"]
    logits: Float[Tensor, "*batch slots K"]
    commitment: Float[Tensor, ""]


class Quantizer(nn.Module):
    """A book of `codes` vectors of `width`. dead_below: mean uses a step under which a code is re-seeded."""

    def __init__(self, *, codes: int, width: int, commitment: float, decay: float, dead_below: float) -> None:
        super().__init__()
        self.codes, self.width, self.commitment = codes, width, commitment
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.book = VectorQuantize(
            dim=width,
            codebook_size=codes,
            decay=decay,
            commitment_weight=0.0,  # we weigh it ourselves, so that the loss is logged unweighted
            kmeans_init=True,
            threshold_ema_dead_code=dead_below,
            rotation_trick=False,
            sync_codebook=distributed,
        )

    @property
    def vectors(self) -> Float[Tensor, "K D"]:
        """The book."""
        return self.book.codebook

    def forward(self, latents: Float[Tensor, "*batch slots D"]) -> Quantized:
        """Nearest codes. In training the book follows the latents; in evaluation, and once frozen, nothing moves."""
        if not self.training and not self.book._codebook.initted:
            raise CheckpointError("this codebook was never trained: its book has no entries yet")
        flat = latents.reshape(-1, latents.shape[-2], self.width)
        # The library switches autocast off on CUDA only; distances in bfloat16 would mix up neighbouring codes.
        with torch.autocast(flat.device.type, enabled=False):
            flat = flat.float()
            quantized, codes, _ = self.book(flat)
            distances = torch.cdist(flat, self.vectors.float()[None]).square()
            commitment = (quantized.detach() - flat).square().mean()
        shape = latents.shape[:-1]
        return Quantized(
            quantized.reshape(*shape, self.width),
            codes.reshape(shape),
            -distances.reshape(*shape, self.codes),
            commitment,
        )

    def look_up(self, codes: Int64[Tensor, "*batch slots"]) -> Float[Tensor, "*batch slots D"]:
        """The vectors of given codes."""
        return self.vectors[codes]

    def freeze(self) -> None:
        """Stop the book for good: no EMA, no re-seeding."""
        self.book.freeze_codebook = True
