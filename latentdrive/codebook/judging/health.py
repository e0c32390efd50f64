"""Is a book alive? Perplexity and usage of each slot and overall, and alarms that say what to change.

One book serves all slots of a transition, so it can look well used while one slot always gives the same
code: the slots are what counts.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

ALARM_PERPLEXITY = 2.0  # a slot below this carries less than one bit


def perplexity(counts: Float[Tensor, "*slots K"]) -> Float[Tensor, "*slots"]:
    """exp(entropy) of the code frequencies: 1 where one code is always used, K for even use."""
    share = counts / counts.sum(-1, keepdim=True).clamp_min(1)
    return torch.exp(-(share * torch.log(share.clamp_min(1e-12))).sum(-1))


class CodeUsage:
    """Counts how often each slot gives each code, for books by name."""

    def __init__(self, *, codes: int) -> None:
        self.codes = codes
        self.counts: dict[str, Float[Tensor, "slots K"]] = {}

    def add(self, book: str, codes: Int64[Tensor, "*batch slots"]) -> None:
        """Count a batch of codes."""
        flat = codes.reshape(-1, codes.shape[-1]).cpu()
        counts = torch.stack([torch.bincount(slot, minlength=self.codes) for slot in flat.T]).float()
        self.counts[book] = self.counts.get(book, 0) + counts

    def summary(self) -> dict[str, float]:
        """`BOOK/perplexity`, `BOOK/perplexity_slot_I` and `BOOK/used_share`, the share of codes that occur at all."""
        numbers = {}
        for book, counts in self.counts.items():
            overall = counts.sum(0)
            numbers[f"{book}/perplexity"] = perplexity(overall).item()
            numbers[f"{book}/used_share"] = (overall > 0).float().mean().item()
            for slot, value in enumerate(perplexity(counts).tolist()):
                numbers[f"{book}/perplexity_slot_{slot}"] = value
        return numbers

    def alarms(self) -> list[str]:
        """One message for every slot that has collapsed."""
        return [
            f"{book} slot {slot} has perplexity {value:.1f} (below {ALARM_PERPLEXITY:g}): it carries almost no "
            "information. Raise model.dead_below, lower model.commitment, or give the phase more steps"
            for book, counts in self.counts.items()
            for slot, value in enumerate(perplexity(counts).tolist())
            if value < ALARM_PERPLEXITY
        ]

    def reset(self) -> None:
        """Forget all counts."""
        self.counts = {}
