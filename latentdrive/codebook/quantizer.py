"""Vector quantisation: turns a continuous action vector into one of K codes.

A wrapper of five arguments around vector-quantize-pytorch. Its book follows an exponential moving
average in float32 (van den Oord et al., arXiv:1711.00937, appendix A), starts from k-means, re-seeds
dead codes and resets their statistics, and sums statistics over ranks. All slots of a transition share
one book (latentdrive default).
"""

from typing import NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float, Int64
from torch import Tensor, nn
from vector_quantize_pytorch import VectorQuantize

from latentdrive.errors import CheckpointError


class Quantized(NamedTuple):
    """Quantised latents. vectors: of the codes, straight-through. logits: minus squared distances. commitment: loss."""

    vectors: Float[Tensor, "*batch slots D"]
    codes: Int64[Tensor, "*batch slots"]
    logits: Float[Tensor, "*batch slots K"]
    commitment: Float[Tensor, ""]


class Quantizer(nn.Module):
    """A book of `codes` vectors of `width`.

    commitment: weight of `Quantized.commitment` in the training loss. decay: of the moving average.
    dead_below: a code with fewer uses a step, on average, is re-seeded.
    """

    def __init__(self, *, codes: int, width: int, commitment: float, decay: float, dead_below: float) -> None:
        super().__init__()
        self.codes, self.width, self.commitment = codes, width, commitment
        self.book = VectorQuantize(
            dim=width,
            codebook_size=codes,
            decay=decay,
            commitment_weight=0.0,  # weighed by the loss, so that the log shows it unweighted
            kmeans_init=True,
            threshold_ema_dead_code=dead_below,
            rotation_trick=False,
            sync_codebook=False,
        )
        # The library looks for ranks when it is constructed; Lightning starts them later.
        inner = self.book._codebook
        inner.all_reduce_fn = inner.kmeans_all_reduce_fn = _sum_over_ranks
        inner.sample_fn = inner.replace_sample_fn = _sample_over_ranks

    @property
    def vectors(self) -> Float[Tensor, "K D"]:
        """The vectors of all codes."""
        return self.book.codebook

    @property
    def made(self) -> bool:
        """Whether the book has entries, which it gets in its first training step with quantised vectors."""
        return bool(self.book._codebook.initted)

    def forward(self, latents: Float[Tensor, "*batch slots D"], *, quantised: bool = True) -> Quantized:
        """The nearest codes of the latents.

        In training mode the book follows the latents, in evaluation mode it stands still; gradients
        pass straight through to the latents in both. quantised=False gives the latents as they are,
        before there is a book. Raises CheckpointError in evaluation mode for a book without entries.
        """
        if not quantised:
            nothing = latents.new_zeros(*latents.shape[:-1], self.codes)
            return Quantized(latents, nothing.argmax(-1), nothing, latents.new_zeros(()))
        if not self.training and not self.made:
            raise CheckpointError("this codebook was never trained: its book has no entries yet. Train it first")
        flat = latents.reshape(-1, latents.shape[-2], self.width)
        # The library switches autocast off on CUDA only. Distances in bfloat16 would confuse
        # neighbouring codes.
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
        """The vectors of `codes`."""
        return self.vectors[codes]


def _ranks() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _sum_over_ranks(statistics: Tensor) -> None:
    if _ranks() > 1:
        dist.all_reduce(statistics)


def _sample_over_ranks(latents: Float[Tensor, "1 N D"], count: int) -> Float[Tensor, "1 count D"]:
    """`count` latents drawn from those of all ranks, the same ones on every rank; repeated only where
    there are too few.

    Ranks may hold different numbers of latents, because each leaves out clips without poses.
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
    size = len(latents)
    picked = torch.randperm(size)[:count] if size >= count else torch.randint(size, (count,))
    drawn = latents[picked.to(latents.device)][None]
    if _ranks() > 1:
        dist.broadcast(drawn, 0)
    return drawn
