"""Is a book alive? Perplexity and usage per slot and overall, and alarms that say what to change.

One book serves all slots of a transition, so a book can look well used while a slot says always the same: slots are what counts.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

ALARM_PERPLEXITY = 2.0  # a slot below this says less than one bit


def perplexity(counts: Float[Tensor, "*slots K"]) -> Float[Tensor, "*slots"]:
    """exp(entropy) of how often each code is used: 1 for a dead slot, K for even use."""
    share = counts / counts.sum(-1, keepdim=True).clamp_min(1)
    return torch.exp(-(share * torch.log(share.clamp_min(1e-12))).sum(-1))


class CodeUsage:
    """Counts codes per slot over an evaluation, for books by name."""

    def __init__(self, *, codes: int) -> None:
        self.codes = codes
        self.counts: dict[str, Float[Tensor, "slots K"]] = {}

    def add(self, book: str, codes: Int64[Tensor, "*batch slots"]) -> None:
        """Count a batch of codes."""
        flat = codes.reshape(-1, codes.shape[-1]).cpu()
        counts = torch.stack([torch.bincount(slot, minlength=self.codes) for slot in flat.T]).float()
        self.counts[book] = self.counts.get(book, 0) + counts

    def summary(self) -> dict[str, float]:
        """`book/perplexity`, `book/perplexity_slot_i`, `book/used_share` (codes ever used, overall)."""
        found = {}
        for book, counts in self.counts.items():
            overall = counts.sum(0)
            found[f"{book}/perplexity"] = perplexity(overall).item()
            found[f"{book}/used_share"] = (overall > 0).float().mean().item()
            for slot, value in enumerate(perplexity(counts).tolist()):
                found[f"{book}/perplexity_slot_{slot}"] = value
        return found

    def alarms(self) -> list[str]:
        """One sentence for every slot that has collapsed."""
        return [
            f"{book} slot {slot} has perplexity {value:.1f} (below {ALARM_PERPLEXITY:g}): it says almost nothing. "
            "Raise model.dead_below, lower model.commitment, or give the phase more steps"
            for book, counts in self.counts.items()
            for slot, value in enumerate(perplexity(counts).tolist())
            if value < ALARM_PERPLEXITY
        ]

    def reset(self) -> None:
        """Forget all counts."""
        self.counts = {}
