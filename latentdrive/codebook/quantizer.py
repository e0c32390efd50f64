"""Vector quantisation: a continuous action vector becomes one of K codes.

Between inverse_dynamics.py and forward_dynamics.py. A five-argument wrapper over vector-quantize-pytorch: EMA book in
float32 (van den Oord et al., arXiv:1711.00937, appendix A), k-means start, re-seeding of dead codes that resets their EMA
statistics, statistics summed over ranks. One book is shared by all slots of a transition (latentdrive default).
"""

from typing import NamedTuple

import torch
import torch.distributed as dist
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
        self.book = VectorQuantize(
            dim=width,
            codebook_size=codes,
            decay=decay,
            commitment_weight=0.0,  # we weigh it ourselves, so that the loss is logged unweighted
            kmeans_init=True,
            threshold_ema_dead_code=dead_below,
            rotation_trick=False,
            sync_codebook=False,
        )
        # The library asks at construction whether there are ranks; Lightning makes them later.
        inner = self.book._codebook
        inner.all_reduce_fn = inner.kmeans_all_reduce_fn = _sum_over_ranks
        inner.sample_fn = inner.replace_sample_fn = _sample_over_ranks

    @property
    def vectors(self) -> Float[Tensor, "K D"]:
        """The book."""
        return self.book.codebook

    @property
    def made(self) -> bool:
        """Whether the book has entries: from its first step with quantised vectors on."""
        return bool(self.book._codebook.initted)

    def forward(self, latents: Float[Tensor, "*batch slots D"], *, quantised: bool = True) -> Quantized:
        """Nearest codes. In training mode the book follows the latents, in evaluation mode it never moves; gradients pass
        straight through to the latents in both. quantised=False: the latents as they are, before there is a book.
        """
        if not quantised:
            nothing = latents.new_zeros(*latents.shape[:-1], self.codes)
            return Quantized(latents, nothing.argmax(-1), nothing, latents.new_zeros(()))
        if not self.training and not self.made:
            raise CheckpointError("this codebook was never trained: its book has no entries yet")
        flat = latents.reshape(-1, latents.shape[-2], self.width)
        # The library switches autocast off on CUDA only; distances in bfloat16 would mix up neighbouring codes.
        with torch.autocast(flat.device.type, enabled=False):
            flat = flat.float()
            nearest, codes, _ = self.book(flat.detach())
            quantized = flat + (nearest - flat).detach() if flat.requires_grad else nearest
            distances = torch.cdist(flat, self.vectors.float()[None]).square()
            commitment = (nearest - flat).square().mean()
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


def _ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _sum_over_ranks(statistics: Tensor) -> None:
    if _ranks() > 1:
        dist.all_reduce(statistics)


def _sample_over_ranks(latents: Float[Tensor, "1 N D"], count: int) -> Float[Tensor, "1 count D"]:
    """Latents drawn from those of all ranks, the same on every rank; twice the same only where there are too few.

    Ranks may hold different numbers of them: clips without poses are left out on each.
    """
    latents = latents[0]
    if _ranks() > 1:
        sizes = [torch.zeros((), dtype=torch.long, device=latents.device) for _ in range(_ranks())]
        dist.all_gather(sizes, torch.tensor(len(latents), device=latents.device))
        padded = latents.new_zeros(int(max(sizes)), latents.shape[1])
        padded[: len(latents)] = latents
        gathered = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(gathered, padded)
        latents = torch.cat([rows[:size] for rows, size in zip(gathered, sizes)])
    found = len(latents)
    picked = torch.randperm(found)[:count] if found >= count else torch.randint(found, (count,))
    drawn = latents[picked.to(latents.device)][None]
    if _ranks() > 1:
        dist.broadcast(drawn, 0)
    return drawn
