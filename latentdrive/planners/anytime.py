"""Planners that refine their plan step by step; it can be asked for after every step.

AnytimeHead puts the recurrent-depth head of RD-VLA (arXiv:2602.07845) on a planner's features, and RefinesPlans
makes an AnytimePlanner of it: transfuser/anytime.py, ipad/anytime.py and latent_anytime.py say what the head reads.
The planner's own plan comes before the first step.
"""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from latentdrive.checkpoint_parts import checkpoint_part
from latentdrive.heads.depth import draw_depth
from latentdrive.heads.layers import Features
from latentdrive.heads.recurrent_depth import Progress, RecurrentDepth, movement
from latentdrive.planners.inputs.batch import PlannerInputs, PlannerOutput, Refinement
from latentdrive.types import FROZEN

State = TypeVar("State")
NOISE_SEED = 0  # of the scratchpads in the car; each scene has its own noise, whatever its neighbours are


@runtime_checkable
class AnytimePlanner(Protocol):
    """A planner in three pieces, between which its caller may look at the clock. B scenes at once.

    begin: perceive, once; scratchpad: of the frame before, where a warm start is wanted. refine: one more step, as
    often as there is time. finish: the plan after the steps so far; it may be asked for before the first step.
    scratchpad: what the next frame can start from.
    """

    def begin(self, inputs: PlannerInputs, scratchpad: Float[Tensor, "B K D"] | None = None) -> Any: ...
    def refine(self, state: State) -> State: ...
    def finish(self, state: Any) -> PlannerOutput: ...
    def scratchpad(self, state: Any) -> Float[Tensor, "B K D"]: ...


@checkpoint_part
@dataclass(**FROZEN)
class AnytimeSettings:
    """The numbers of an AnytimeHead that its planner does not decide.

    heads: of its attention. mean_steps: expected number of steps in training. pose_units: metres, metres and radians
    that a number of 1 of the head stands for. delta, most_steps: a plan is refined until its mean squared change by a
    step is below `delta`, in pose units, and for at most `most_steps` steps. probe: null decodes the plan after every
    step; a number decodes only once the mean squared change of the scratchpad is below it (lazy coda).
    """

    heads: int
    mean_steps: float
    pose_units: tuple[float, float, float]
    delta: float
    most_steps: int
    probe: float | None


class Refining(NamedTuple):
    """Plans of B scenes between two steps. plan: the head's, in pose units, after `steps`; None before the first."""

    progress: Progress
    plan: Float[Tensor, "B P 3"] | None
    movement: Float[Tensor, "B"]
    steps: int


class AnytimeHead(nn.Module):
    """The head of RD-VLA with a row for each of `poses` poses.

    middle_widths, last_widths: of tokens and vision at both depths. ego: numbers of the ego's state.
    """

    def __init__(
        self,
        settings: AnytimeSettings,
        *,
        poses: int,
        width: int,
        middle_widths: tuple[int, int],
        last_widths: tuple[int, int],
        ego: int,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.network = RecurrentDepth(
            rows=poses,
            outputs=3,
            width=width,
            heads=settings.heads,
            middle_widths=middle_widths,
            last_widths=last_widths,
            ego=ego,
            mean_steps=settings.mean_steps,
        )
        self.register_buffer("pose_units", torch.tensor(settings.pose_units), persistent=False)

    def begin(
        self,
        middle: Features,
        last: Features,
        ego: Float[Tensor, "B E"],
        *,
        tokens: Sequence[str],
        scratchpad: Float[Tensor, "B K D"] | None,
    ) -> Refining:
        """Read the features. tokens: of the scenes, which name their noise. scratchpad: None starts from noise."""
        if scratchpad is None:
            scratchpad = self.network.noise(len(ego)) if self.training else self._noise(tokens)
        progress = self.network.begin(middle, last, ego, scratchpad)
        return Refining(progress=progress, plan=None, movement=ego.new_full((len(ego),), torch.inf), steps=0)

    def step(self, state: Refining) -> Refining:
        """One more step, and the plan after it."""
        progress = self.network.step(state.progress)
        plan = self.network.plan(progress)
        moved = state.movement if state.plan is None else movement(state.plan, plan)
        return Refining(progress=progress, plan=plan, movement=moved, steps=state.steps + 1)

    def plan(self, state: Refining, first: Float[Tensor, "B P 3"]) -> tuple[Float[Tensor, "B P 3"], Refinement]:
        """The plan after the steps so far, in metres and radians. first: the plan before any step."""
        steps = torch.full((len(first),), state.steps, device=first.device)
        refined = Refinement(first=first, steps=steps, movement=state.movement)
        return first if state.plan is None else self._in_metres(state.plan), refined

    def rested(self, state: Refining, first: Float[Tensor, "B P 3"]) -> tuple[Float[Tensor, "B P 3"], Refinement]:
        """The plan after a random number of steps in training, else once each scene's plan rests."""
        if self.training:
            steps = draw_depth(self.network.mean_steps)
            plan = self.network(state.progress, steps)
            return self.plan(state._replace(plan=plan, steps=steps), first)
        chosen = self.settings
        done = self.network.refine(state.progress, delta=chosen.delta, most=chosen.most_steps, probe=chosen.probe)
        return self._in_metres(done.plans), Refinement(first=first, steps=done.steps, movement=done.movement)

    def _in_metres(self, plan: Float[Tensor, "B P 3"]) -> Float[Tensor, "B P 3"]:
        return plan.float() * self.pose_units

    def _noise(self, tokens: Sequence[str]) -> Float[Tensor, "B K D"]:
        """Each scene's own noise: the same at every call, whatever else is in the batch."""
        seeds = ((NOISE_SEED, zlib.crc32(token.encode())) for token in tokens)
        states = (int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1) for seed in seeds)
        return torch.cat([self.network.noise(1, torch.Generator().manual_seed(state)) for state in states])


class Perceived(NamedTuple):
    """What a planner hands to its head.

    seen: whatever its output needs. first: the plans before any step. middle, last: what the head reads.
    """

    seen: Any
    first: Float[Tensor, "B P 3"]
    middle: Features
    last: Features


class Thinking(NamedTuple):
    """Scenes between two steps. seen, first: as in Perceived."""

    seen: Any
    first: Float[Tensor, "B P 3"]
    refining: Refining


class RefinesPlans(ABC):
    """Makes an AnytimePlanner of a network with an AnytimeHead. Among the bases of a class it comes before the network.

    head: reads the ego's state as `PlannerInputs.status` gives it.
    """

    head: AnytimeHead

    @abstractmethod
    def perceive(self, inputs: PlannerInputs) -> Perceived:
        """Everything before the head."""

    @abstractmethod
    def output(self, seen: Any, trajectory: Float[Tensor, "B P 3"], refinement: Refinement) -> PlannerOutput:
        """The output of the network with a refined plan. seen: of `perceive`."""

    def forward(self, inputs: PlannerInputs, scratchpad: Float[Tensor, "B K D"] | None = None) -> PlannerOutput:
        """Plans of B scenes: after a random number of steps in training, else once they rest."""
        state = self.begin(inputs, scratchpad)
        return self.output(state.seen, *self.head.rested(state.refining, state.first))

    def begin(self, inputs: PlannerInputs, scratchpad: Float[Tensor, "B K D"] | None = None) -> Thinking:
        """Perceive, and plan without the head. scratchpad: of an earlier frame; None starts from noise."""
        seen, first, middle, last = self.perceive(inputs)
        refining = self.head.begin(middle, last, inputs.status(), tokens=inputs.tokens, scratchpad=scratchpad)
        return Thinking(seen=seen, first=first, refining=refining)

    def refine(self, state: Thinking) -> Thinking:
        """One more step."""
        return state._replace(refining=self.head.step(state.refining))

    def finish(self, state: Thinking) -> PlannerOutput:
        """The plan after the steps so far."""
        return self.output(state.seen, *self.head.plan(state.refining, state.first))

    def scratchpad(self, state: Thinking) -> Float[Tensor, "B K D"]:
        """What the next frame can start from."""
        return state.refining.progress.scratchpad
