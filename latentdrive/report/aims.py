"""The targets for a codebook's numbers, and a sentence for each number that misses its aim.

More is asked of a codebook of the built-in world, where the truth about all vehicles is known, than
of one of real video.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

LOWEST = "perplexity_lowest_slot"


@dataclass(frozen=True, kw_only=True)
class Aim:
    """A bound on a metric. name: in plain words. metric: its name. above: a metric that is
    subtracted from it first.

    least, most: the bound; one of them is given.
    """

    name: str
    metric: str
    above: str = ""
    least: float | None = None
    most: float | None = None

    def miss(self, metrics: Mapping[str, float]) -> str:
        """A sentence where the metric misses its bound; empty where it does not, or was not
        measured."""
        if self.metric not in metrics or (self.above and self.above not in metrics):
            return ""
        value = metrics[self.metric] - (metrics[self.above] if self.above else 0.0)
        if self.least is not None and value < self.least:
            return f"{self.name}: {value:.2f}; the aim is at least {self.least:g}, missed by {self.least - value:.2f}"
        if self.most is not None and value > self.most:
            return f"{self.name}: {value:.2f}; the aim is at most {self.most:g}, missed by {value - self.most:.2f}"
        return ""


EVERYWHERE = (
    Aim(name="ego codes in use (perplexity)", metric="held_out/ego_perplexity", least=8.0),
    Aim(name="ego codes in use, poorest slot", metric=f"held_out/ego_{LOWEST}", least=3.0),
    Aim(name="environment codes in use, poorest slot", metric=f"held_out/environment_{LOWEST}", least=3.0),
    Aim(name="cost of environment codes from another clip", metric="held_out/cost_environment_shuffled", least=0.05),
)
ON_VIDEO = (Aim(name="cost of ego codes from another clip", metric="held_out/cost_ego_shuffled", least=0.05),)
ON_WORLD = (
    Aim(name="cost of ego codes from another clip", metric="held_out/cost_ego_shuffled", least=0.3),
    Aim(
        name="R² of forward displacement from ego codes",
        metric="probe/ego codes/forward displacement/linear",
        least=0.6,
    ),
    Aim(name="R² of yaw change from ego codes", metric="probe/ego codes/yaw change/linear", least=0.75),
    Aim(
        name="R² of the others' motion from environment codes, minus that from the present frame",
        metric="probe/environment codes/others/linear",
        above="probe/present frame/others/linear",
        least=0.2,
    ),
    Aim(
        name="R² of the ego's motion from environment codes (small network), minus that from the present frame",
        metric="probe/environment codes/ego/mlp",
        above="probe/present frame/ego/mlp",
        most=0.1,
    ),
)


def codebook_misses(metrics: Mapping[str, float]) -> list[str]:
    """A sentence for each aim that the numbers of a codebook run miss. Only the built-in world has
    a probe part."""
    known = dict(metrics) | dict(_lowest(metrics))
    probed = any(name.startswith("probe/") for name in metrics)
    aims = (*EVERYWHERE, *(ON_WORLD if probed else ON_VIDEO))
    return [sentence for aim in aims if (sentence := aim.miss(known))]


def _lowest(metrics: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    for book in ("ego", "environment"):
        start = f"held_out/{book}_perplexity_slot_"
        if slots := [value for name, value in metrics.items() if name.startswith(start)]:
            yield f"held_out/{book}_{LOWEST}", min(slots)
