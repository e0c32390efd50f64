"""The nouns of latentdrive and the protocols between its stages.

Axes, the same letters everywhere: B batch, T frames, V cameras, C H W image, D width, A ego latent-action slots,
E environment slots, K codes. Ego frame: rear axle at the first frame of the item, x forward, y left, heading
counter-clockwise in (-pi, pi]. Metres, seconds, radians. Present is t = 0. A scalar carries its unit in its name.

Dataclasses are built at borders (reading, predicting, scoring); inside a network plain tensors are passed.
"""

from dataclasses import dataclass, fields, replace
from enum import IntEnum, StrEnum
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8
from torch import Tensor

FROZEN = {"frozen": True, "kw_only": True, "slots": True}
Moved = TypeVar("Moved", bound="Batch")


class PoseSource(StrEnum):
    """Where a clip's poses come from. Visual odometry knows no metres: its unit is stated in the clip's card."""

    RECORDED = "recorded"
    VISUAL_ODOMETRY = "visual_odometry"
    NONE = "none"


class Origin(StrEnum):
    """Who made the codes. Codes of origin `inverse_dynamics` have seen the future: training targets only."""

    INVERSE_DYNAMICS = "inverse_dynamics"
    TEACHER = "teacher"
    STUDENT = "student"


class Command(IntEnum):
    """Driving command, in NAVSIM's order."""

    LEFT = 0
    STRAIGHT = 1
    RIGHT = 2
    UNKNOWN = 3


@dataclass(**FROZEN)
class DrivingClip:
    """Frames over time from one forward camera, evenly spaced in time except across cuts.

    frames: RGB. times_s: presentation times. shots: number of the shot each frame belongs to; no transition may join
    two shots. ego_poses: x, y, heading relative to the first frame, or None. ego_speed_mps: forward speed, or None.
    intrinsics: pinhole matrix in pixels of `frames`, or None where nothing was given (a guess is recorded by its user).
    drive: what is resampled together in a bootstrap; key: unique name of the clip. poses_causal: False where a pose was
    interpolated towards a recorded one that lies more than half a step of the frames later; None where none was.
    """

    frames: UInt8[np.ndarray, "T 3 H W"]
    times_s: Float64[np.ndarray, "T"]
    shots: Int64[np.ndarray, "T"]
    ego_poses: Float32[np.ndarray, "T 3"] | None
    ego_speed_mps: Float32[np.ndarray, "T"] | None
    pose_source: PoseSource
    intrinsics: Float32[np.ndarray, "3 3"] | None
    key: str
    drive: str
    poses_causal: Bool[np.ndarray, "T"] | None = None

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(**FROZEN)
class ClipTruth:
    """What the built-in world knows of a clip; for probes, and (boxes only) for patch weights. Never a network's input.

    N agents; rows of absent agents are NaN. agent_poses: x, y, heading in the ego frame of the clip's first frame.
    agent_sizes: length, width, height in metres. boxes: left, top, right, bottom as shares of image width and height,
    NaN where out of view. image_motion: for the transition from frame t to t + transition_frames, the image displacement
    (right, down; shares of width and height) that the agent's own motion causes, ego motion removed; NaN where the agent
    is not in view at t. key: that of the DrivingClip.
    """

    times_s: Float64[np.ndarray, "T"]
    agent_poses: Float32[np.ndarray, "T N 3"]
    agent_sizes: Float32[np.ndarray, "N 3"]
    boxes: Float32[np.ndarray, "T N 4"]
    image_motion: Float32[np.ndarray, "T N 2"]
    transition_s: float
    key: str


class Batch:
    """Mixin of batch dataclasses: every tensor field (and nested batch) moves together."""

    __slots__ = ()

    def to(self: Moved, *args, **kwargs) -> Moved:
        """The same batch with every tensor moved or cast as by `Tensor.to`."""
        return self._map(lambda tensor: tensor.to(*args, **kwargs))

    def pin_memory(self: Moved) -> Moved:
        """The same batch in page-locked memory."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self: Moved, change) -> Moved:
        changed = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = change(value)
            elif isinstance(value, Batch):
                changed[field.name] = value._map(change)
        return replace(self, **changed)


@dataclass(**FROZEN)
class LatentFeatures(Batch):
    """Pooled states behind a prediction, in the teacher's widths; the student projects to the same widths."""

    visual: Float[Tensor, "*batch Nv Dv"]
    action: Float[Tensor, "*batch A Da"]


@dataclass(**FROZEN)
class LatentActions(Batch):
    """What the driver did or will do, as small integers.

    codes: ego codes in [0, K), transition first, then code. environment: codes of what the rest of the world did, or None.
    logits: over the K codes, or None. codebook_id: fingerprint of the codebook, transition length included.
    """

    codes: Int64[Tensor, "*batch A"]
    environment: Int64[Tensor, "*batch E"] | None
    logits: Float[Tensor, "*batch A K"] | None
    features: LatentFeatures | None
    codebook_id: str
    origin: Origin


@dataclass(**FROZEN)
class CameraImage:
    """One camera's picture at one time. intrinsics in pixels, camera_to_ego in metres; None where unknown."""

    pixels: UInt8[np.ndarray, "3 H W"]
    intrinsics: Float32[np.ndarray, "3 3"] | None
    camera_to_ego: Float32[np.ndarray, "4 4"] | None


@dataclass(**FROZEN)
class EgoHistory:
    """The ego's past, oldest first, last row now.

    poses: x, y, heading in the ego frame of now. velocity in m/s and acceleration in m/s^2: forward, left. Each with a
    flag that says whether it is known; unknown rows are 0.
    """

    times_s: Float64[np.ndarray, "T"]
    poses: Float32[np.ndarray, "T 3"]
    poses_known: bool
    velocity: Float32[np.ndarray, "T 2"]
    velocity_known: bool
    acceleration: Float32[np.ndarray, "T 2"]
    acceleration_known: bool
    command: Command
    command_known: bool


@dataclass(**FROZEN)
class Scene:
    """What the car sees now and saw before, and nothing later. cameras: name → images over time, oldest first, last now."""

    token: str
    drive: str
    cameras: dict[str, list[CameraImage]]
    ego: EgoHistory


@dataclass(**FROZEN)
class SceneBatch(Batch):
    """Scenes as tensors: what teacher, student and planners are given.

    images: front camera, oldest first, last now, T = 1 + history_frames. velocity (m/s), acceleration (m/s^2): forward,
    left, now; rows that are unknown are 0 and flagged False. command: one of Command.
    """

    images: UInt8[Tensor, "B T 3 H W"]
    velocity: Float[Tensor, "B 2"]
    velocity_known: Bool[Tensor, "B"]
    acceleration: Float[Tensor, "B 2"]
    acceleration_known: Bool[Tensor, "B"]
    command: Int64[Tensor, "B"]
    command_known: Bool[Tensor, "B"]

    def __len__(self) -> int:
        return len(self.images)


@runtime_checkable
class ClipSource(Protocol):
    """A list of clips. Indexing opens the clip, and raises UnreadableClip where that fails."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> DrivingClip: ...


@runtime_checkable
class LatentPredictor(Protocol):
    """Anything that predicts ego latent actions from scenes: teacher or student."""

    codebook_id: str

    def predict(self, batch: SceneBatch) -> LatentActions: ...
