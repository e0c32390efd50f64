"""Embeddings that a teacher or student wrote into latent stores on disk: a LatentSource that opens no sensor.

Codes of origin `inverse_dynamics` were read from the frames after now, so they are refused unless the
caller asks for an upper bound.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from latentdrive.counting import counted
from latentdrive.data.batches.labelled_clips import require_same_files
from latentdrive.data.latent_store import LatentStore
from latentdrive.data.latent_tensors import join_features
from latentdrive.data.store_files import INDEX
from latentdrive.errors import StoreError, UnreadableScene
from latentdrive.identity import same_id
from latentdrive.planners.latents.fusion import ReadsLatents
from latentdrive.planners.sampling import NO_SENSORS
from latentdrive.progress import Progress, unwatched
from latentdrive.types import LatentFeatures, Origin, Scene, SceneSource, Timed


class StoredLatents:
    """The embeddings in a folder that `latentdrive label` wrote (a LatentSource).

    folder: one store, or a folder with a store for each part, all of which are searched. oracle_future:
    take codes that depend on the future, for an upper bound; results then say so. Raises StoreError for a
    store of the wrong origin or without features, MixedCodebooks where parts have different codebooks.
    """

    needs = NO_SENSORS

    def __init__(self, folder: str | Path, *, oracle_future: bool) -> None:
        self.folder = Path(folder)
        folders = [self.folder] if (self.folder / INDEX).is_file() else _parts(self.folder)
        self.stores = [LatentStore(part) for part in folders]
        first = self.stores[0].info
        for store in self.stores:
            store.info.require_codebook(
                first.codebook_id, where=str(self.stores[0].folder), former_ids=first.former_ids
            )
            _require_origin(store, oracle_future)
            _require_same_labeller(self.stores[0], store)
        self.codebook_id, self.origin, self.maker = first.codebook_id, first.origin, first.maker
        self.former_ids = {key: value for store in self.stores for key, value in store.info.former_ids.items()}
        # Seed of a control experiment in which windows have each other's embeddings; None otherwise.
        self.permuted = first.settings.get("permuted")
        self.fingerprint = "+".join(store.fingerprint for store in self.stores)

    def find(self, token: str, drive: str, time_s: float | None) -> tuple[int, int]:
        """Store and row of the window that ends at a scene's now. Raises UnreadableScene where no part holds it."""
        if time_s is not None:
            for number, store in enumerate(self.stores):
                if (row := store.find(drive, time_s)) is not None:
                    return number, row
        moment = "no time" if time_s is None else f"{time_s:.3f} s"
        raise UnreadableScene(
            token,
            f"the latent store {self.folder} holds nothing for it (drive {drive}, {moment}; parts: "
            f"{self._part_names()}): label the split, with parts=[...] naming it",
        )

    def batch(self, rows: Sequence[tuple[int, int]]) -> LatentFeatures:
        """Embeddings of the windows that `find` returned, in their order."""
        if len({number for number, _ in rows}) == 1:
            return self._features(rows[0][0], [row for _, row in rows])
        return join_features([self._features(number, [row]) for number, row in rows])

    def of(self, scenes: Sequence[Scene]) -> LatentFeatures:
        """Embeddings of the scenes, found by drive and time. Raises UnreadableScene where a scene has none."""
        return self.batch([self.find(scene.token, scene.drive, scene.time_s) for scene in scenes])

    def require_labelled_scenes(self, source: SceneSource, tokens: Sequence[str], *, watch: Progress) -> None:
        """Raise StoreError where the logs of scenes are not those that were labelled. watch: shows the progress."""
        if not isinstance(source, Timed):
            return
        scene_of = {source.drive(token): token for token in tokens}
        for store in self.stores:
            keys = [key for key in dict.fromkeys(store.keys) if key in scene_of]
            require_same_files(store, keys, lambda key: source.clip_files(scene_of[key]), watch=watch)

    def require_scenes(self, source: SceneSource, tokens: Sequence[str]) -> None:
        """Raise StoreError where no part holds any of these scenes, because another split was labelled,
        and where their logs are not those that were labelled.
        """
        if not isinstance(source, Timed):
            raise StoreError(
                f"these scenes lie in no clip of a log, so the store {self.folder} can't hold them: give "
                "predictor=CHECKPOINT instead"
            )
        self.require_labelled_scenes(source, tokens, watch=unwatched)
        for token in tokens:
            with suppress(UnreadableScene):
                self.find(token, source.drive(token), source.time_s(token))
                return
        raise StoreError(
            f"{self.folder} holds none of the {counted(len(tokens), 'scene')} (its parts: {self._part_names()}): "
            "label their split, with parts=[...] naming it"
        )

    def require_fit(self, reader: ReadsLatents) -> None:
        """Raise WrongShape where the reader can't read these embeddings."""
        reader.require_fit(self._features(0, [0]))

    def provenance(self) -> dict[str, Any]:
        """The labeller, its codebook, and the store."""
        labeller = {"origin": str(self.origin), "maker": self.maker, "codebook": self.codebook_id}
        return labeller | {"store": self.fingerprint, "permuted": self.permuted}

    def _part_names(self) -> str:
        return ", ".join(store.folder.name for store in self.stores)

    def _features(self, number: int, rows: Sequence[int]) -> LatentFeatures:
        latents = self.stores[number].batch(rows)
        if self.origin is not Origin.INVERSE_DYNAMICS:
            return latents.features
        # The upper bound gets the codes alone, one-hot: not their vectors, and nothing that the codebook saw.
        codes = F.one_hot(latents.codes, self.stores[number].info.codes).float()
        return LatentFeatures(visual=torch.zeros(len(codes), 1, codes.shape[-1]), action=codes)


def _parts(folder: Path) -> list[Path]:
    folders = sorted(path.parent for path in folder.glob(f"*/{INDEX}"))
    if not folders:
        LatentStore(folder)  # raises StoreError that says what the folder holds instead
    return folders


def _require_origin(store: LatentStore, oracle_future: bool) -> None:
    future = store.info.origin is Origin.INVERSE_DYNAMICS
    if future and not oracle_future:
        raise StoreError(
            f"{store.folder} holds codes of origin {store.info.origin}, read from the frames after now: a planner "
            "must not see them. Give a store of origin teacher or student; for an upper bound, marked as one, add "
            "oracle_future=true"
        )
    if oracle_future and not future:
        raise StoreError(f"oracle_future=true, but {store.folder} is of origin {store.info.origin}: leave it out")
    if not future and store[0].features is None:
        raise StoreError(f"{store.folder} holds no features to fuse: label again with a teacher or student")


def _require_same_labeller(first: LatentStore, other: LatentStore) -> None:
    a, b = first.info, other.info
    if a.origin != b.origin or not same_id(a.maker, b.maker, a.former_ids, b.former_ids):
        raise StoreError(
            f"{first.folder} holds codes of origin {a.origin} made by {a.maker}, {other.folder} of origin "
            f"{b.origin} made by {b.maker}: the parts of one store must come from one labeller. Keep them in two "
            "folders"
        )
    if a.settings.get("permuted") != b.settings.get("permuted"):
        raise StoreError(
            f"{first.folder} and {other.folder} are permuted differently (a control experiment): keep them in two "
            "folders"
        )
