"""Scenes prepared for the score: kept in stores on disk, and those used last in memory."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from latentdrive.errors import StoreError
from latentdrive.lru_cache import LruCache
from latentdrive.pdms.prepare import prepare_scene
from latentdrive.pdms.scene import ScoringScene
from latentdrive.pdms.scorer import Scorer
from latentdrive.pdms.storage.building import build_store
from latentdrive.pdms.storage.store import ScoringStore, store_name
from latentdrive.pdms.versions import Version
from latentdrive.progress import Progress
from latentdrive.types import SceneSource


class PreparedScenes:
    """Prepared scenes of one or more splits.

    folder: where the stores are, one for each split; `evaluate` shares them. version: of the score.
    processes, memory_gb: what preparing may use. kept: how many scenes stay in memory, about 100 kB each.
    """

    def __init__(self, folder: Path, *, version: Version, processes: int, memory_gb: float, kept: int) -> None:
        self.folder, self.version = folder, version
        self._processes, self._memory_gb = processes, memory_gb
        self._stores: dict[str, ScoringStore] = {}
        self._opened: LruCache[str, ScoringScene] = LruCache(kept)

    def prepare(
        self, scenes_id: str, source: SceneSource, tokens: Sequence[str], *, progress: Progress
    ) -> dict[str, str]:
        """Prepare what the store of these scenes lacks; returns why scenes could not be prepared, by token.

        scenes_id: names the store, as `SceneSettings.id_of` gives it.
        """
        rules = self.version.rules
        place = self.folder / store_name(scenes_id, rules)
        report = build_store(
            place,
            source,
            tokens,
            partial(prepare_scene, rules=rules),
            rules=rules,
            processes=self._processes,
            memory_gb=self._memory_gb,
            progress=progress,
        )
        self._stores[scenes_id] = ScoringStore(place, rules=rules)
        return report.failed

    def scorer(self, tokens: Sequence[str], device: torch.device) -> Scorer:
        """The score of plans in these scenes. device: that of the plans; only a GPU is used, else the CPU."""
        return Scorer(
            [self.scene(token) for token in tokens],
            version=self.version,
            device=device if device.type == "cuda" else "cpu",
        )

    def scene(self, token: str) -> ScoringScene:
        """A prepared scene. Raises StoreError for one that `prepare` was not given."""
        return self._opened.get(token, lambda: self._open(token))

    def _open(self, token: str) -> ScoringScene:
        for store in self._stores.values():
            if token in store:
                return store.get(token)
        raise StoreError(
            f"scene {token} is not prepared for the score: only the scenes of this run's splits are prepared"
        )
