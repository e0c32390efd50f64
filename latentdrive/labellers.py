"""Models as labellers: a codebook labels windows by what happened in them, a teacher or student by the scene at t0.

A WindowEncoder (a codebook) is given the frames from t0 to the end of the window. A ScenePredictor (a
teacher or student) is given the scene at t0 and nothing later, as much of it as in its training.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from latentdrive.checkpoint import Card
from latentdrive.data.batches.predictor_inputs import PredictorInputs, predictor_inputs
from latentdrive.data.batches.scene_cutting import SceneSpec, cut_scene
from latentdrive.data.batches.transitions import WindowSpec
from latentdrive.data.batches.windows import Opened, make_batch
from latentdrive.data.clips.clip_source import ReadableSource
from latentdrive.errors import CheckpointError
from latentdrive.identity import FormerIds
from latentdrive.types import DrivingClip, LatentActions, LatentPredictor, Origin

WindowList = list[tuple[int, int]]  # (clip, frame at t0) of each window


@runtime_checkable
class SlotModel(Protocol):
    """A model of latent actions: `transitions` x `codes_per_transition` slots of `codes` codes of one codebook."""

    codebook_id: str
    former_ids: FormerIds
    codes: int
    transitions: int
    codes_per_transition: int

    def to(self, device: str) -> Any: ...


@runtime_checkable
class PictureSettings(Protocol):
    """What a data set says of its pictures: frames a second, size in pixels, and crop or stretch. DataSet says it."""

    rate_hz: float
    height: int
    width: int
    fit: str


@runtime_checkable
class FrameMaps(Protocol):
    """The backbone of a WindowEncoder. trained: whether the codebook trained it; `maps` is for frozen ones only."""

    trained: bool


@runtime_checkable
class WindowEncoder(SlotModel, Protocol):
    """A model that codes what happened in a window of frames, `transition_s` apart: a codebook."""

    transition_s: float
    features: FrameMaps

    def encode(
        self,
        frames: UInt8[Tensor, "B F 3 H W"],
        motion: Float[Tensor, "B T 4"] | None,
        maps: Float[Tensor, "B F C h w"] | None = None,
    ) -> LatentActions: ...


@runtime_checkable
class ScenePredictor(SlotModel, LatentPredictor, Protocol):
    """A model that predicts latent actions from a scene: a teacher or student. scene: what it sees of the past."""

    origin: Origin
    scene: SceneSpec


@runtime_checkable
class Labeller(Protocol):
    """Labels windows of clips. origin: whose codes they are. known: names of the flags that `label` returns.

    told: those of these inputs that the model is told where they are known.
    """

    model: SlotModel
    origin: Origin
    known: tuple[str, ...]
    told: tuple[str, ...]
    transition_s: float

    def starts(self, clip: DrivingClip) -> Int64[np.ndarray, "S"]: ...

    def label(
        self, clips: ReadableSource, windows: WindowList, opened: Mapping[int, Opened]
    ) -> tuple[LatentActions, Bool[np.ndarray, "N flags"]]:
        """Labels of the windows, and which inputs were known. opened: the clips of the windows."""
        ...


class FutureLabeller:
    """Labels by a codebook, from all frames of a window and from the motion between them where it is known."""

    origin, known, told = Origin.INVERSE_DYNAMICS, ("motion",), ("motion",)

    def __init__(self, model: WindowEncoder, *, rate_hz: float, device: str) -> None:
        self.model, self.device, self.transition_s = model, device, model.transition_s
        self.spec = WindowSpec(transitions=model.transitions, transition_s=model.transition_s, rate_hz=rate_hz)

    def starts(self, clip: DrivingClip) -> Int64[np.ndarray, "S"]:
        """Frames with a whole window after them in their shot."""
        return self.spec.starts(clip)

    def label(
        self, clips: ReadableSource, windows: WindowList, opened: Mapping[int, Opened]
    ) -> tuple[LatentActions, Bool[np.ndarray, "N flags"]]:
        """Codes of what happened. A frozen backbone sees each frame of a batch once, however many windows hold it."""
        batch = make_batch(clips, windows, self.spec, take="frames", patch_grid=None, opened=opened).to(self.device)
        known = batch.motion_known.cpu().numpy()
        motion = batch.motion if known.all() else None
        if self.model.features.trained:
            return self.model.encode(batch.frames, motion), known[:, None]
        steps = np.arange(0, self.spec.span + 1, self.spec.transition_frames)
        places = np.array([[(index, row + step) for step in steps] for index, row in windows])
        _, first, inverse = np.unique(places.reshape(-1, 2), axis=0, return_index=True, return_inverse=True)
        maps = self.model.features.maps(batch.frames.flatten(0, 1)[first])[inverse.reshape(places.shape[:2])]
        return self.model.encode(batch.frames, motion, maps), known[:, None]


class PresentLabeller:
    """Labels by a teacher or student, from the scene at t0 and nothing later. inputs: what it saw in training."""

    known = ("velocity", "acceleration", "command")

    def __init__(
        self, model: ScenePredictor, *, inputs: PredictorInputs, rate_hz: float, transition_s: float, device: str
    ) -> None:
        self.model, self.origin, self.rate_hz, self.device = model, model.origin, rate_hz, device
        self.inputs, self.transition_s = inputs, transition_s
        self.told = self.known if inputs.commands else tuple(name for name in self.known if name != "command")

    def starts(self, clip: DrivingClip) -> Int64[np.ndarray, "S"]:
        """Frames with the scene's earlier images before them in their shot."""
        return self.model.scene.starts(clip, self.rate_hz)

    def label(
        self, clips: ReadableSource, windows: WindowList, opened: Mapping[int, Opened]
    ) -> tuple[LatentActions, Bool[np.ndarray, "N flags"]]:
        """Codes that the model expects."""
        scenes = [cut_scene(opened[index].clip, row, self.model.scene, rate_hz=self.rate_hz) for index, row in windows]
        batch = self.inputs.batch(scenes)
        known = np.stack([getattr(batch, f"{name}_known").numpy() for name in self.known], 1)
        return self.model.predict(batch.to(self.device)), known


def choose_labeller(model: Any, *, card: Card, folder: str | Path, data: PictureSettings, device: str) -> Labeller:
    """The labeller for this kind of model. card, folder: of its checkpoint. data: the data set to be labelled.

    Raises CheckpointError for a model that is neither, and for a predictor whose card does not say what
    it was shown; ConfigError where the pictures of the data are not as in its training.
    """
    model.to(device)
    if isinstance(model, WindowEncoder):
        return FutureLabeller(model, rate_hz=data.rate_hz, device=device)
    if isinstance(model, ScenePredictor):
        inputs, transition_s = predictor_inputs(card.data, folder=folder), card.data.get("transition_s")
        inputs.require_pictures(height=data.height, width=data.width, fit=data.fit)
        return PresentLabeller(model, inputs=inputs, rate_hz=data.rate_hz, transition_s=transition_s, device=device)
    raise CheckpointError(
        f"a {type(model).__name__} can't label: give a codebook, a teacher or a student as model=FOLDER"
    )
