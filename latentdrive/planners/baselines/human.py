"""The human driver as a planner: the recorded future of each scene. Privileged; learned planners imitate it."""

from collections.abc import Sequence

import numpy as np

from latentdrive.counting import counted
from latentdrive.errors import UnreadableScene
from latentdrive.planners.sampling import DT_S, POSES
from latentdrive.types import SceneTruth, Trajectory


class Human:
    """The human driver's next 4 s (a PrivilegedPlanner)."""

    privileged = True
    takes = SceneTruth

    def plan(self, truths: Sequence[SceneTruth]) -> Trajectory:
        """Poses [B, 8, 3]. Raises UnreadableScene where the recorded future is shorter, or in other steps."""
        for truth in truths:
            human = truth.human
            if abs(human.dt_s - DT_S) > 1e-9 or len(human.poses) < POSES:
                raise UnreadableScene(
                    truth.token,
                    f"the human's future is known for {counted(len(human.poses), 'pose')} {human.dt_s:g} s "
                    f"apart, but {POSES} poses {DT_S:g} s apart are needed (synthetic scenes have none)",
                )
        return Trajectory(poses=np.stack([truth.human.poses[:POSES] for truth in truths]), dt_s=DT_S)
