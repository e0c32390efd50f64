"""How many poses of a plan are driven before the next plan is made: fewer, where the head took many steps.

After RD-VLA's adaptive execution (arXiv:2602.07845): a plan that took long to rest is an uncertain one. The paper
has a binary rule (few steps: the whole plan, else half of it) and a linear one (fewer poses with every step).
Where a rule begins and ends is a number of the configuration, fixed on val.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from latentdrive.errors import ConfigError
from latentdrive.types import FROZEN


@runtime_checkable
class Execution(Protocol):
    """A rule. steps: that the plans of B scenes took; poses: of a plan. Returns poses to drive, from 1 to `poses`."""

    def __call__(self, steps: Int64[Tensor, "B"], *, poses: int) -> Int64[Tensor, "B"]: ...


@dataclass(**FROZEN)
class BinaryExecution:
    """The whole plan after at most `few_steps` steps, else the first half of it, rounded up."""

    few_steps: int

    def __call__(self, steps: Int64[Tensor, "B"], *, poses: int) -> Int64[Tensor, "B"]:
        """Poses to drive."""
        return torch.where(steps <= self.few_steps, poses, (poses + 1) // 2)


@dataclass(**FROZEN)
class LinearExecution:
    """The whole plan after at most `few_steps` steps, `least_poses` from `many_steps` on, linear between, rounded."""

    few_steps: int
    many_steps: int
    least_poses: int

    def __post_init__(self) -> None:
        if not (self.few_steps < self.many_steps and self.least_poses >= 1):
            raise ConfigError(
                f"few_steps={self.few_steps}, many_steps={self.many_steps}, least_poses={self.least_poses}: many_steps "
                "must be above few_steps, and at least 1 pose is driven"
            )

    def __call__(self, steps: Int64[Tensor, "B"], *, poses: int) -> Int64[Tensor, "B"]:
        """Poses to drive; all of them where a plan has no more than `least_poses`."""
        late = ((steps - self.few_steps) / (self.many_steps - self.few_steps)).clamp(0, 1)
        return (poses - late * max(poses - self.least_poses, 0)).round().long()
