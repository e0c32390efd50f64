"""The ways to run one anytime planner (arms), what each plans in a batch of scenes, and how long its head takes.

For anytime_curve.py. Every arm begins with the same look at the scene, so scenes are perceived once for all arms.
A warm start takes the scratchpad that the frame 0.5 s earlier of the same log ended with; that frame started cold.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from clocks import seconds_of
from jaxtyping import Float, Int64
from torch import Tensor

from latentdrive.data.navsim.scene_source import NavsimLogs
from latentdrive.data.navsim.scenes import STEP_S, open_scene
from latentdrive.errors import UnreadableScene
from latentdrive.heads.recurrent_depth import Progress, Refined
from latentdrive.planners.anytime import AnytimeHead
from latentdrive.planners.inputs.batch import PlannerInputs, inputs_of, stacked
from latentdrive.planners.learned import LearnedPlanner
from latentdrive.types import Scene

STEP_TOLERANCE_S = 0.1  # how far two neighbouring frames of a log may be from 0.5 s apart


@dataclass(frozen=True, kw_only=True)
class Arm:
    """delta, most, probe: see RecurrentDepth.refine. warm: starts from the earlier frame's scratchpad."""

    delta: float
    most: int
    probe: float | None = None
    warm: bool = False

    def refine(self, head: AnytimeHead, progress: Progress) -> Refined:
        """Refine the plans of some scenes."""
        return head.network.refine(progress, delta=self.delta, most=self.most, probe=self.probe)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What one arm planned in B scenes."""

    poses: Float[Tensor, "B P 3"]
    steps: Int64[Tensor, "B"]
    movement: Float[Tensor, "B"]


class ArmsOf:
    """One planner, run in several ways. source: of the scenes, in which their earlier frames are found."""

    def __init__(self, planner: LearnedPlanner, source: NavsimLogs) -> None:
        self.planner, self.head, self.source = planner, planner.head, source

    def begin(self, scenes: Sequence[Scene]) -> Any:
        """Perceive these scenes, with a cold scratchpad."""
        return self.planner.begin(self.inputs(scenes))

    def inputs(self, scenes: Sequence[Scene]) -> PlannerInputs:
        """The scenes as the network takes them."""
        arrays = stacked([self.planner.sensors(scene) for scene in scenes])
        inputs = inputs_of([scene.token for scene in scenes], arrays)
        if self.planner.latents is not None:
            inputs = replace(inputs, latents=self.planner.latents.of(scenes))
        return inputs.to(next(self.planner.parameters()).device)

    def plan(self, arms: Mapping[str, Arm], scenes: Sequence[Scene], *, earlier: Arm | None) -> dict[str, Planned]:
        """What every arm plans, and `own`: the plan before any step.

        earlier: how the earlier frame was refined, for arms that start warm; scenes without one start cold.
        """
        state = self.begin(scenes)
        first = self.planner.finish(state).refinement.first
        unmoved = torch.zeros(len(scenes), dtype=torch.long)
        planned = {"own": Planned(poses=first, steps=unmoved, movement=unmoved + torch.nan)}
        warm = None if earlier is None else self.warm(state.refining.progress, scenes, earlier)
        for name, arm in arms.items():
            done = arm.refine(self.head, warm if arm.warm else state.refining.progress)
            poses = done.plans.float() * self.head.pose_units
            moved = done.movement.float().cpu()
            moved = torch.where(moved.isfinite(), moved, torch.nan)
            planned[name] = Planned(poses=poses, steps=done.steps.cpu(), movement=moved)
        return planned

    def warm(self, progress: Progress, scenes: Sequence[Scene], earlier: Arm) -> Progress:
        """The same scenes, with the scratchpads of their earlier frames where there are any."""
        before = [self.earlier_scene(scene.token) for scene in scenes]
        rows = [row for row, scene in enumerate(before) if scene is not None]
        if not rows:
            return progress
        state = self.begin([before[row] for row in rows])
        scratchpad = progress.scratchpad.clone()
        scratchpad[rows] = earlier.refine(self.head, state.refining.progress).scratchpad
        return progress._replace(scratchpad=scratchpad)

    def earlier_scene(self, token: str) -> Scene | None:
        """The frame 0.5 s before a scene's now as a scene; None where the log has none, or it can't be opened."""
        cut = self.source.cut(token)
        if cut.first < 1:
            return None
        apart_s = (cut.log.timestamps_us[cut.now] - cut.log.timestamps_us[cut.now - 1]) * 1e-6
        if abs(apart_s - STEP_S) > STEP_TOLERANCE_S:
            return None
        earlier = replace(
            cut, token=cut.log.tokens[cut.now - 1].decode(), first=cut.first - 1, now=cut.now - 1, end=cut.end - 1
        )
        try:
            return open_scene(earlier, self.source.blobs, self.source.sensors)
        except UnreadableScene:
            return None

    def times_ms(self, arms: Mapping[str, Arm], scenes: Sequence[Scene], *, earlier: Arm) -> dict[str, float]:
        """Median milliseconds of one scene: `perceive` (which all arms share), and the head of every arm.

        An arm that starts warm has a second number, NAME+earlier: with the whole earlier pass, perception included,
        which a car that plans every 0.5 s has made anyway. Arms are timed scene by scene in turn, because long runs
        drift; a first scene is not counted.
        """
        taken: dict[str, list[float]] = {}
        for number, scene in enumerate([scenes[0], *scenes]):
            for name, seconds in self._seconds(arms, scene, earlier).items():
                if number:
                    taken.setdefault(name, []).append(1000 * seconds)
        return {name: statistics.median(times) for name, times in taken.items()}

    def _seconds(self, arms: Mapping[str, Arm], scene: Scene, earlier: Arm) -> dict[str, float]:
        inputs = self.inputs([scene])
        seconds = {}
        seconds["perceive"], state = seconds_of(lambda: self.planner.begin(inputs))
        cold, warm, before_s = state.refining.progress, state.refining.progress, 0.0
        if (before := self.earlier_scene(scene.token)) is not None:
            earlier_inputs = self.inputs([before])
            before_s, done = seconds_of(
                lambda: earlier.refine(self.head, self.planner.begin(earlier_inputs).refining.progress)
            )
            warm = cold._replace(scratchpad=done.scratchpad)
        for name, arm in arms.items():
            seconds[name], _ = seconds_of(lambda arm=arm: arm.refine(self.head, warm if arm.warm else cold))
            if arm.warm:
                seconds[f"{name}+earlier"] = seconds[name] + before_s
        return seconds
