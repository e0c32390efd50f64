"""PDM-Closed as a planner: the rule-based driver that the score measures progress against. It is privileged.

Simulating its fifteen proposals is the expensive part of preparing a scene for the score, and a prepared
scene keeps the result. So this planner is given prepared scenes (ScoringScene) instead of truths.
"""

from collections.abc import Sequence

import numpy as np

from latentdrive.geometry import relative_pose
from latentdrive.pdms.scene import STEP_S, STEPS, ScoringScene
from latentdrive.types import Trajectory


class PdmClosed:
    """The reference trajectory of each prepared scene (a PrivilegedPlanner that takes ScoringScenes)."""

    privileged = True
    takes = ScoringScene

    def plan(self, scenes: Sequence[ScoringScene]) -> Trajectory:
        """Poses [B, 40, 3], 0.1 s apart, in the ego frame of now. The pose of now, on the centre line, is left out."""
        poses = []
        for scene in scenes:
            future = scene.reference[1:STEPS]
            poses.append(relative_pose(np.broadcast_to(scene.ego[:3], future.shape), future))
        return Trajectory(poses=np.stack(poses), dt_s=STEP_S)
