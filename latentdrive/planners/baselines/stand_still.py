"""A car that never moves. Its score is what the metric gives for doing nothing."""

from collections.abc import Sequence

import numpy as np

from latentdrive.planners.sampling import DT_S, NO_SENSORS, POSES
from latentdrive.types import Scene, Trajectory


class StandStill:
    """All poses at the origin, at any speed; needs no sensors (a Planner)."""

    needs = NO_SENSORS

    def plan(self, scenes: Sequence[Scene]) -> Trajectory:
        """Poses [B, 8, 3], all zero."""
        return Trajectory(poses=np.zeros((len(scenes), POSES, 3)), dt_s=DT_S)
