"""The blind baseline: straight ahead at the present speed.

As NAVSIM's own baseline (pdms/straight_ahead.py): the speed is the length of the ego's velocity now, and
the heading stays 0.
"""

from collections.abc import Sequence

import numpy as np

from latentdrive.errors import UnreadableScene
from latentdrive.pdms.straight_ahead import straight_ahead
from latentdrive.planners.sampling import DT_S, NO_SENSORS, TIMES_S
from latentdrive.types import Scene, Trajectory


class ConstantVelocity:
    """Straight ahead at the present speed; needs no sensors (a Planner)."""

    needs = NO_SENSORS

    def plan(self, scenes: Sequence[Scene]) -> Trajectory:
        """Poses [B, 8, 3], float32 as in NAVSIM. Raises UnreadableScene where the velocity is unknown."""
        for scene in scenes:
            if not scene.ego.velocity_known:
                raise UnreadableScene(scene.token, "the ego's velocity is unknown, and this planner has no other input")
        poses = [straight_ahead(scene.ego.velocity[-1], TIMES_S) for scene in scenes]
        return Trajectory(poses=np.stack(poses), dt_s=DT_S)
