"""Windows of transitions: which frames of a clip make one, and a batch of them.

windows.py makes such batches from clips; the codebook learns from them.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Bool, Float16, Float32, Int64, UInt8
from torch import Tensor

from latentdrive.errors import ConfigError
from latentdrive.types import FROZEN, Batch, DrivingClip


@dataclass(**FROZEN)
class TransitionBatch(Batch):
    """B windows of M transitions each, T = M + 1 frames.

    frames: RGB; None where only features are read. features: the backbone's features of the frames,
    from the cache; None without such a cache. motion: dx, dy (metres) and dyaw (radians) over each
    transition, in the ego frame at its start, and the speed (m/s) at its start; 0 where unknown.
    moving: share of each patch that agents' boxes cover at the start or the end of the transition,
    0 without truth; None unless a patch grid was asked for. clip, start: index of the clip in its
    part of the data, and of the window's first frame in the clip.
    """

    frames: UInt8[Tensor, "B T 3 H W"] | None
    features: Float16[Tensor, "B T *rest"] | None
    motion: Float32[Tensor, "B M 4"]
    motion_known: Bool[Tensor, "B"]
    moving: Float32[Tensor, "B M gh gw"] | None
    clip: Int64[Tensor, "B"]
    start: Int64[Tensor, "B"]

    def __len__(self) -> int:
        return len(self.clip)


@dataclass(frozen=True, kw_only=True)
class WindowSpec:
    """Which frames of a clip make a window. transition_s times rate_hz must be a whole number of frames."""

    transitions: int
    transition_s: float
    rate_hz: float

    def __post_init__(self) -> None:
        if self.transitions < 1:
            raise ConfigError(f"a window needs at least 1 transition, got {self.transitions}")
        frames = self.transition_s * self.rate_hz
        if frames < 0.5 or abs(frames - round(frames)) > 1e-6:
            fitting = ", ".join(f"{k / self.transition_s:g}" for k in range(max(1, int(frames)), int(frames) + 3))
            raise ConfigError(
                f"transition_s={self.transition_s:g} is {frames:g} frames at data.rate_hz={self.rate_hz:g}, not a "
                f"whole number: set data.rate_hz to one of {fitting}, or transition_s to "
                f"{max(1, round(frames)) / self.rate_hz:g}"
            )

    @property
    def transition_frames(self) -> int:
        """Frames from the start of a transition to its end."""
        return round(self.transition_s * self.rate_hz)

    @property
    def span(self) -> int:
        """Frames from the first one of a window to the last one."""
        return self.transitions * self.transition_frames

    def starts(self, clip: DrivingClip) -> Int64[np.ndarray, "S"]:
        """All frames at which a window may start; no window spans two shots."""
        if len(clip) <= self.span:
            return np.zeros(0, np.int64)
        return np.flatnonzero(clip.shots[: len(clip) - self.span] == clip.shots[self.span :])


def with_motion(batch: TransitionBatch) -> TransitionBatch:
    """The windows whose motion is known."""
    if batch.motion_known.all():
        return batch
    rows = batch.motion_known.nonzero()[:, 0]
    parts = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return replace(batch, **{name: part[rows] for name, part in parts.items() if part is not None})
