"""A whole split with one planner: every scene is planned and scored, then the scores are completed.

The command `evaluate` prepares the split and calls `plan_split`; planning.py and scoring.py do the
two halves of the work.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from latentdrive.counting import counted
from latentdrive.evaluation.latency import is_measured, planning_latency
from latentdrive.evaluation.planning import AnyPlanner, Plans, is_privileged, plan_scenes, scene_opener
from latentdrive.evaluation.scoring import ScoredPlans, score_plans, with_extended_comfort
from latentdrive.evaluation.split import SplitScenes
from latentdrive.pdms.scene import ScoringScene
from latentdrive.pdms.score import EP
from latentdrive.pdms.versions import Version
from latentdrive.planners.baselines.human import Human
from latentdrive.run_folder import progress_bar
from latentdrive.types import FROZEN


@dataclass(**FROZEN)
class PreparedSplit:
    """The scenes of a split, ready to be planned and scored.

    prepared: opens a prepared scene by its token. unprepared: why a scene could not be prepared, by
    token. complete: adds what joins scenes once all are scored; `with_extended_comfort` for one
    stage, SecondStages for two. batch: scenes planned, and scored, at once. device: of the score.
    """

    scenes: SplitScenes
    prepared: Callable[[str], ScoringScene]
    unprepared: dict[str, str]
    complete: Callable[[ScoredPlans], ScoredPlans]
    version: Version
    batch: int
    device: str

    @property
    def unscorable(self) -> str:
        """Why nothing of this split can be scored; empty where something can."""
        failed = [token for token in self.scenes.tokens if token in self.unprepared]
        if self.scenes.unscorable or len(failed) < len(self.scenes.tokens):
            return self.scenes.unscorable
        return f"none of {counted(len(failed), 'scene')} can be prepared, the first one: {self.unprepared[failed[0]]}"

    def first_stage(self) -> "PreparedSplit":
        """The original scenes as a split of one stage; the same split if it has no second stage."""
        return replace(self, scenes=self.scenes.first_stage(), complete=with_extended_comfort)


@dataclass(**FROZEN)
class PlannedSplit:
    """The plans of one planner on a split, and their scores."""

    plans: Plans
    scored: ScoredPlans


def plan_split(split: PreparedSplit, planner: AnyPlanner, *, label: str) -> PlannedSplit:
    """Plan every scene that opens, and score those that are prepared. Scenes that cannot be prepared,
    planned or scored are listed among the failures of the score.

    label: of the progress bars. A privileged planner plans prepared scenes only, because the others
    have no truth.
    """
    unprepared = {token: split.unprepared[token] for token in split.scenes.tokens if token in split.unprepared}
    ready = [token for token in split.scenes.tokens if not (is_privileged(planner) and token in unprepared)]
    opener = scene_opener(planner, split.scenes.source, split.prepared)
    with progress_bar(f"{label}: plan") as bar:
        task = bar.add_task(label, total=len(ready))
        plans = plan_scenes(planner, ready, opener, batch=split.batch, advance=lambda more: bar.advance(task, more))
    scorable = {token: plan for token, plan in plans.trajectories.items() if token not in unprepared}
    with progress_bar(f"{label}: score") as bar:
        task = bar.add_task(label, total=len(scorable))
        scored = score_plans(
            replace(plans, trajectories=scorable, failures=plans.failures | unprepared),
            tokens=split.scenes.tokens,
            drives=split.scenes.drives,
            prepared=split.prepared,
            version=split.version,
            device=split.device,
            batch=split.batch,
            advance=lambda more: bar.advance(task, more),
        )
    if is_privileged(planner):
        plans = replace(plans, failures=plans.failures | unprepared)
    return PlannedSplit(plans=plans, scored=split.complete(scored))


def plan_split_as_human(split: PreparedSplit, planner: AnyPlanner, planned: PlannedSplit) -> PlannedSplit:
    """The human driver on the first stage of the split, for comparison; `planned` itself if its
    planner is the human."""
    return planned if isinstance(planner, Human) else plan_split(split.first_stage(), Human(), label="human")


def latency_on(split: PreparedSplit, planner: AnyPlanner, planned: PlannedSplit) -> dict[str, float | int | str] | None:
    """How long planning took on this split, see `planning_latency`; None for a planner that is not
    measured."""
    if not is_measured(planner):
        return None
    opener = scene_opener(planner, split.scenes.source, split.prepared)
    return planning_latency(planner, planned.plans.calls, list(planned.plans.trajectories), opener)


def progress_of(planned: PlannedSplit | None, tokens: Sequence[str]) -> Float64[np.ndarray, "N"]:
    """Ego progress in these scenes; NaN where it is unknown."""
    if planned is None:
        return np.full(len(tokens), np.nan)
    results = planned.scored.results
    known = dict(zip(results.tokens, np.where(results.valid, results.terms[EP], np.nan).tolist()))
    return np.array([known.get(token, np.nan) for token in tokens], np.float64)
