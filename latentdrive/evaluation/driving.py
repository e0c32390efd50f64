"""One planner over all scenes: planned, scored, completed. Between the command and planning.py, scoring.py."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from latentdrive.evaluation.planning import Plans, plan_scenes, what_it_takes
from latentdrive.evaluation.scoring import Scored, score_plans, with_extended_comfort
from latentdrive.evaluation.split import Scenes
from latentdrive.pdms.scene import ScoringScene
from latentdrive.pdms.score import EP
from latentdrive.pdms.versions import Version
from latentdrive.planners.human import Human
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

    batch: scenes at once; device: of the score.
    """

    scenes: Scenes
    prepared: Callable[[str], ScoringScene]
    unprepared: dict[str, str]
    version: Version
    batch: int
    device: str

    def drive(self, planner: Planner | PrivilegedPlanner, *, what: str) -> Driven:
        """Plan and score every scene, with a bar; what can't be planned or scored is among the failures."""
        ready = [token for token in self.scenes.tokens if token not in self.unprepared]
        opener = what_it_takes(planner, self.scenes.source, self.prepared)
        with progress_bar(f"{what}: plan") as bar:
            task = bar.add_task(what, total=len(ready))
            plans = plan_scenes(planner, ready, opener, batch=self.batch, advance=lambda more: bar.advance(task, more))
        plans = Plans(trajectories=plans.trajectories, failures={**self.unprepared, **plans.failures})
        with progress_bar(f"{what}: score") as bar:
            task = bar.add_task(what, total=len(plans.trajectories))
            scored = score_plans(
                plans, tokens=self.scenes.tokens, drives=self.scenes.drives, prepared=self.prepared, version=self.version,
                device=self.device, batch=self.batch, advance=lambda more: bar.advance(task, more),
            )  # fmt: skip
        return Driven(plans=plans, scored=with_extended_comfort(scored))


def drive_as_human(course: Course, driven: Driven, planner: Planner | PrivilegedPlanner) -> Driven:
    """The same for the human driver, whom a planner is compared with; nothing is driven twice."""
    return driven if isinstance(planner, Human) else course.drive(Human(), what="human")


def progress_of(driven: Driven | None, count: int) -> Float64[np.ndarray, "N"]:
    """Ego progress by scene, NaN where it is not known."""
    if driven is None:
        return np.full(count, np.nan)
    results = driven.scored.results
    return np.where(results.valid, results.terms[EP], np.nan)
