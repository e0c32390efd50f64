"""Evaluations among the reported runs, and which of them may share a table: same score, same split,
shared scenes.

Reads what runs.py found; planners_section.py and gallery.py show the result.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentdrive.errors import ConfigError
from latentdrive.evaluation.comparison import short_names
from latentdrive.evaluation.results import Results
from latentdrive.evaluation.scores_file import SCORES
from latentdrive.evaluation.summary import SUMMARY, read_evaluation
from latentdrive.evaluation.uncertainty import Uncertainty
from latentdrive.report.runs import Run

# Classes of privileged planners, by their names in summary.json. Summaries of older runs give the
# class alone, without `privileged`; newer ones say both.
HUMAN_DRIVER, PDM_CLOSED = "Human", "PdmClosed"
PRIVILEGED_CLASSES = (HUMAN_DRIVER, PDM_CLOSED)
BLIND_CLASSES = ("ConstantVelocity", "StandStill")  # planners that see nothing but their own motion


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A run of `evaluate`. name: as short as it can be among the reported ones. summary: content of
    summary.json."""

    run: Run
    name: str
    results: Results
    summary: dict[str, Any]

    @property
    def planner(self) -> str:
        """The planner's class."""
        configured = str(self._planner_node.get("_target_", "unknown")).rpartition(".")[2]
        return self.summary.get("planner_class", configured)

    @property
    def arguments(self) -> str:
        """The planner's plain arguments, as typed: its checkpoint, its seed."""
        plain = {key: value for key, value in self._planner_node.items() if isinstance(value, str | int | float)}
        return " ".join(f"{key}={value}" for key, value in plain.items() if key != "_target_")

    @property
    def is_human_driver(self) -> bool:
        """Whether the human driver's own trajectories were scored."""
        return self.planner == HUMAN_DRIVER

    @property
    def privileged(self) -> bool:
        """Whether the planner is given the truth, future included."""
        return self.summary.get("privileged", self.planner in PRIVILEGED_CLASSES) is True

    @property
    def blind(self) -> bool:
        """Whether the planner looks at nothing around it."""
        return self.planner in BLIND_CLASSES

    @property
    def marks(self) -> list[str]:
        """Conditions that a reader must know before comparing it with others."""
        conditions = {
            "privileged": self.privileged,
            "oracle future": self.summary.get("oracle_future") is True,  # given codes that have seen the future
            "permuted embeddings": self._latents.get("permuted") is not None,
        }
        return [mark for mark, holds in conditions.items() if holds]

    @property
    def score(self) -> float:
        """Mean of the total; 0 where no scene has one."""
        return (self.summary["score"] or {"mean": 0.0})["mean"]

    @property
    def latency(self) -> dict[str, Any] | None:
        """See evaluation/latency.py; None where it was not measured."""
        return self.summary.get("latency")

    @property
    def refined(self) -> Uncertainty | None:
        """Steps of its refined plans, and how well they tell failures; None for a planner that plans at once."""
        return self.summary.get("refined")

    @property
    def reads_store(self) -> bool:
        """Whether its embeddings came from a store: the latency then leaves out the teacher or
        student that made them."""
        return "store" in self._latents

    @property
    def split(self) -> str:
        """Name of the split that was evaluated."""
        return self.summary.get("split") or "all scenes"

    @property
    def stages(self) -> str:
        """One stage or two; their numbers cannot be compared."""
        return "one stage" if self.results.links is None else "two stages"

    @property
    def _latents(self) -> dict[str, Any]:
        return self.summary.get("latents") or {}

    @property
    def _planner_node(self) -> dict[str, Any]:
        return self.summary.get("planner") or {}


@dataclass(frozen=True, kw_only=True)
class Group:
    """Evaluations by one score on one split, the best first."""

    members: list[Evaluation]

    @property
    def title(self) -> str:
        """Score and split."""
        first = self.members[0]
        return f"{first.results.version} on {first.split}" + ("" if first.results.links is None else ", two stages")

    def scenes_in_common(self) -> set[str]:
        """Tokens on which all members were scored."""
        return set.intersection(*(set(member.results.tokens) for member in self.members))

    def on_other_scenes(self) -> list[Evaluation]:
        """Members that were scored on other scenes than most."""
        scenes = {member.name: frozenset(member.results.tokens) for member in self.members}
        counts = Counter(scenes.values())
        usual = max(counts, key=lambda tokens: (counts[tokens], len(tokens)))
        return [member for member in self.members if scenes[member.name] != usual]

    def rivals(self) -> tuple[Evaluation, Evaluation] | None:
        """The best two of those that see only what a car sees, or else of all; None for a single
        member."""
        fair = [member for member in self.members if not member.marks]
        chosen = fair if len(fair) > 1 else self.members
        return (chosen[0], chosen[1]) if len(chosen) > 1 else None


def read_evaluations(runs: Sequence[Run], *, warn: Callable[[str], None]) -> list[Evaluation]:
    """The finished evaluations among the runs. warn: is called with a message for each damaged one,
    which is left out."""
    readable: list[tuple[Run, Results, dict[str, Any]]] = []
    for run in runs:
        if run.verb == "evaluate" and all((run.path / name).is_file() for name in (SUMMARY, SCORES)):
            try:
                readable.append((run, *read_evaluation(run.path)))
            except ConfigError as error:
                warn(f"{run.name} is left out of the tables: {error}")
    names = short_names([run.path for run, *_ in readable]) if readable else []
    return [
        Evaluation(run=run, name=name, results=results, summary=summary)
        for name, (run, results, summary) in zip(names, readable)
    ]


def groups_of(evaluations: Sequence[Evaluation]) -> list[Group]:
    """Evaluations by score, split and stages. Two that share no scene come from different data sets
    and stay apart."""
    groups: list[list[Evaluation]] = []
    for evaluation in evaluations:
        group = next((group for group in groups if _comparable(evaluation, group[0])), None)
        if group is None:
            groups.append([evaluation])
        else:
            group.append(evaluation)
    return [Group(members=sorted(group, key=lambda member: -member.score)) for group in groups]


def find(evaluations: Sequence[Evaluation], folder: str) -> Evaluation | None:
    """The evaluation in this folder; None where there is none."""
    path = Path(folder).expanduser().resolve()
    return next((evaluation for evaluation in evaluations if evaluation.run.path == path), None)


def _comparable(a: Evaluation, b: Evaluation) -> bool:
    same = (a.split, a.stages, a.results.version) == (b.split, b.stages, b.results.version)
    return same and not set(a.results.tokens).isdisjoint(b.results.tokens)
