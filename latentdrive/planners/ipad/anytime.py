"""iPad with a recurrent-depth head (RD-VLA, arXiv:2602.07845): its chosen plan is refined step by step.

The head reads the queries of all proposals as latent tokens, and the cells of the camera maps as vision: the queries
of an earlier pass as the middle depth, those of the last pass as the last depth. The proposal that iPad chooses is
the plan before the first step. iPad's own losses stay as they are.
"""

from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from latentdrive.checkpoint_parts import checkpoint_part
from latentdrive.errors import ConfigError
from latentdrive.heads.layers import Features
from latentdrive.planners.anytime import AnytimeHead, AnytimeSettings, Perceived, RefinesPlans
from latentdrive.planners.inputs.batch import STATUS, PlannerInputs, Refinement
from latentdrive.planners.ipad.model import Ipad, IpadOutput


@checkpoint_part
class AnytimeIpad(RefinesPlans, Ipad):
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

    def perceive(self, inputs: PlannerInputs) -> Perceived:
        """iPad itself. What it outputs is `seen`."""
        seen = self.see(inputs)
        output = self.chosen(seen)
        vision = seen.maps.permute(0, 1, 3, 4, 2).flatten(1, 3)
        middle, last = Features(seen.queries[self.middle_pass - 1], vision), Features(seen.queries[-1], vision)
        return Perceived(seen=output, first=output.trajectory, middle=middle, last=last)

    def output(self, seen: IpadOutput, trajectory: Float[Tensor, "B P 3"], refinement: Refinement) -> IpadOutput:
        """What iPad outputs, with the refined plan."""
        return replace(seen, trajectory=trajectory, refinement=refinement)
