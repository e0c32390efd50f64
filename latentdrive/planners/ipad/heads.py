"""What iPad says about its proposals: their scores, and in training whom they meet and which areas they cross.

After the last pass of refiner.py. targets.py makes the truth that these are taught with.
"""

from jaxtyping import Float
from torch import Tensor, nn

from latentdrive.pdms.scene import STEP_S
from latentdrive.planners.ipad.refiner import Mlp
from latentdrive.planners.sampling import DT_S

SCORES = ("NC", "DAC", "EP", "TTC", "C", "total")  # what the logits of a proposal are of, in this order
TOTAL = SCORES.index("total")
STEPS_A_POSE = round(DT_S / STEP_S)  # simulated states from one pose to the next
AGENTS, FLAGS = 2, 2  # who is hit first, who comes too close first; off the drivable area, in oncoming traffic
CORNER_NUMBERS = 8  # x, y of the corners of a box


class ScoreHead(nn.Module):
    """Logits of SCORES, from the strongest of a proposal's queries, channel by channel."""

    def __init__(self, *, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = Mlp(width=width, hidden=hidden, out=len(SCORES))

    def forward(self, queries: Float[Tensor, "B M P D"]) -> Float[Tensor, "B M 6"]:
        """Scores before the sigmoid."""
        return self.layers(queries.amax(2))


class AgentHead(nn.Module):
    """For each simulated step S = 5 P, boxes of the two road users that matter most to a proposal, and whether they do at that step.

    unit_m: metres for which the network says 1 (iPad: 1).
    """

    def __init__(self, *, width: int, hidden: int, poses: int, unit_m: float) -> None:
        super().__init__()
        self.steps, self.unit_m = poses * STEPS_A_POSE, unit_m
        self.layers = Mlp(width=width, hidden=hidden, out=self.steps * AGENTS * (CORNER_NUMBERS + 1))

    def forward(self, queries: Float[Tensor, "B M P D"]) -> tuple[Float[Tensor, "B M S 2 8"], Float[Tensor, "B M S 2"]]:
        """Corners (metres, ego frame of now) and logits."""
        found = self.layers(queries.amax(2)).unflatten(-1, (self.steps, AGENTS, CORNER_NUMBERS + 1))
        return found[..., :CORNER_NUMBERS] * self.unit_m, found[..., CORNER_NUMBERS]


class AreaHead(nn.Module):
    """For each of the 5 simulated steps up to a pose, whether the car is off the drivable area, and whether in oncoming traffic."""

    def __init__(self, *, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = Mlp(width=width, hidden=hidden, out=STEPS_A_POSE * FLAGS)

    def forward(self, queries: Float[Tensor, "B M P D"]) -> Float[Tensor, "B M S 2"]:
        """Logits, S = 5 P steps."""
        return self.layers(queries).unflatten(-1, (STEPS_A_POSE, FLAGS)).flatten(2, 3)
