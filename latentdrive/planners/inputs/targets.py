"""A planner's training targets: the human's trajectory, the vehicles around, and the semantic bird's-eye view.

The counterpart of sensors.py, made from the truth of a scene. Arrays are named as the fields of
PlannerTargets; targets that no loss asks for are left out.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from latentdrive.counting import counted
from latentdrive.errors import ConfigError, MapError, UnreadableScene
from latentdrive.geometry import relative_pose
from latentdrive.planners.inputs.batch import Arrays
from latentdrive.planners.inputs.bev_semantics import BevSemantics
from latentdrive.planners.sampling import DT_S
from latentdrive.types import FROZEN, LoggedFrame, SceneTruth


@dataclass(**FROZEN)
class SceneTargets:
    """Which targets are made of a scene.

    poses: of the human's trajectory, 0.5 s apart. agents: how many of the nearest vehicles; 0 for none.
    agents_half_m: only vehicles within ± this distance of the ego in x and in y. bearing_deg: only
    vehicles within ± this angle from straight ahead, which LTF's cameras see; None for all directions.
    semantics: the bird's-eye view; None for none.
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
        """trajectory [poses, 3], agents [agents, 5] and agents_real [agents], semantics [h, w].

        Raises UnreadableScene naming the scene where the human's future is too short or the map is damaged.
        """
        frame = truth.frames[truth.now]
        arrays = {"trajectory": self._trajectory(truth)}
        if self.agents:
            arrays |= self._vehicles(frame)
        if self.semantics is not None:
            try:
                arrays["semantics"] = self.semantics(truth.map, frame.ego_pose, frame.objects)
            except MapError as error:
                raise UnreadableScene(truth.drive, f"scene {truth.token}: {error}") from error
        return arrays

    def _trajectory(self, truth: SceneTruth) -> Float32[np.ndarray, "P 3"]:
        human = truth.human
        if len(human.poses) < self.poses or abs(human.dt_s - DT_S) > 1e-6:
            raise UnreadableScene(
                truth.drive,
                f"scene {truth.token}: the human's trajectory has {counted(len(human.poses), 'pose')} "
                f"{human.dt_s} s apart; training needs {counted(self.poses, 'pose')} {DT_S} s apart. Leave out scenes "
                "near the end of a log "
                "(num_future_frames of the scene filter)",
            )
        return np.asarray(human.poses[: self.poses], np.float32)

    def _vehicles(self, frame: LoggedFrame) -> Arrays:
        """The nearest vehicles first. Vehicles outside the bearing keep their row but are not real, as in NAVSIM."""
        is_vehicle = np.array([name == "vehicle" for name in frame.objects.names], bool)
        global_poses = frame.objects.poses[is_vehicle]
        poses = relative_pose(np.broadcast_to(frame.ego_pose, global_poses.shape), global_poses)
        boxes = np.concatenate([poses, frame.objects.sizes[is_vehicle, :2]], 1)
        boxes = boxes[(np.abs(boxes[:, :2]) <= self.agents_half_m).all(1)]
        nearest = np.argsort(np.hypot(boxes[:, 0], boxes[:, 1]), kind="stable")[: self.agents]
        agents, real = np.zeros((self.agents, 5), np.float32), np.zeros(self.agents, bool)
        agents[: len(nearest)], real[: len(nearest)] = boxes[nearest], True
        if self.bearing_deg is not None:
            real &= np.abs(np.arctan2(agents[:, 1], agents[:, 0])) <= np.deg2rad(self.bearing_deg)
        return {"agents": agents, "agents_real": real}
