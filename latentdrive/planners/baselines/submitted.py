"""The trajectories of a NAVSIM submission file as a planner, looked up by token."""

from collections.abc import Sequence

import numpy as np

from latentdrive.data.navsim.submission import read_submission
from latentdrive.errors import UnreadableScene, WrongShape
from latentdrive.planners.sampling import NO_SENSORS
from latentdrive.types import Scene, Trajectory


class Submitted:
    """The trajectories of a submission (a Planner).

    file: the pickle. seed: number of the list of predictions in it, from 0.
    """

    needs = NO_SENSORS

    def __init__(self, *, file: str, seed: int) -> None:
        self.submission = read_submission(file, seed=seed)

    def plan(self, scenes: Sequence[Scene]) -> Trajectory:
        """Poses [B, P, 3] as submitted. Raises UnreadableScene for a scene without a usable trajectory in the file."""
        plans = [self._trajectory(scene.token) for scene in scenes]
        if len({(len(plan.poses), plan.dt_s) for plan in plans}) > 1:
            raise WrongShape(
                "the trajectories of these scenes differ in their number of poses or time step: plan them one by one"
            )
        return Trajectory(poses=np.stack([plan.poses for plan in plans]), dt_s=plans[0].dt_s)

    def strangers(self, tokens: Sequence[str]) -> list[str]:
        """Tokens of the file that are not among `tokens`."""
        known = set(tokens)
        return [token for token in (*self.submission.trajectories, *self.submission.unusable) if token not in known]

    def _trajectory(self, token: str) -> Trajectory:
        if token in self.submission.unusable:
            raise UnreadableScene(token, f"{self.submission.path}: {self.submission.unusable[token]}")
        if token not in self.submission.trajectories:
            raise UnreadableScene(token, f"{self.submission.path} holds no trajectory for it")
        return self.submission.trajectories[token]
