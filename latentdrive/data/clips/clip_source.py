"""What every clip source shares: facts counted while reading, the part of each clip that is used, and the reading protocol.

Between the readers (video.py, kitti.py) and the cache: a reader gives whole clips, the part is cut afterwards, so train
and test share one cache.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32

from latentdrive.errors import ConfigError, TooShort
from latentdrive.geometry import relative_pose
from latentdrive.types import FROZEN, ClipTruth, DrivingClip


@dataclass(**FROZEN)
class ClipFacts:
    """What was found while one clip was read; counts for the card and for `doctor`.

    frames_read: decoded. repeated: isolated repeated frames dropped. cuts: jumps of the picture. holes: places without
    frames for longer than the resampling bears (each begins a new shot, as a cut does). standstill_s: still runs that stay.
    source_hz: median rate of the frames that move. view: left, top, right, bottom of the used window as shares of the
    stored picture. camera_to_ego: 4 x 4 metres, or None. pose_note: how poses were made, their unit, the intrinsics used.
    """

    frames_read: int
    repeated: int
    cuts: int
    holes: int
    standstill_s: float
    duration_s: float
    source_hz: float
    source_height: int
    source_width: int
    view: tuple[float, float, float, float]
    camera_to_ego: list[list[float]] | None
    pose_note: str


@dataclass(**FROZEN)
class Part:
    """Which part of every clip is used. name: all, train or test.

    The first `train_share` of a clip's time is for training; `gap_s` seconds after it belong to neither part.
    """

    name: str
    train_share: float
    gap_s: float

    def __post_init__(self) -> None:
        if self.name not in ("all", "train", "test"):
            raise ConfigError(f"data.part must be all, train or test, got {self.name}")
        if not 0.0 < self.train_share < 1.0:
            raise ConfigError(f"data.train_share must lie between 0 and 1, got {self.train_share}")
        if self.gap_s < 0.0:
            raise ConfigError(f"data.gap_s must not be negative, got {self.gap_s}")

    def rows(self, times_s: np.ndarray) -> slice:
        """Which rows of a clip with these presentation times belong to the part."""
        if self.name == "all" or len(times_s) == 0:
            return slice(0, len(times_s))
        boundary = times_s[0] + self.train_share * (times_s[-1] - times_s[0])
        if self.name == "train":
            return slice(0, int(np.searchsorted(times_s, boundary, side="right")))
        return slice(int(np.searchsorted(times_s, boundary + self.gap_s, side="right")), len(times_s))

    def of(self, clip: DrivingClip, path: str | Path) -> DrivingClip:
        """The part of a whole clip; poses relative to its first frame. Raises TooShort where nothing is left."""
        rows = self.rows(clip.times_s)
        if rows.start >= rows.stop:
            length = float(clip.times_s[-1] - clip.times_s[0])
            raise TooShort(
                path,
                f"{length:.1f} s leave no frame for data.part={self.name}: lower data.gap_s ({self.gap_s} s) "
                f"or data.train_share ({self.train_share})",
            )
        if rows == slice(0, len(clip)):
            return clip
        return replace(
            clip,
            frames=clip.frames[rows],
            times_s=clip.times_s[rows],
            shots=clip.shots[rows],
            ego_poses=None if clip.ego_poses is None else anchored(clip.ego_poses[rows]),
            ego_speed_mps=None if clip.ego_speed_mps is None else clip.ego_speed_mps[rows],
            poses_causal=None if clip.poses_causal is None else clip.poses_causal[rows],
            commands=None if clip.commands is None else clip.commands[rows],
            ego_motion=None if clip.ego_motion is None else clip.ego_motion[rows],
        )


@runtime_checkable
class ReadableSource(Protocol):
    """What a cache and the batches ask of a reader, beyond ClipSource. rate_hz, height, width: after resampling."""

    rate_hz: float
    height: int
    width: int
    part: Part

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> DrivingClip: ...

    def read(self, index: int) -> tuple[DrivingClip, ClipFacts]:
        """The whole clip, whatever the part."""

    def key(self, index: int) -> str:
        """Unique name of the clip, known without opening it."""

    def location(self, index: int) -> Path:
        """File or folder of a clip, for messages."""

    def identity(self, index: int) -> dict[str, Any]:
        """Everything that decides the bytes of `read(index)`; raises UnreadableClip where the file is gone."""

    def header_duration_s(self, index: int) -> float | None:
        """Length by the container's header, without decoding; None where it says nothing."""

    def truth(self, index: int) -> ClipTruth | None:
        """What the world knows of the whole clip, rows by the stored video's frames; None where there is none."""


def anchored(poses: Float[np.ndarray, "T 3"]) -> Float32[np.ndarray, "T 3"]:
    """The same poses relative to their first."""
    poses = np.asarray(poses, np.float64)
    return relative_pose(np.broadcast_to(poses[:1], poses.shape), poses).astype(np.float32)
