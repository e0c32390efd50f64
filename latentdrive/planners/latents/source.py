"""Where a planner's embeddings come from: a store that a teacher or student filled, or a live predictor in the car.

Beside sensors.py. Both give LatentFeatures for scenes, so teacher and student are exchanged by naming another folder. What knows the
future is refused: codes of origin `inverse_dynamics` were read from the frames after now.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F

from latentdrive import checkpoint
from latentdrive.data.batches.scene_cutting import SceneSpec, scene_batch
from latentdrive.data.latent_store import INDEX, LatentStore
from latentdrive.data.navsim.scenes import FRONT_CAMERA, STEP_S
from latentdrive.data.picture_size import fitted
from latentdrive.errors import CheckpointError, ConfigError, MixedCodebooks, StoreError, UnreadableScene
from latentdrive.identity import FormerIds, same_id
from latentdrive.planners.latents.fusion import LatentFusion
from latentdrive.planners.sampling import NO_SENSORS
from latentdrive.types import (
    FRONT,
    CameraImage,
    Command,
    LatentFeatures,
    LatentPredictor,
    Origin,
    Scene,
    SceneBatch,
    SensorNeeds,
)


@runtime_checkable
class LatentSource(Protocol):
    """Embeddings of scenes.

    codebook_id: of the codes behind them; maker: fingerprint of the checkpoint that made them; former_ids: earlier ids of both,
    as in `checkpoint.Card`; needs: the sensors that making them takes.
    """

    codebook_id: str
    former_ids: FormerIds
    maker: str
    origin: Origin
    needs: SensorNeeds

    def require_widths(self, fusion: LatentFusion) -> None: ...

    def of(self, scenes: Sequence[Scene]) -> LatentFeatures: ...


class StoredLatents:
    """Embeddings from stores on disk (a LatentSource). folder: what `label` wrote, with one store a part; all of them are searched.

    oracle_future: take codes that have seen the future, for an upper bound that says so. Raises StoreError for a store of the wrong
    origin or one without features, MixedCodebooks where the parts speak codes of two codebooks.
    """

    needs = NO_SENSORS

    def __init__(self, folder: str | Path, *, oracle_future: bool) -> None:
        self.folder = Path(folder)
        parts = [self.folder] if (self.folder / INDEX).is_file() else _parts(self.folder)
        self.stores = [LatentStore(part) for part in parts]
        first = self.stores[0].info
        for store in self.stores:
            store.info.require_codebook(
                first.codebook_id, where=str(self.stores[0].folder), former_ids=first.former_ids
            )
            _require_origin(store, oracle_future)
            _require_same(self.stores[0], store)
        self.codebook_id, self.origin, self.maker = first.codebook_id, first.origin, first.maker
        self.former_ids = {key: value for store in self.stores for key, value in store.info.former_ids.items()}
        self.permuted = first.settings.get("permuted")  # seed of a control whose windows have each other's embeddings
        self.fingerprint = "+".join(store.fingerprint for store in self.stores)

    def find(self, token: str, drive: str, time_s: float | None) -> tuple[int, int]:
        """Store and row of the window at a scene's now. Raises UnreadableScene, naming the scene, where no part holds it."""
        if time_s is not None:
            for number, store in enumerate(self.stores):
                if (row := store.find(drive, time_s)) is not None:
                    return number, row
        raise UnreadableScene(
            token,
            f"the latent store {self.folder} holds nothing for it (drive {drive}, {'no time' if time_s is None else f'{time_s:.3f} s'}; "
            f"parts: {', '.join(store.folder.name for store in self.stores)}): label the split, with parts=[...] naming it",
        )

    def batch(self, rows: Sequence[tuple[int, int]]) -> LatentFeatures:
        """Embeddings of the windows that `find` found, in order."""
        if len({number for number, _ in rows}) == 1:
            return self._features(rows[0][0], [row for _, row in rows])
        single = [self._features(number, [row]) for number, row in rows]
        return LatentFeatures(
            visual=torch.cat([one.visual for one in single]), action=torch.cat([one.action for one in single])
        )

    def of(self, scenes: Sequence[Scene]) -> LatentFeatures:
        """Embeddings of the scenes, by drive and time."""
        return self.batch([self.find(scene.token, scene.drive, scene.time_s) for scene in scenes])

    def require_scenes(self, source: Any, tokens: Sequence[str]) -> None:
        """Raise StoreError where no part holds a single one of these scenes: another split was labelled. source: of the scenes."""
        if not hasattr(source, "time_s"):
            raise StoreError(
                f"these scenes lie in no clip of a log, so the store {self.folder} can't hold them: give predictor=CHECKPOINT instead"
            )
        for token in tokens:
            with suppress(UnreadableScene):
                self.find(token, source.drive(token), source.time_s(token))
                return
        parts = ", ".join(store.folder.name for store in self.stores)
        raise StoreError(
            f"{self.folder} holds none of the {len(tokens):,} scenes (its parts: {parts}): label their split, with parts=[...] naming it"
        )

    def require_widths(self, fusion: LatentFusion) -> None:
        """Raise WrongShape where these embeddings are not of the widths that a fusion takes."""
        fusion.require_widths(self._features(0, [0]))

    def _features(self, number: int, rows: Sequence[int]) -> LatentFeatures:
        latents = self.stores[number].batch(rows)
        if self.origin is not Origin.INVERSE_DYNAMICS:
            return latents.features
        # The oracle is told the codes and nothing else: neither the vectors behind them nor what the codebook saw of the picture.
        codes = F.one_hot(latents.codes, self.stores[number].info.codes).float()
        return LatentFeatures(visual=torch.zeros(len(codes), 1, codes.shape[-1]), action=codes)


class LivePredictor:
    """Embeddings made in the car, by a student (or a teacher) that looks through the front camera (a LatentSource).

    folder: its checkpoint. It is given what it was trained on: the front camera at that size, the ego's state, and the command if its
    clips had any. Raises CheckpointError where the checkpoint predicts nothing or does not say how large its pictures were.
    """

    def __init__(self, folder: str | Path, *, device: str) -> None:
        model, card = checkpoint.load(folder)
        if not isinstance(model, LatentPredictor):
            raise CheckpointError(
                f"predictor={folder} holds a {type(model).__name__}, which predicts no latent actions: give a student or a teacher"
            )
        if missing := {"height", "width", "fit", "commands"} - card.data.keys():
            raise CheckpointError(
                f"{folder} does not say what it was shown ({', '.join(sorted(missing))}): an earlier version made it, train it again"
            )
        self.model, self.folder, self.device = model.to(device), Path(folder), device
        self.codebook_id, self.maker, self.origin = model.codebook_id, card.fingerprint, model.origin
        self.former_ids = card.former_ids
        self.size = int(card.data["height"]), int(card.data["width"])
        self.fit, self.commands = card.data["fit"], card.data["commands"]
        self.needs = SensorNeeds(cameras=(FRONT_CAMERA,), frames="all" if _history(model.scene) else "now", lidar=False)

    def require_widths(self, fusion: LatentFusion) -> None:
        """Raise WrongShape where these embeddings are not of the widths that a fusion takes; it looks at a black picture to know."""
        fusion.require_widths(self._expected(self._nothing()))

    def of(self, scenes: Sequence[Scene]) -> LatentFeatures:
        """Embeddings of the scenes. Raises UnreadableScene where one lacks the front camera's pictures."""
        return self._expected(self.batch(scenes))

    def batch(self, scenes: Sequence[Scene]) -> SceneBatch:
        """The scenes as the predictor was trained to see them."""
        times = 1 + self.model.scene.history_frames
        seen = [_front_only(scene, times, self.size, self.fit, self.commands) for scene in scenes]
        return scene_batch(seen, height=self.size[0], width=self.size[1])

    def _expected(self, batch: SceneBatch) -> LatentFeatures:
        features = self.model.predict(batch.to(self.device)).features
        if features is None:
            raise CheckpointError(f"{self.folder} predicts codes without features: it can't be fused")
        return features

    def _nothing(self) -> SceneBatch:
        unknown = torch.zeros(1, dtype=torch.bool)
        return SceneBatch(
            images=torch.zeros(1, 1 + self.model.scene.history_frames, 3, *self.size, dtype=torch.uint8),
            velocity=torch.zeros(1, 2), velocity_known=unknown, acceleration=torch.zeros(1, 2), acceleration_known=unknown,
            command=torch.tensor([int(Command.UNKNOWN)]), command_known=unknown,
        )  # fmt: skip


def open_latents(
    *, latents: str | None, predictor: str | None, oracle_future: bool, device: str
) -> LatentSource | None:
    """The source that was named, or None. Raises ConfigError where both were, or an oracle without a store."""
    if latents is not None and predictor is not None:
        raise ConfigError(
            f"latents={latents} and predictor={predictor}: embeddings come from one of them, leave the other out"
        )
    if oracle_future and latents is None:
        raise ConfigError("oracle_future=true reads codes of the future from a store: name it with latents=FOLDER")
    if latents is not None:
        return StoredLatents(latents, oracle_future=oracle_future)
    return None if predictor is None else LivePredictor(predictor, device=device)


def require_codebook(source: LatentSource, codebook_id: str, *, where: str, former_ids: FormerIds) -> None:
    """Raise MixedCodebooks with both ids where a source speaks the codes of another codebook than `where` was trained with."""
    if not same_id(source.codebook_id, codebook_id, source.former_ids, former_ids):
        raise MixedCodebooks(
            f"{where} was trained with embeddings of codebook {codebook_id}, these are of codebook {source.codebook_id} (made by "
            f"{source.maker}): codes of two codebooks mean different things. Give it the teacher, student or store of its own codebook"
        )


def _parts(folder: Path) -> list[Path]:
    found = sorted(path.parent for path in folder.glob(f"*/{INDEX}"))
    if not found:
        LatentStore(folder)  # raises, saying what is there instead
    return found


def _require_origin(store: LatentStore, oracle_future: bool) -> None:
    future = store.info.origin is Origin.INVERSE_DYNAMICS
    if future and not oracle_future:
        raise StoreError(
            f"{store.folder} holds codes of origin {store.info.origin}, read from the frames after now: a planner must not see them. Give a "
            "store of origin teacher or student; for an upper bound that is marked as such, add oracle_future=true"
        )
    if oracle_future and not future:
        raise StoreError(f"oracle_future=true, but {store.folder} is of origin {store.info.origin}: leave it out")
    if not future and store[0].features is None:
        raise StoreError(f"{store.folder} holds no features to fuse: label again with a teacher or student")


def _require_same(first: LatentStore, store: LatentStore) -> None:
    """Parts of one store come from one maker, in one way."""
    ours, theirs = first.info, store.info
    if ours.origin != theirs.origin or not same_id(ours.maker, theirs.maker, ours.former_ids, theirs.former_ids):
        raise StoreError(
            f"{first.folder} holds codes of origin {ours.origin} made by {ours.maker}, {store.folder} of origin {theirs.origin} made by "
            f"{theirs.maker}: the parts of one store must come from one labeller. Keep them in two folders"
        )
    if first.info.settings.get("permuted") != store.info.settings.get("permuted"):
        raise StoreError(f"of {first.folder} and {store.folder} one is a permuted control: keep them in two folders")


def _history(spec: SceneSpec) -> int:
    if spec.history_frames and abs(spec.history_step_s - STEP_S) > 1e-6:
        raise ConfigError(
            f"a predictor looks back in steps of {spec.history_step_s} s, scenes of logs have one image every {STEP_S} s"
        )
    return spec.history_frames


def _front_only(scene: Scene, times: int, size: tuple[int, int], fit: str, commands: bool) -> Scene:
    images = scene.cameras.get(FRONT, [])
    if len(images) < times:
        raise UnreadableScene(
            scene.token, f"the predictor looks at {times} pictures of {FRONT_CAMERA}, the scene has {len(images)}"
        )
    small = [fitted(np.ascontiguousarray(one.pixels.transpose(1, 2, 0)), size, fit) for one in images[-times:]]
    shown = [CameraImage(pixels=one.transpose(2, 0, 1), intrinsics=None, camera_to_ego=None) for one in small]
    ego = scene.ego if commands else replace(scene.ego, command=Command.UNKNOWN, command_known=False)
    return replace(scene, cameras={FRONT: shown}, ego=ego, lidar=None)
