"""Transfuser or LTF with a recurrent-depth head (RD-VLA, arXiv:2602.07845): its plan is refined step by step.

The head reads Transfuser's queries as latent tokens and the cells of its map as vision: of the first decoder
layer and the map one stage before the last as the middle depth, of the last ones as the last depth. The plan
of Transfuser's own head comes before the first step, and learns beside the refined one.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from latentdrive.checkpoint_parts import checkpoint_part
from latentdrive.heads.layers import Features
from latentdrive.planners.anytime import AnytimeHead, AnytimeSettings, Perceived, RefinesPlans
from latentdrive.planners.inputs.batch import STATUS, PlannerInputs, Refinement
from latentdrive.planners.transfuser.model import Seen, Transfuser, TransfuserOutput


@checkpoint_part
class AnytimeTransfuser(RefinesPlans, Transfuser):
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

    def perceive(self, inputs: PlannerInputs) -> Perceived:
        """Transfuser without its outputs."""
        seen = self.see(inputs)
        middle = Features(seen.queries[0], seen.earlier.flatten(2).transpose(1, 2))
        last = Features(seen.queries[-1], seen.cells)
        return Perceived(seen=seen, first=self.plan_of(seen), middle=middle, last=last)

    def output(self, seen: Seen, trajectory: Float[Tensor, "B P 3"], refinement: Refinement) -> TransfuserOutput:
        """The refined plan, and the surroundings."""
        return TransfuserOutput(trajectory=trajectory, refinement=refinement, **self.surroundings(seen))
