"""The most careful driver there is: it stays where it is. What a score gives it, the score gives for nothing."""

from collections.abc import Sequence

import numpy as np

from latentdrive.planners.sampling import DT_S, NO_SENSORS, POSES
from latentdrive.types import Scene, Trajectory


class StandStill:
    """All poses at the origin, whatever the car's speed is; needs no sensors (a Planner)."""

    needs = NO_SENSORS

    def plan(self, scenes: Sequence[Scene]) -> Trajectory:
        """Poses [B, 8, 3], all zero."""
        return Trajectory(poses=np.zeros((len(scenes), POSES, 3)), dt_s=DT_S)
