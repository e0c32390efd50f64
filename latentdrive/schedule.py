"""Length of a training run and its learning rate: a linear rise, then half a cosine.

Used by teacher, student and planners; the codebook has phases of its own. The rate is a function of
the step alone, so a resumed run continues exactly as an uninterrupted one.
"""

import math
from dataclasses import dataclass

from latentdrive.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CosineSchedule:
    """steps: those of the whole run. warmup: those of the rise. floor: share of the peak learning
    rate that stays at the end.
    """

    steps: int
    warmup: int
    floor: float

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.warmup < self.steps:
            raise ConfigError(
                f"training.schedule.warmup must lie between 0 and steps - 1, got {self.warmup} with steps={self.steps}"
            )
        if not 0 <= self.floor <= 1:
            raise ConfigError(
                f"training.schedule.floor must lie between 0 and 1 (a share of the peak rate), got {self.floor}"
            )

    def learning_rate(self, step: int) -> float:
        """Factor on the peak learning rate at `step`, counted from 0."""
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        share = min(1.0, max(0, step - self.warmup) / max(1, self.steps - self.warmup))
        return rise * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * share)))
