"""One planner over all scenes: planned, scored, completed. Between the command and planning.py, scoring.py."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from latentdrive.evaluation.latency import is_measured, latency
from latentdrive.evaluation.planning import Plans, plan_scenes, what_it_takes
from latentdrive.evaluation.scoring import Scored, score_plans, with_extended_comfort
from latentdrive.evaluation.split import Scenes
from latentdrive.pdms.scene import ScoringScene
from latentdrive.pdms.score import EP
from latentdrive.pdms.versions import Version
from latentdrive.planners.baselines.human import Human
from latentdrive.run_folder import progress_bar
from latentdrive.types import FROZEN, Planner, PrivilegedPlanner


@dataclass(**FROZEN)
class Driven:
    """What one planner did: its trajectories and failures, and what the score says."""

    plans: Plans
    scored: Scored


@dataclass(**FROZEN)
class Course:
    """Scenes that are ready to be driven. prepared: opens a prepared scene by token; unprepared: token → why it has none.

    complete: what joins scenes once all are scored, see `with_extended_comfort` and SecondStages. batch: scenes at once; device: of
    the score.
    """

    scenes: Scenes
    prepared: Callable[[str], ScoringScene]
    unprepared: dict[str, str]
    complete: Callable[[Scored], Scored]
    version: Version
    batch: int
    device: str

    def drive(self, planner: Planner | PrivilegedPlanner, *, what: str) -> Driven:
        """Plan and score every scene, with a bar; what can't be planned or scored is among the failures."""
        lost = {token: self.unprepared[token] for token in self.scenes.tokens if token in self.unprepared}
        ready = [token for token in self.scenes.tokens if token not in lost]
        opener = what_it_takes(planner, self.scenes.source, self.prepared)
        with progress_bar(f"{what}: plan") as bar:
            task = bar.add_task(what, total=len(ready))
            plans = plan_scenes(planner, ready, opener, batch=self.batch, advance=lambda more: bar.advance(task, more))
        plans = replace(plans, failures={**lost, **plans.failures})
        with progress_bar(f"{what}: score") as bar:
            task = bar.add_task(what, total=len(plans.trajectories))
            scored = score_plans(
                plans, tokens=self.scenes.tokens, drives=self.scenes.drives, prepared=self.prepared, version=self.version,
                device=self.device, batch=self.batch, advance=lambda more: bar.advance(task, more),
            )  # fmt: skip
        return Driven(plans=plans, scored=self.complete(scored))

    def latency(self, planner: Planner | PrivilegedPlanner, driven: Driven) -> dict[str, float | int | str] | None:
        """How long planning took, and takes scene by scene, see latency.py; None for a planner that is not measured."""
        if not is_measured(planner):
            return None
        opener = what_it_takes(planner, self.scenes.source, self.prepared)
        return latency(planner, driven.plans.calls, list(driven.plans.trajectories), opener)

    def first_stage(self) -> "Course":
        """The original scenes as a course of one stage; the same where there is no other."""
        return replace(self, scenes=self.scenes.first_stage(), complete=with_extended_comfort)


def drive_as_human(course: Course, driven: Driven, planner: Planner | PrivilegedPlanner) -> Driven:
    """The same for the human driver, whom a planner is compared with, where one drove; nothing is driven twice."""
    return driven if isinstance(planner, Human) else course.first_stage().drive(Human(), what="human")


def progress_of(driven: Driven | None, tokens: Sequence[str]) -> Float64[np.ndarray, "N"]:
    """Ego progress in these scenes, NaN where it is not known."""
    if driven is None:
        return np.full(len(tokens), np.nan)
    results = driven.scored.results
    known = dict(zip(results.tokens, np.where(results.valid, results.terms[EP], np.nan).tolist()))
    return np.array([known.get(token, np.nan) for token in tokens], np.float64)
