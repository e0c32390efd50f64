"""What a codebook's numbers were aimed at, and one sentence for each that misses.

Beside sections.py. On the built-in world, where the truth about everybody is known, more is asked for than on real video.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

LOWEST = "perplexity_lowest_slot"


@dataclass(frozen=True, kw_only=True)
class Aim:
    """what: in plain words. number: name of the metric; above: of one that is taken off it, or none. least or most: the bound."""

    what: str
    number: str
    above: str = ""
    least: float | None = None
    most: float | None = None

    def miss(self, metrics: Mapping[str, float]) -> str:
        """A sentence where the number lies on the wrong side of its bound; empty where it does not, or was not measured."""
        if self.number not in metrics or (self.above and self.above not in metrics):
            return ""
        value = metrics[self.number] - (metrics[self.above] if self.above else 0.0)
        if self.least is not None and value < self.least:
            return f"{self.what}: {value:.2f}, aimed at {self.least:g} or more, missed by {self.least - value:.2f}"
        if self.most is not None and value > self.most:
            return f"{self.what}: {value:.2f}, aimed at {self.most:g} or less, missed by {value - self.most:.2f}"
        return ""


EVERYWHERE = (
    Aim(what="ego codes in real use", number="held_out/ego_perplexity", least=8.0),
    Aim(what="ego codes in real use, poorest slot", number=f"held_out/ego_{LOWEST}", least=3.0),
    Aim(what="environment codes in real use, poorest slot", number=f"held_out/environment_{LOWEST}", least=3.0),
    Aim(what="cost of environment codes from another clip", number="held_out/cost_environment_shuffled", least=0.05),
)
ELSEWHERE = (Aim(what="cost of ego codes from another clip", number="held_out/cost_ego_shuffled", least=0.05),)
WORLD = (
    Aim(what="cost of ego codes from another clip", number="held_out/cost_ego_shuffled", least=0.3),
    Aim(
        what="R² of forward displacement from ego codes",
        number="probe/ego codes/forward displacement/linear",
        least=0.6,
    ),
    Aim(what="R² of yaw change from ego codes", number="probe/ego codes/yaw change/linear", least=0.75),
    Aim(
        what="R² of the others' motion from environment codes, above that from the present frame",
        number="probe/environment codes/others/linear", above="probe/present frame/others/linear", least=0.2,
    ),
    Aim(
        what="R² of the ego's motion from environment codes (small network), above that from the present frame",
        number="probe/environment codes/ego/mlp", above="probe/present frame/ego/mlp", most=0.1,
    ),
)  # fmt: skip


def codebook_misses(metrics: Mapping[str, float]) -> list[str]:
    """One sentence for every aim of a codebook run that its numbers miss. Only the world has a probe part."""
    known = dict(metrics) | dict(_lowest(metrics))
    probed = any(name.startswith("probe/") for name in metrics)
    return [said for aim in (*EVERYWHERE, *(WORLD if probed else ELSEWHERE)) if (said := aim.miss(known))]


def _lowest(metrics: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for book in ("ego", "environment"):
        start = f"held_out/{book}_perplexity_slot_"
        if slots := [value for name, value in metrics.items() if name.startswith(start)]:
            yield f"held_out/{book}_{LOWEST}", min(slots)
