"""How a model labels the windows of clips, shard by shard: the work behind the verb `label`.

A WindowEncoder (a codebook) is given the frames from t0 to the end of the window. A ScenePredictor (a
teacher or student) is given the scene at t0 and nothing later.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from latentdrive.counting import counted
from latentdrive.data.batches.scene_cutting import SceneSpec, cut_scene, scene_batch
from latentdrive.data.batches.transitions import WindowSpec
from latentdrive.data.batches.windows import Opened, make_batch, open_clip
from latentdrive.data.clips.clip_source import ReadableSource
from latentdrive.data.latent_store import LatentWriter, StoreInfo, Windows, stack_latents
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.errors import CheckpointError, ConfigError, TooShort, UnreadableClip
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
    """Labels windows of clips. origin: whose codes they are. known: names of the flags that `label` returns."""

    model: SlotModel
    origin: Origin
    known: tuple[str, ...]
    transition_s: float

    def starts(self, clip: DrivingClip) -> Int64[np.ndarray, "S"]: ...

    def label(
        self, clips: ReadableSource, windows: WindowList, opened: Mapping[int, Opened]
    ) -> tuple[LatentActions, Bool[np.ndarray, "N flags"]]:
        """Labels of the windows, and which inputs were known. opened: the clips of the windows."""
        ...


class FutureLabeller:
    """Labels by a codebook, from all frames of a window and from the motion between them where it is known."""

    origin, known = Origin.INVERSE_DYNAMICS, ("motion",)

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
    """Labels by a teacher or student, from the scene at t0 and nothing later."""

    known = ("velocity", "acceleration", "command")

    def __init__(self, model: ScenePredictor, *, rate_hz: float, transition_s: float, device: str) -> None:
        self.model, self.origin, self.rate_hz, self.device = model, model.origin, rate_hz, device
        self.transition_s = transition_s

    def starts(self, clip: DrivingClip) -> Int64[np.ndarray, "S"]:
        """Frames with the scene's earlier images before them in their shot."""
        return self.model.scene.starts(clip, self.rate_hz)

    def label(
        self, clips: ReadableSource, windows: WindowList, opened: Mapping[int, Opened]
    ) -> tuple[LatentActions, Bool[np.ndarray, "N flags"]]:
        """Codes that the model expects."""
        scenes = [cut_scene(opened[index].clip, row, self.model.scene, rate_hz=self.rate_hz) for index, row in windows]
        batch = scene_batch(scenes, height=clips.height, width=clips.width)
        known = np.stack([getattr(batch, f"{name}_known").numpy() for name in self.known], 1)
        return self.model.predict(batch.to(self.device)), known


def choose_labeller(model: Any, *, rate_hz: float, transition_s: float | None, device: str) -> Labeller:
    """The labeller for this kind of model. transition_s: of a predictor's training codes; a codebook has its own.

    Raises CheckpointError for a model that is neither.
    """
    model.to(device)
    if isinstance(model, WindowEncoder):
        return FutureLabeller(model, rate_hz=rate_hz, device=device)
    if isinstance(model, ScenePredictor):
        return PresentLabeller(model, rate_hz=rate_hz, transition_s=transition_s, device=device)
    raise CheckpointError(
        f"a {type(model).__name__} can't label: give a codebook, a teacher or a student as model=FOLDER"
    )


def label_part(
    labeller: Labeller,
    clips: ReadableSource,
    writer: LatentWriter,
    log: UnreadableLog,
    *,
    batch_size: int,
    shard_windows: int,
    stride: int,
    watch: Callable[[range], Iterable[int]],
) -> dict[str, int]:
    """Label the clips that no finished shard covers, clip by clip. Returns counts. watch: shows the progress."""
    for number, (path, reason) in enumerate(writer.unreadable):
        log.add(-1 - number, UnreadableClip(path, reason))  # found before an interruption
    shard, failed = Shard(labeller, clips, batch_size), []
    for index in watch(range(writer.next_clip, len(clips))):
        try:
            shard.add(index, stride)
        except UnreadableClip as error:
            log.add(index, error)
            if not isinstance(error, TooShort):
                failed.append((error.path, error.reason))
        if len(shard) >= shard_windows or index == len(clips) - 1:
            writer.add(shard.finish(), next_clip=index + 1, unreadable=failed)
            shard, failed = Shard(labeller, clips, batch_size), []
    writer.finish()
    numbers = {"windows": writer.windows, "clips": len(clips), "unreadable": len(writer.unreadable)}
    return numbers | {"too_short": log.too_short()}


class Shard:
    """Labels of the windows of consecutive clips, made a batch at a time while clips are added.

    Each clip is read once and held until its last window is labelled, so a progress bar over clips shows the labelling.
    """

    def __init__(self, labeller: Labeller, clips: ReadableSource, batch_size: int) -> None:
        self.labeller, self.clips, self.batch_size = labeller, clips, batch_size
        self._drives: dict[int, str] = {}  # the drive of each clip, in order
        self._windows: WindowList = []
        self._times: list[float] = []
        self._opened: dict[int, Opened] = {}
        self._parts: list[LatentActions] = []
        self._known: list[np.ndarray] = []
        self._labelled = 0

    def __len__(self) -> int:
        return len(self._windows)

    def add(self, index: int, stride: int) -> None:
        """Add the windows of a clip; label when they fill a batch. Raises UnreadableClip; TooShort without a window."""
        opened = open_clip(self.clips, index)
        clip = opened.clip
        rows = strided_starts(clip, self.labeller.starts(clip), stride)
        if not len(rows):
            raise TooShort(
                self.clips.location(index), f"none of its shots is long enough ({counted(len(clip), 'frame')} in all)"
            )
        self._drives[index], self._opened[index] = clip.drive, opened
        self._windows += [(index, int(row)) for row in rows]
        self._times += clip.times_s[rows].tolist()
        while len(self) - self._labelled >= self.batch_size:
            self._label()

    def finish(self) -> Windows | None:
        """Label the windows that are left, and return all of them; None where no clip had a window."""
        if not self._windows:
            return None
        if self._labelled < len(self):
            self._label()
        place = {index: i for i, index in enumerate(self._drives)}
        return Windows(
            keys=[self.clips.key(index) for index in self._drives],
            drives=list(self._drives.values()),
            clip=np.array([place[index] for index, _ in self._windows]),
            t0_s=np.array(self._times, np.float64),
            latents=stack_latents(self._parts),
            known=np.concatenate(self._known),
        )

    def _label(self) -> None:
        picked = self._windows[self._labelled : self._labelled + self.batch_size]
        latents, flags = self.labeller.label(self.clips, picked, self._opened)
        self._parts.append(latents.to("cpu"))
        self._known.append(flags)
        self._labelled += len(picked)
        waiting = {index for index, _ in self._windows[self._labelled :]}
        self._opened = {index: opened for index, opened in self._opened.items() if index in waiting}


def strided_starts(clip: DrivingClip, starts: Int64[np.ndarray, "S"], stride: int) -> Int64[np.ndarray, "W"]:
    """The `starts` that lie a multiple of `stride` frames after the first frame of their shot.

    Frames are counted from the shot's first frame, not from the first start, so that codebook, teacher
    and student label the same times.
    """
    begins = np.flatnonzero(np.r_[True, clip.shots[1:] != clip.shots[:-1]])
    begin = begins[np.searchsorted(begins, starts, side="right") - 1]
    return starts[(starts - begin) % stride == 0]


def describe(labeller: Labeller, clips: ReadableSource, *, maker: str, stride_s: float) -> StoreInfo:
    """The settings that decide the labels of these clips. maker: fingerprint of the labelling checkpoint."""
    model = labeller.model
    return StoreInfo(
        origin=labeller.origin,
        codebook_id=model.codebook_id,
        maker=maker,
        data=fingerprint_clips(clips),
        transition_s=labeller.transition_s,
        transitions=model.transitions,
        codes_per_transition=model.codes_per_transition,
        codes=model.codes,
        settings={"stride_s": stride_s, "rate_hz": clips.rate_hz, "height": clips.height, "width": clips.width},
        known=labeller.known,
        former_ids=model.former_ids,
    )


def fingerprint_clips(clips: ReadableSource) -> str:
    """16 hexadecimal digits over the identity of every clip and the part of it that is used. Opens no clip."""
    digest = hashlib.sha256(clips.part.identity.encode())
    for index in range(len(clips)):
        if clips.part.times == "test" and clips.is_piece(index):
            digest.update(b"piece")  # of its end, a gap is left out
        try:
            digest.update(json.dumps(clips.identity(index), sort_keys=True).encode())
        except UnreadableClip as error:
            digest.update(str(error).encode())
    return digest.hexdigest()[:16]


def address(infos: dict[str, StoreInfo]) -> str:
    """Name of the folder that holds the stores of all parts."""
    content = json.dumps({part: info.fingerprint for part, info in infos.items()}, sort_keys=True)
    origin = next(iter(infos.values())).origin
    return f"{origin}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def stride_frames(stride_s: float, rate_hz: float) -> int:
    """Frames between windows. Raises ConfigError where that is no whole number."""
    frames = stride_s * rate_hz
    if frames < 0.5 or abs(frames - round(frames)) > 1e-6:
        raise ConfigError(f"stride_s={stride_s:g} is {frames:g} frames at data.rate_hz={rate_hz:g}: make it whole")
    return round(frames)
