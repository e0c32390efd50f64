"""The usable scenes of one part of the data (train or val), as batches of inputs and targets from the cache.

After scene_cache.py; scene_batches.py holds one of these for each part.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from latentdrive.planners.inputs.batch import PlannerInputs, PlannerTargets, inputs_of, targets_of
from latentdrive.planners.inputs.scene_cache import SceneCache
from latentdrive.planners.inputs.sensors import Sensors
from latentdrive.planners.latents.stored import StoredLatents
from latentdrive.types import FROZEN, SceneSource, SceneTruth

TARGET = "target_"  # prefix of the names of target arrays in the cache


@dataclass(**FROZEN)
class SceneOpener:
    """Opens a scene for the cache: the arrays of its sensors and, prefixed with TARGET, those of its targets."""

    source: SceneSource
    sensors: Sensors
    targets: Callable[[SceneTruth], dict[str, np.ndarray]]

    def __call__(self, token: str) -> dict[str, np.ndarray]:
        """Arrays by name."""
        scene, targets = self.source[token], self.targets(self.source.truth(token))
        return {**self.sensors(scene), **{TARGET + name: array for name, array in targets.items()}}


class PlannerScenes:
    """The usable scenes of one part.

    rows: their rows in the cache. latents: store of their embeddings; None without. windows: token →
    store and row of the scene's window, from `latents.find`.
    """

    def __init__(
        self,
        *,
        source: SceneSource,
        cache: SceneCache,
        rows: Sequence[int],
        latents: StoredLatents | None,
        windows: Mapping[str, tuple[int, int]],
    ) -> None:
        self.source, self.cache, self.rows, self._latents = source, cache, list(rows), latents
        self.tokens = [cache.tokens[row] for row in rows]
        self._windows = [windows[token] for token in self.tokens] if latents is not None else []

    def __len__(self) -> int:
        return len(self.rows)

    def drives(self) -> list[str]:
        """The drive of every scene, in order."""
        return [self.source.drive(token) for token in self.tokens]

    def batch(self, picked: Sequence[int]) -> tuple[PlannerInputs, PlannerTargets]:
        """Inputs and targets of the scenes with these numbers, counted over the usable ones."""
        arrays = self.cache.read([self.rows[i] for i in picked])
        inputs = inputs_of([self.tokens[i] for i in picked], arrays)
        if self._latents is not None:
            inputs = replace(inputs, latents=self._latents.batch([self._windows[i] for i in picked]))
        targets = {name.removeprefix(TARGET): array for name, array in arrays.items() if name.startswith(TARGET)}
        return inputs, targets_of(targets)
