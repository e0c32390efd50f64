"""What a planner learns from in a scene: the human's plan, the vehicles around, and the semantic bird's-eye view.

The counterpart of sensors.py, made from the truth. Arrays go under the names of PlannerTargets; what no loss asks for is left out.
"""

from dataclasses import dataclass

import numpy as np

from latentdrive.errors import ConfigError, MapError, UnreadableScene
from latentdrive.geometry import relative_pose
from latentdrive.planners.inputs.batch import Arrays
from latentdrive.planners.inputs.bev_semantics import BevSemantics
from latentdrive.planners.sampling import DT_S
from latentdrive.types import FROZEN, LoggedFrame, SceneTruth


@dataclass(**FROZEN)
class SceneTargets:
    """poses: of the human's plan, 0.5 s apart. agents: the nearest vehicles, so many; 0 for none. agents_half_m: only within
    ± so many metres in x and y. bearing_deg: only those that the cameras of LTF see, within ± this angle from straight ahead;
    None for all around. semantics: None for none.
    """

    poses: int
    agents: int
    agents_half_m: float
    bearing_deg: float | None
    semantics: BevSemantics | None

    def __post_init__(self) -> None:
        if self.poses < 1 or self.agents < 0:
            raise ConfigError(
                f"batches.targets: poses must be at least 1 and agents at least 0, got {self.poses} and {self.agents}"
            )

    def __call__(self, truth: SceneTruth) -> Arrays:
        """trajectory [poses, 3]; agents [agents, 5] and agents_real; semantics [h, w]. Raises UnreadableScene naming what is missing."""
        frame = truth.frames[truth.now]
        arrays = {"trajectory": self._human(truth)}
        if self.agents:
            arrays |= self._vehicles(frame)
        if self.semantics is not None:
            try:
                arrays["semantics"] = self.semantics(truth.map, frame.ego_pose, frame.objects)
            except MapError as error:
                raise UnreadableScene(truth.drive, f"scene {truth.token}: {error}") from error
        return arrays

    def _human(self, truth: SceneTruth) -> np.ndarray:
        driven = truth.human
        if len(driven.poses) < self.poses or abs(driven.dt_s - DT_S) > 1e-6:
            raise UnreadableScene(
                truth.drive,
                f"scene {truth.token}: the human's plan has {len(driven.poses)} poses, {driven.dt_s} s apart; needed are {self.poses}, "
                f"{DT_S} s apart: leave out scenes near the end of a log (num_future_frames of the scene filter)",
            )
        return np.asarray(driven.poses[: self.poses], np.float32)

    def _vehicles(self, frame: LoggedFrame) -> Arrays:
        """The nearest first. Vehicles out of the bearing keep their row, which is not real: NAVSIM's order of steps."""
        chosen = np.array([name == "vehicle" for name in frame.objects.names], bool)
        global_poses = frame.objects.poses[chosen]
        poses = relative_pose(np.broadcast_to(frame.ego_pose, global_poses.shape), global_poses)
        boxes = np.concatenate([poses, frame.objects.sizes[chosen, :2]], 1)
        boxes = boxes[(np.abs(boxes[:, :2]) <= self.agents_half_m).all(1)]
        nearest = np.argsort(np.hypot(boxes[:, 0], boxes[:, 1]), kind="stable")[: self.agents]
        agents, real = np.zeros((self.agents, 5), np.float32), np.zeros(self.agents, bool)
        agents[: len(nearest)], real[: len(nearest)] = boxes[nearest], True
        if self.bearing_deg is not None:
            real &= np.abs(np.arctan2(agents[:, 1], agents[:, 0])) <= np.deg2rad(self.bearing_deg)
        return {"agents": agents, "agents_real": real}
