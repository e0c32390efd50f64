"""PDM-Closed as a planner: the rule-based driver that progress is measured against. Privileged: it knows everybody's position.

Its trajectory is the dear part of preparing a scene for the score, and a prepared scene keeps it. So this planner is given
ScoringScenes instead of truths, from which it would have to simulate its fifteen proposals once more.
"""

from collections.abc import Sequence

import numpy as np

from latentdrive.geometry import relative_pose
from latentdrive.pdms.scene import STEP_S, STEPS, ScoringScene
from latentdrive.types import Trajectory


class PdmClosed:
    """The reference trajectory of each prepared scene (a PrivilegedPlanner, given ScoringScenes)."""

    privileged = True
    takes = ScoringScene

    def plan(self, scenes: Sequence[ScoringScene]) -> Trajectory:
        """Poses [B, 40, 3], 0.1 s apart, seen from the ego now. Its pose of now, which lies on the centre line, is left out."""
        poses = []
        for scene in scenes:
            future = scene.reference[1:STEPS]
            poses.append(relative_pose(np.broadcast_to(scene.ego[:3], future.shape), future))
        return Trajectory(poses=np.stack(poses), dt_s=STEP_S)
