"""The targets for the numbers of a run, and a sentence for each number that misses its aim.

More is asked of a codebook of the built-in world, where the truth about all vehicles is known, than
of one of real video. A teacher or student must know more than guesses that look at no picture, and a
planner must drive better than one that sees nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from latentdrive.stages.best import KEPT_LOSS, KEPT_STEP, LAST_LOSS

LOWEST = "perplexity_lowest_slot"
KNOWS = 0.05  # by how much a predictor must beat a guess, in nats or as a share of the slots; latentdrive default


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


MARGINAL, REPEAT = "held_out/baseline_marginal_", "held_out/baseline_repeat_"


def _beyond_guesses(name: str) -> tuple[Aim, Aim]:
    """Aims of a predictor that decodes alone. name: of the codes that it should name."""
    decoded = {"metric": "held_out/decoded", "least": KNOWS}
    return (
        Aim(name=f"share of {name}, minus always naming the most frequent code", above=f"{MARGINAL}top1", **decoded),
        Aim(name=f"share of {name}, minus repeating the last transition", above=f"{REPEAT}top1", **decoded),
    )


OF_TEACHER = (
    Aim(
        name="what the teacher knows beyond the frequency of the codes (nats a slot)",
        metric=f"{MARGINAL}nats",
        above="held_out/nats",
        least=KNOWS,
    ),
    Aim(
        name="what the teacher knows beyond the last transition (nats a slot)",
        metric=f"{REPEAT}nats",
        above="held_out/nats",
        least=KNOWS,
    ),
    Aim(
        name="what the teacher knows in one pass beyond the frequency of the codes (nats a slot)",
        metric=f"{MARGINAL}nats",
        above="held_out/one_pass_nats",
        least=KNOWS,
    ),
    *_beyond_guesses("true codes that the teacher names, decoding alone"),
)
OF_STUDENT = _beyond_guesses("the teacher's codes that the student names, decoding alone")
FAILED = Aim(name="scenes that failed and count as 0", metric="evaluate/failed", most=0.0)


def run_misses(verb: str, metrics: Mapping[str, float]) -> list[str]:
    """A sentence for each aim that the numbers of a run of this verb miss."""
    if verb == "train codebook":
        return codebook_misses(metrics)
    aims = {"train teacher": OF_TEACHER, "distill": OF_STUDENT, "evaluate": (FAILED,)}.get(verb, ())
    return [*(sentence for aim in aims if (sentence := aim.miss(metrics))), *_rose(metrics)]


def _rose(metrics: Mapping[str, float]) -> Iterator[str]:
    """A sentence where the held-out loss rose, so that the checkpoint holds earlier weights."""
    if metrics.keys() >= {KEPT_STEP, KEPT_LOSS, LAST_LOSS}:
        yield (
            f"held-out loss: {metrics[KEPT_LOSS]:.2f} after step {metrics[KEPT_STEP]:,.0f}, {metrics[LAST_LOSS]:.2f} "
            "after the last one; the checkpoint holds the weights of the earlier step. Train for fewer steps, or on "
            "more data"
        )


def agreement_misses(shares: Mapping[str, float]) -> list[str]:
    """A sentence for each guess that an agreement hardly exceeds. shares: of the slots; the agreement first."""
    (_, agree), *guesses = shares.items()
    return [
        f"agreement decoding alone: {agree:.1%}; the aim is at least {KNOWS:.0%} above {name} ({share:.1%}), missed "
        f"by {share + KNOWS - agree:.1%}"
        for name, share in guesses
        if agree < share + KNOWS
    ]


def planner_misses(scores: Mapping[str, float], blind: Iterable[str]) -> list[str]:
    """A sentence for each planner that scores no better than one that sees nothing.

    scores: by planner, on the same scenes. blind: the planners that see nothing.
    """
    known = {name: scores[name] for name in blind if name in scores}
    if not known:
        return []
    best = max(known, key=known.__getitem__)
    return [
        f"{name} scores {score:.4f}; the aim is more than {best}, which sees nothing and scores {known[best]:.4f}"
        for name, score in scores.items()
        if name not in known and score <= known[best]
    ]


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
