"""Trajectories that somebody else planned: those of a NAVSIM submission file, looked up by token."""

from collections.abc import Sequence

import numpy as np

from latentdrive.data.navsim.submission import read_submission
from latentdrive.errors import UnreadableScene, WrongShape
from latentdrive.planners.sampling import NO_SENSORS
from latentdrive.types import Scene, Trajectory


class Submitted:
    """The trajectories of a submission (a Planner). file: the pickle. seed: which of its lists of predictions, counted from 0."""

    needs = NO_SENSORS

    def __init__(self, *, file: str, seed: int) -> None:
        self.submission = read_submission(file, seed=seed)

    def plan(self, scenes: Sequence[Scene]) -> Trajectory:
        """Poses [B, P, 3] as submitted. Raises UnreadableScene for a scene that the file has nothing usable for."""
        found = [self._trajectory(scene.token) for scene in scenes]
        if len({(len(one.poses), one.dt_s) for one in found}) > 1:
            raise WrongShape("these trajectories differ in number of poses: plan them one by one")
        return Trajectory(poses=np.stack([one.poses for one in found]), dt_s=found[0].dt_s)

    def strangers(self, tokens: Sequence[str]) -> list[str]:
        """Tokens of the file that are not among these."""
        known = set(tokens)
        return [token for token in (*self.submission.trajectories, *self.submission.unusable) if token not in known]

    def _trajectory(self, token: str) -> Trajectory:
        if token in self.submission.unusable:
            raise UnreadableScene(token, f"{self.submission.path}: {self.submission.unusable[token]}")
        if token not in self.submission.trajectories:
            raise UnreadableScene(token, f"{self.submission.path} holds no trajectory for it")
        return self.submission.trajectories[token]
