"""Transfuser or LTF with a recurrent-depth head (RD-VLA, arXiv:2602.07845): its plan is refined step by step.

The head reads Transfuser's queries as latent tokens and the cells of its map as vision: of the first decoder
layer and the map one stage before the last as the middle depth, of the last ones as the last depth. The plan
of Transfuser's own head comes before the first step, and learns beside the refined one.
"""

from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from latentdrive.checkpoint_parts import checkpoint_part
from latentdrive.heads.layers import Features
from latentdrive.planners.anytime import AnytimeHead, AnytimeSettings, Refining
from latentdrive.planners.inputs.batch import STATUS, PlannerInputs
from latentdrive.planners.transfuser.model import Seen, Transfuser, TransfuserOutput


class TransfuserState(NamedTuple):
    """Scenes between two steps. first: the plans before any step."""

    seen: Seen
    first: Float[Tensor, "B P 3"]
    refining: Refining


@checkpoint_part
class AnytimeTransfuser(Transfuser):
    """Transfuser with a head whose depth is chosen in the car (an AnytimePlanner).

    anytime: of the head. network: the parameters of Transfuser.
    """

    def __init__(self, *, anytime: AnytimeSettings, **network: Any) -> None:
        super().__init__(**network)
        width = self.queries.embedding_dim
        self.head = AnytimeHead(
            anytime,
            poses=self.poses,
            width=width,
            middle_widths=(width, self.backbone.lidar.channels[-2]),
            last_widths=(width, width),
            ego=STATUS,
        )

    def forward(self, inputs: PlannerInputs) -> TransfuserOutput:
        """Plans of B scenes: after a random number of steps in training, else once they rest."""
        state = self.begin(inputs)
        trajectory, refinement = self.head.rested(state.refining, state.first)
        return TransfuserOutput(trajectory=trajectory, refinement=refinement, **self.surroundings(state.seen))

    def begin(self, inputs: PlannerInputs, scratchpad: Float[Tensor, "B K D"] | None = None) -> TransfuserState:
        """Perceive, and plan without the head. scratchpad: of an earlier frame; None starts from noise."""
        seen = self.see(inputs)
        middle = Features(seen.queries[0], seen.earlier.flatten(2).transpose(1, 2))
        last = Features(seen.queries[-1], seen.cells)
        refining = self.head.begin(middle, last, inputs.status(), tokens=inputs.tokens, scratchpad=scratchpad)
        return TransfuserState(seen=seen, first=self.plan_of(seen), refining=refining)

    def refine(self, state: TransfuserState) -> TransfuserState:
        """One more step."""
        return state._replace(refining=self.head.step(state.refining))

    def finish(self, state: TransfuserState) -> TransfuserOutput:
        """The plan after the steps so far."""
        trajectory, refinement = self.head.plan(state.refining, state.first)
        return TransfuserOutput(trajectory=trajectory, refinement=refinement, **self.surroundings(state.seen))

    def scratchpad(self, state: TransfuserState) -> Float[Tensor, "B K D"]:
        """What the next frame can start from."""
        return state.refining.progress.scratchpad
