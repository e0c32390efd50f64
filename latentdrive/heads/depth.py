"""How many steps a recurrent-depth head takes in a training batch: a random, heavy-tailed number.

After RD-VLA (arXiv:2602.07845). The distribution is that of recurrent-depth language models (arXiv:2502.05171).
"""

import math

import torch

SPREAD = 0.5  # standard deviation of the logarithm of the expected depth
MOST_EXPECTED = 100.0  # bound on the expected depth
DEEPEST = 64  # bound on the depth in training


def draw_depth(mean: float, generator: torch.Generator | None = None) -> int:
    """Steps of one training batch, heavy-tailed, from 1 to 64. mean: the expected number, 12 in the paper.

    generator: None draws from torch's own. The expected depth is log-normal with this mean; the depth is
    one more than a Poisson number of it.
    """
    log_depth = math.log(mean) - SPREAD**2 / 2 + SPREAD * torch.randn((), generator=generator).item()
    expected = min(math.exp(log_depth), MOST_EXPECTED)
    steps = 1 + int(torch.poisson(torch.tensor(expected), generator=generator).item())
    return min(steps, DEEPEST)
