"""Embeddings made in the car by a student or teacher that sees the front camera: a LatentSource without a store."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentdrive import checkpoint
from latentdrive.counting import counted
from latentdrive.data.batches.predictor_inputs import predictor_inputs
from latentdrive.data.batches.scene_cutting import SceneSpec
from latentdrive.data.navsim.scenes import STEP_S
from latentdrive.data.picture_size import fitted
from latentdrive.errors import CheckpointError, ConfigError, UnreadableScene
from latentdrive.planners.latents.fusion import ReadsLatents
from latentdrive.types import (
    FRONT,
    FRONT_CAMERA,
    CameraImage,
    Command,
    LatentFeatures,
    LatentPredictor,
    Scene,
    SceneBatch,
    SceneSource,
    SensorNeeds,
)


class LivePredictor:
    """The predictor of a checkpoint folder, which runs on every scene (a LatentSource).

    It sees what it was trained on: the front camera at its training size, the ego's state, and the driving
    command if its training clips had one. Raises CheckpointError where the checkpoint is no predictor, or
    does not say how large its pictures were.
    """

    def __init__(self, folder: str | Path, *, device: str) -> None:
        model, card = checkpoint.load(folder)
        if not isinstance(model, LatentPredictor):
            raise CheckpointError(
                f"predictor={folder} holds a {type(model).__name__}, which predicts no latent actions: give a "
                "student or a teacher"
            )
        self.inputs = predictor_inputs(card.data, folder=folder)
        self.model, self.folder, self.device = model.to(device), Path(folder), device
        self.codebook_id, self.maker, self.origin = model.codebook_id, card.fingerprint, model.origin
        self.former_ids = card.former_ids
        _require_log_steps(model.scene)
        frames = "all" if model.scene.history_frames else "now"
        self.needs = SensorNeeds(cameras=(FRONT_CAMERA,), frames=frames, lidar=False)

    def of(self, scenes: Sequence[Scene]) -> LatentFeatures:
        """Embeddings of the scenes. Raises UnreadableScene where one lacks pictures of the front camera."""
        return self._features(self.batch(scenes))

    def batch(self, scenes: Sequence[Scene]) -> SceneBatch:
        """The scenes as the predictor saw them in training."""
        return self.inputs.batch([self._with_pictures(scene) for scene in scenes])

    def require_fit(self, reader: ReadsLatents) -> None:
        """Raise WrongShape where the reader can't read these embeddings."""
        reader.require_fit(self._features(self._black_picture()))

    def require_scenes(self, source: SceneSource, tokens: Sequence[str]) -> None:
        """Nothing to require: it makes embeddings of any scene with a front camera."""

    def provenance(self) -> dict[str, Any]:
        """The predictor and its codebook."""
        return {"origin": str(self.origin), "maker": self.maker, "codebook": self.codebook_id}

    def _features(self, batch: SceneBatch) -> LatentFeatures:
        features = self.model.predict(batch.to(self.device)).features
        if features is None:
            raise CheckpointError(f"{self.folder} predicts codes without features: it can't be fused")
        return features

    def _with_pictures(self, scene: Scene) -> Scene:
        """The scene with pictures of the front camera as the predictor's training clips had them."""
        count, images = 1 + self.model.scene.history_frames, scene.cameras.get(FRONT, [])
        if len(images) < count:
            raise UnreadableScene(
                scene.token,
                f"the predictor needs {counted(count, 'picture')} of {FRONT_CAMERA}, the scene has {len(images)}",
            )
        pictures = [np.ascontiguousarray(image.pixels.transpose(1, 2, 0)) for image in images[-count:]]
        size = self.inputs.height, self.inputs.width
        small = [fitted(picture, size, self.inputs.fit).transpose(2, 0, 1) for picture in pictures]
        shown = [CameraImage(pixels=pixels, intrinsics=None, camera_to_ego=None) for pixels in small]
        return replace(scene, cameras={FRONT: shown})

    def _black_picture(self) -> SceneBatch:
        """A batch of one scene about which nothing is known."""
        count, size = 1 + self.model.scene.history_frames, (self.inputs.height, self.inputs.width)
        unknown = torch.zeros(1, dtype=torch.bool)
        return SceneBatch(
            images=torch.zeros(1, count, 3, *size, dtype=torch.uint8),
            velocity=torch.zeros(1, 2),
            velocity_known=unknown,
            acceleration=torch.zeros(1, 2),
            acceleration_known=unknown,
            command=torch.tensor([int(Command.UNKNOWN)]),
            command_known=unknown,
        )


def _require_log_steps(spec: SceneSpec) -> None:
    """Raise ConfigError for a predictor whose earlier images are not as far apart as those of a log's scenes."""
    if spec.history_frames and abs(spec.history_step_s - STEP_S) > 1e-6:
        raise ConfigError(
            f"this predictor looks back in steps of {spec.history_step_s} s, but scenes of logs have an image every "
            f"{STEP_S} s: train it with scene.history_step_s={STEP_S}"
        )
