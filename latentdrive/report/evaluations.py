"""Evaluations among the reported runs, and which of them may stand in one table: same score, same split, scenes in common.

After runs.py; planners_section.py and gallery.py show them.
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
from latentdrive.planners.baselines.human import Human
from latentdrive.planners.baselines.pdm_closed import PdmClosed
from latentdrive.report.runs import Run

PRIVILEGED = (Human.__name__, PdmClosed.__name__)  # in folders whose summary does not say who is


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One run of `evaluate`. name: as short as tells the reported ones apart. summary: content of summary.json."""

    run: Run
    name: str
    results: Results
    summary: dict[str, Any]

    @property
    def planner(self) -> str:
        """The planner's class."""
        told = self._node.get("_target_", "unknown").rpartition(".")[2]
        return self.summary.get("planner_class", told)

    @property
    def words(self) -> str:
        """What the planner was built with, as typed: its checkpoint, its seed."""
        plain = {key: value for key, value in self._node.items() if isinstance(value, str | int | float)}
        return " ".join(f"{key}={value}" for key, value in plain.items() if key != "_target_")

    @property
    def privileged(self) -> bool:
        """Whether the planner is told the truth, future included."""
        return self.summary.get("privileged", self.planner in PRIVILEGED) is True

    @property
    def oracle(self) -> bool:
        """Whether a learned planner was given codes that have seen the future."""
        return self.summary.get("oracle_future") is True

    @property
    def marks(self) -> list[str]:
        """What a reader must know before comparing it with others."""
        permuted = self._latents.get("permuted") is not None
        return ["privileged"] * self.privileged + ["oracle future"] * self.oracle + ["permuted embeddings"] * permuted

    @property
    def score(self) -> float:
        """Mean of the total; 0 where it has none."""
        return (self.summary["score"] or {"mean": 0.0})["mean"]

    @property
    def latency(self) -> dict[str, Any] | None:
        """See evaluation/latency.py; None where it was not measured."""
        return self.summary.get("latency")

    @property
    def reads_store(self) -> bool:
        """Whether its embeddings lay ready in a store: the latency has no part of their teacher's or student's."""
        return "store" in self._latents

    @property
    def split(self) -> str:
        """Name of the split, also where the configuration of the data named it."""
        of_data = ((self.run.config.get("data") or {}).get("scenes") or {}).get("split")
        return self.summary.get("split") or of_data or "all scenes"

    @property
    def stages(self) -> str:
        """One stage or two: their numbers are of two kinds."""
        return "one stage" if self.results.follows is None else "two stages"

    @property
    def _latents(self) -> dict[str, Any]:
        return self.summary.get("latents") or {}

    @property
    def _node(self) -> dict[str, Any]:
        return self.summary.get("planner") or {}


@dataclass(frozen=True, kw_only=True)
class Group:
    """Evaluations by one score on one split, the best first."""

    members: list[Evaluation]

    @property
    def title(self) -> str:
        """Which score, which split."""
        first = self.members[0]
        return f"{first.results.version} on {first.split}" + ("" if first.results.follows is None else ", two stages")

    def scenes_in_common(self) -> set[str]:
        """Tokens that all members were scored on."""
        return set.intersection(*(set(one.results.tokens) for one in self.members))

    def on_other_scenes(self) -> list[Evaluation]:
        """Members that were scored on other scenes than most."""
        sets = {one.name: frozenset(one.results.tokens) for one in self.members}
        often = Counter(sets.values())
        usual = max(often, key=lambda tokens: (often[tokens], len(tokens)))
        return [one for one in self.members if sets[one.name] != usual]

    def rivals(self) -> tuple[Evaluation, Evaluation] | None:
        """The two to look at: the best two that see what a car sees, else the best two; None where there is one."""
        fair = [one for one in self.members if not one.marks]
        chosen = fair if len(fair) > 1 else self.members
        return (chosen[0], chosen[1]) if len(chosen) > 1 else None


def read_evaluations(runs: Sequence[Run], *, warn: Callable[[str], None]) -> list[Evaluation]:
    """The finished evaluations among the runs. warn: is told of those that are damaged, and left out."""
    found = []
    for run in runs:
        if run.verb == "evaluate" and all((run.path / name).is_file() for name in (SUMMARY, SCORES)):
            try:
                found.append((run, *read_evaluation(run.path)))
            except ConfigError as error:
                warn(f"{run.name} is left out of the tables: {error}")
    names = short_names([run.path for run, *_ in found]) if found else []
    return [
        Evaluation(run=run, name=name, results=results, summary=summary)
        for name, (run, results, summary) in zip(names, found)
    ]


def groups_of(evaluations: Sequence[Evaluation]) -> list[Group]:
    """Evaluations by score, split and stages; two of them that share no scene are of two data sets, and stand apart."""
    groups: list[list[Evaluation]] = []
    for one in evaluations:
        fitting = (group for group in groups if _fits(one, group[0]))
        if (group := next(fitting, None)) is None:
            groups.append([one])
        else:
            group.append(one)
    return [Group(members=sorted(group, key=lambda one: -one.score)) for group in groups]


def find(evaluations: Sequence[Evaluation], folder: str) -> Evaluation | None:
    """The evaluation in this folder."""
    path = Path(folder).expanduser().resolve()
    return next((one for one in evaluations if one.run.path == path), None)


def _fits(one: Evaluation, other: Evaluation) -> bool:
    same = all(getattr(one, name) == getattr(other, name) for name in ("split", "stages"))
    same = same and one.results.version == other.results.version
    return same and not set(one.results.tokens).isdisjoint(other.results.tokens)
