"""iPad with a recurrent-depth head (RD-VLA, arXiv:2602.07845): its chosen plan is refined step by step.

The head reads the queries of all proposals as latent tokens, and the cells of the camera maps as vision: the queries
of an earlier pass as the middle depth, those of the last pass as the last depth. The proposal that iPad chooses is
the plan before the first step. iPad's own losses stay as they are.
"""

from dataclasses import replace
from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from latentdrive.checkpoint_parts import checkpoint_part
from latentdrive.errors import ConfigError
from latentdrive.heads.layers import Features
from latentdrive.planners.anytime import AnytimeHead, AnytimeSettings, Refining
from latentdrive.planners.inputs.batch import STATUS, PlannerInputs, Refinement
from latentdrive.planners.ipad.model import Ipad, IpadOutput


class IpadState(NamedTuple):
    """Scenes between two steps. output: of iPad itself."""

    output: IpadOutput
    refining: Refining


@checkpoint_part
class AnytimeIpad(Ipad):
    """iPad with a head whose depth is chosen in the car (an AnytimePlanner).

    anytime: of the head. middle_pass: number of the pass whose queries are the middle depth, from 1. network: the
    parameters of iPad.
    """

    def __init__(self, *, anytime: AnytimeSettings, middle_pass: int, **network: Any) -> None:
        super().__init__(**network)
        if not 1 <= middle_pass < self.passes:
            raise ConfigError(
                f"model.middle_pass={middle_pass} must be at least 1 and below model.passes={self.passes}: the last "
                "pass is the last depth"
            )
        self.middle_pass, width = middle_pass, self.queries.shape[1]
        self.head = AnytimeHead(
            anytime,
            poses=self.poses,
            width=width,
            middle_widths=(width, width),
            last_widths=(width, width),
            ego=STATUS,
        )

    def forward(self, inputs: PlannerInputs) -> IpadOutput:
        """Plans of B scenes: after a random number of steps in training, else once they rest."""
        state = self.begin(inputs)
        return _with_plan(state.output, *self.head.rested(state.refining, state.output.trajectory))

    def begin(self, inputs: PlannerInputs, scratchpad: Float[Tensor, "B K D"] | None = None) -> IpadState:
        """Perceive, propose and choose. scratchpad: of an earlier frame; None starts from noise."""
        seen = self.see(inputs)
        vision = seen.maps.permute(0, 1, 3, 4, 2).flatten(1, 3)
        middle = Features(seen.queries[self.middle_pass - 1], vision)
        last = Features(seen.queries[-1], vision)
        refining = self.head.begin(middle, last, inputs.status(), tokens=inputs.tokens, scratchpad=scratchpad)
        return IpadState(output=self.chosen(seen), refining=refining)

    def refine(self, state: IpadState) -> IpadState:
        """One more step."""
        return state._replace(refining=self.head.step(state.refining))

    def finish(self, state: IpadState) -> IpadOutput:
        """The plan after the steps so far."""
        return _with_plan(state.output, *self.head.plan(state.refining, state.output.trajectory))

    def scratchpad(self, state: IpadState) -> Float[Tensor, "B K D"]:
        """What the next frame can start from."""
        return state.refining.progress.scratchpad


def _with_plan(output: IpadOutput, trajectory: Tensor, refinement: Refinement) -> IpadOutput:
    return replace(output, trajectory=trajectory, refinement=refinement)
