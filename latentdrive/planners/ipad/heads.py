"""What iPad predicts about its proposals: their scores and, in training, relevant road users and areas.

The heads read the queries after the last pass of refiner.py. targets.py makes their training targets.
"""

from jaxtyping import Float
from torch import Tensor, nn

from latentdrive.pdms.scene import STEP_S
from latentdrive.planners.ipad.refiner import Mlp
from latentdrive.planners.sampling import DT_S

SCORES = ("NC", "DAC", "EP", "TTC", "C", "total")  # the score logits of a proposal, in this order
TOTAL = SCORES.index("total")
STEPS_A_POSE = round(DT_S / STEP_S)  # simulated states from one pose to the next
AGENTS = 2  # the road user that is hit first, and the one that comes too close first
FLAGS = 2  # off the drivable area; in no lane of the route
CORNER_NUMBERS = 8  # x and y of the four corners of a box


class ScoreHead(nn.Module):
    """Logits of SCORES for each proposal, from its queries, max-pooled."""

    def __init__(self, *, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = Mlp(width=width, hidden=hidden, out=len(SCORES))

    def forward(self, queries: Float[Tensor, "B M P D"]) -> Float[Tensor, "B M 6"]:
        """The logits."""
        return self.layers(queries.amax(2))


class AgentHead(nn.Module):
    """Boxes of the two road users most relevant to a proposal, and whether they are relevant, at each simulated step.

    There are S = 5 P steps. unit_m: metres that an output of 1 stands for (iPad: 1).
    """

    def __init__(self, *, width: int, hidden: int, poses: int, unit_m: float) -> None:
        super().__init__()
        self.steps, self.unit_m = poses * STEPS_A_POSE, unit_m
        self.layers = Mlp(width=width, hidden=hidden, out=self.steps * AGENTS * (CORNER_NUMBERS + 1))

    def forward(self, queries: Float[Tensor, "B M P D"]) -> tuple[Float[Tensor, "B M S 2 8"], Float[Tensor, "B M S 2"]]:
        """Corners (metres, ego frame of now), and logits of relevance."""
        output = self.layers(queries.amax(2)).unflatten(-1, (self.steps, AGENTS, CORNER_NUMBERS + 1))
        return output[..., :CORNER_NUMBERS] * self.unit_m, output[..., CORNER_NUMBERS]


class AreaHead(nn.Module):
    """Whether the ego is off the drivable area, and in no lane of the route, at each simulated step (5 a pose)."""

    def __init__(self, *, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = Mlp(width=width, hidden=hidden, out=STEPS_A_POSE * FLAGS)

    def forward(self, queries: Float[Tensor, "B M P D"]) -> Float[Tensor, "B M S 2"]:
        """Logits at S = 5 P steps."""
        return self.layers(queries).unflatten(-1, (STEPS_A_POSE, FLAGS)).flatten(2, 3)
