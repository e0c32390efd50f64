"""What the driver did: the recorded future of each scene, as a planner. Privileged; the reference that learned ones imitate."""

from collections.abc import Sequence

import numpy as np

from latentdrive.errors import UnreadableScene
from latentdrive.planners.sampling import DT_S, POSES
from latentdrive.types import SceneTruth, Trajectory


class Human:
    """The driver's own next 4 s (a PrivilegedPlanner)."""

    privileged = True
    takes = SceneTruth

    def plan(self, truths: Sequence[SceneTruth]) -> Trajectory:
        """Poses [B, 8, 3]. Raises UnreadableScene where the recording ends before 4 s, or is not in steps of 0.5 s."""
        for truth in truths:
            found = truth.human
            if abs(found.dt_s - DT_S) > 1e-9 or len(found.poses) < POSES:
                raise UnreadableScene(
                    truth.token,
                    f"the driver's future is known for {len(found.poses)} poses {found.dt_s:g} s apart; {POSES} poses "
                    f"{DT_S:g} s apart are needed (synthetic scenes have none)",
                )
        return Trajectory(poses=np.stack([truth.human.poses[:POSES] for truth in truths]), dt_s=DT_S)
