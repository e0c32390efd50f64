"""A bundle as a Planner, so that `evaluate` and `drive` score exactly what the car will run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latentdrive.export.runtime import Engine
from latentdrive.export.scene_inputs import scene_inputs
from latentdrive.export.sessions import open_bundle
from latentdrive.types import Scene, SensorNeeds, Trajectory


class EnginePlanner:
    """Plans with the runtime's engine, one scene at a time, without a deadline and from a cold start (a Planner)."""

    def __init__(self, engine: Engine) -> None:
        self.engine, card = engine, engine.card
        self.needs = SensorNeeds(cameras=tuple(card["cameras"]), frames="now", lidar=card["lidar"] is not None)

    def plan(self, scenes: Sequence[Scene]) -> Trajectory:
        """Poses [B, P, 3]. Raises UnreadableScene for a scene whose sensors are not the bundle's."""
        card = self.engine.card
        poses = [self.engine.plan(scene_inputs(scene, card)).poses for scene in scenes]
        return Trajectory(poses=np.stack(poses).astype(np.float32), dt_s=card["plan"]["dt_s"])


class BundlePlanner(EnginePlanner):
    """The planner of a bundle folder. provider, threads: of onnxruntime. trust: see `open_bundle`.

    Raises BundleRefused for a folder that is no intact bundle.
    """

    def __init__(self, *, path: str, provider: str, threads: int, trust: bool) -> None:
        super().__init__(open_bundle(Path(path), provider=provider, threads=threads, trust=trust))
