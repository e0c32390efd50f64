"""The blind baseline: straight ahead at the present speed.

As NAVSIM's own: the speed is the length of the ego's velocity now, sideways part included, and the heading is kept.
"""

from collections.abc import Sequence

import numpy as np

from latentdrive.errors import UnreadableScene
from latentdrive.planners.sampling import DT_S, NO_SENSORS, POSES, TIMES_S
from latentdrive.types import Scene, Trajectory


class ConstantVelocity:
    """Straight ahead at the present speed; needs no sensors (a Planner)."""

    needs = NO_SENSORS

    def plan(self, scenes: Sequence[Scene]) -> Trajectory:
        """Poses [B, 8, 3] in float32, as NAVSIM's baseline gives them. Raises UnreadableScene where the velocity is unknown."""
        poses = np.zeros((len(scenes), POSES, 3), np.float32)
        for row, scene in enumerate(scenes):
            if not scene.ego.velocity_known:
                raise UnreadableScene(scene.token, "the ego's velocity is unknown, and this planner knows nothing else")
            poses[row, :, 0] = TIMES_S * float(np.hypot(*scene.ego.velocity[-1].astype(np.float64)))
        return Trajectory(poses=poses, dt_s=DT_S)
