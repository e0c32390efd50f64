"""Transfuser or LTF with a recurrent-depth head (RD-VLA, arXiv:2602.07845): its plan is refined step by step.

The head reads Transfuser's queries as latent tokens and the cells of its map as vision: of the first decoder
layer and the map one stage before the last as the middle depth, of the last ones as the last depth. The plan
of Transfuser's own head comes before the first step, and learns beside the refined one.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from latentdrive.checkpoint_parts import checkpoint_part
from latentdrive.heads.depth import draw_depth
from latentdrive.heads.layers import Features
from latentdrive.heads.recurrent_depth import Progress, RecurrentDepth, movement
from latentdrive.planners.inputs.batch import STATUS, PlannerInputs, PlannerTargets
from latentdrive.planners.losses import PlanScorer, imitation
from latentdrive.planners.transfuser.losses import TransfuserLoss
from latentdrive.planners.transfuser.model import Seen, Transfuser, TransfuserOutput, with_heading
from latentdrive.types import FROZEN

NOISE_SEED = 0  # of the scratchpads in the car; each scene has its own noise, whatever its neighbours are


@dataclass(**FROZEN)
class AnytimeOutput(TransfuserOutput):
    """The refined plan and the surroundings.

    first: the plan before any step. steps: that each sample took. movement: mean squared change of its plan at the
    last one, in pose units; a plan that still moves is uncertain. infinite after fewer than two steps.
    """

    first: Float[Tensor, "B P 3"]
    steps: Int64[Tensor, "B"]
    movement: Float[Tensor, "B"]


class Refining(NamedTuple):
    """A scene between two steps. first: the plan before any step; plan: the head's, in pose units, after `steps`."""

    seen: Seen
    progress: Progress
    first: Float[Tensor, "B P 3"]
    plan: Float[Tensor, "B P 3"] | None
    movement: Float[Tensor, "B"]
    steps: int


@dataclass(**FROZEN)
class AnytimeLoss(TransfuserLoss):
    """TransfuserLoss of the refined plan. first: weight of the distance of the plan before any step."""

    first: float

    def __call__(self, output: AnytimeOutput, targets: PlannerTargets, scorer: PlanScorer | None) -> dict[str, Tensor]:
        """The weighted losses by name. Raises ConfigError where the targets lack agents or semantics."""
        first = self.first * imitation(output.first, targets.trajectory)
        # Not super(): a dataclass with slots is made twice, and the first one is not the base of `self`.
        return TransfuserLoss.__call__(self, output, targets, scorer) | {"first": first}


@checkpoint_part
class AnytimeTransfuser(Transfuser):
    """Transfuser with a head whose depth is chosen in the car (an AnytimePlanner).

    network: the parameters of Transfuser. head_heads, mean_steps: of the head. pose_units: metres, metres
    and radians that a number of 1 of the head stands for. delta, most_steps: a plan is refined until its
    mean squared change by a step is below `delta`, in pose units, and for at most `most_steps` steps.
    """

    def __init__(
        self,
        *,
        head_heads: int,
        mean_steps: float,
        pose_units: tuple[float, float, float],
        delta: float,
        most_steps: int,
        **network: Any,
    ) -> None:
        super().__init__(**network)
        self.delta, self.most_steps = delta, most_steps
        width = self.queries.embedding_dim
        self.head = RecurrentDepth(
            rows=self.poses,
            outputs=3,
            width=width,
            heads=head_heads,
            middle_widths=(width, self.backbone.lidar.channels[-2]),
            last_widths=(width, width),
            ego=STATUS,
            mean_steps=mean_steps,
        )
        self.register_buffer("pose_units", torch.tensor(pose_units), persistent=False)

    def forward(self, inputs: PlannerInputs) -> AnytimeOutput:
        """Plans of B scenes: after a random number of steps in training, else once they rest."""
        start = self.begin(inputs)
        if self.training:
            steps = draw_depth(self.head.mean_steps)
            plan = self.head(start.progress, steps)
            return self.finish(start._replace(plan=plan, steps=steps))
        rested = self.head.refine(start.progress, delta=self.delta, most=self.most_steps)
        output = self.finish(start._replace(plan=rested.plans, movement=rested.movement))
        return replace(output, steps=rested.steps)

    def begin(self, inputs: PlannerInputs, scratchpad: Float[Tensor, "B K D"] | None = None) -> Refining:
        """Perceive, and plan without the head. scratchpad: of an earlier frame; None starts from noise."""
        seen = self.see(inputs)
        if scratchpad is None:
            scratchpad = self.head.noise(len(inputs)) if self.training else self._noise(inputs.tokens)
        middle = Features(seen.queries[0], seen.earlier.flatten(2).transpose(1, 2))
        progress = self.head.begin(middle, Features(seen.queries[-1], seen.cells), inputs.status(), scratchpad)
        first = self.plan_of(seen)
        unmoved = first.new_full((len(first),), torch.inf)
        return Refining(seen=seen, progress=progress, first=first, plan=None, movement=unmoved, steps=0)

    def refine(self, state: Refining) -> Refining:
        """One more step."""
        progress = self.head.step(state.progress)
        plan = self.head.plan(progress)
        moved = state.movement if state.plan is None else movement(state.plan, plan)
        return state._replace(progress=progress, plan=plan, movement=moved, steps=state.steps + 1)

    def finish(self, state: Refining) -> AnytimeOutput:
        """The plan after the steps so far."""
        return AnytimeOutput(
            trajectory=state.first if state.plan is None else with_heading(state.plan.float() * self.pose_units),
            first=state.first,
            steps=torch.full((len(state.first),), state.steps, device=state.first.device),
            movement=state.movement,
            **self.surroundings(state.seen),
        )

    def _noise(self, tokens: Sequence[str]) -> Float[Tensor, "B K D"]:
        """Each scene's own noise: the same at every call, whatever else is in the batch."""
        seeds = ((NOISE_SEED, zlib.crc32(token.encode())) for token in tokens)
        states = (int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1) for seed in seeds)
        return torch.cat([self.head.noise(1, torch.Generator().manual_seed(state)) for state in states])
