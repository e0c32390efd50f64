"""What clip sources share as types: options of reading, the part of the clips that is used, facts, and the protocols.

file_clips.py has the walk from frames to a clip; video.py, kitti.py, comma2k19.py and
data/navsim/clip_source.py say where the files are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from latentdrive.data.picture_size import Stored
from latentdrive.errors import ConfigError, TooShort
from latentdrive.geometry import relative_pose
from latentdrive.types import FROZEN, ClipTruth, DrivingClip, PoseSource

# Time in seconds, RGB [height, width, 3] at the size asked for, shape of the picture in its file.
Frames = Iterator[tuple[float, np.ndarray, Stored]]


@dataclass(**FROZEN)
class ClipFacts:
    """Counts and notes of reading one clip, for the card and for `doctor`.

    frames_read: frames decoded. repeated: isolated repeated frames that were dropped. cuts: jumps
    of the picture. holes: places without frames for longer than resampling bears, or whose frames
    were dropped as damaged; each begins a new shot, as a cut does. standstill_s: seconds of
    standstill, which stay. source_hz: median rate of the frames that move. source_height,
    source_width: of the picture as it is shown, upright and with square pixels. view: left, top,
    right, bottom of the used window as shares of that picture. camera_to_ego: 4 x 4 metres, or
    None. pose_note: how poses were made, their unit, the intrinsics used. damaged: frames that the
    decoder reports as damaged. dropped: these, and those after them up to the next key frame; none
    of them is in frames_read. damage_note: both in a sentence.
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
    damaged: int = 0
    dropped: int = 0
    damage_note: str = ""


@dataclass(**FROZEN)
class Part:
    """What differs between the parts of a data set (train, val, probe): the `part:` node of configs/data/*.yaml.

    path: where the part's clips are. split: NAVSIM's list of scenes whose logs are taken; None
    where the data have no splits. times: which time of every clip is used: all, train or test. The
    first `train_share` of a clip's time is for training, the next `gap_s` seconds belong to
    neither, the rest is for testing. Where a clip is one of several pieces of a recording, its last
    `gap_s` seconds belong to neither, too, because the next piece begins with training.
    """

    path: str
    times: str
    train_share: float
    gap_s: float
    split: str | None = None

    def __post_init__(self) -> None:
        if self.times not in ("all", "train", "test"):
            raise ConfigError(f"data.part.times must be all, train or test, got {self.times}")
        if not 0.0 < self.train_share < 1.0:
            raise ConfigError(f"data.part.train_share must lie between 0 and 1, got {self.train_share}")
        if self.gap_s < 0.0:
            raise ConfigError(f"data.part.gap_s must not be negative, got {self.gap_s}")

    @property
    def identity(self) -> str:
        """What decides which rows of a clip are used, as latent stores write it since the first one."""
        return f"Part(name={self.times!r}, train_share={self.train_share!r}, gap_s={self.gap_s!r})"

    def rows(self, times_s: Float64[np.ndarray, "T"], *, piece: bool = False) -> slice:
        """Which rows of a clip with these presentation times belong to the part. piece: of a
        recording that has other clips, too.
        """
        if self.times == "all" or len(times_s) == 0:
            return slice(0, len(times_s))
        boundary = times_s[0] + self.train_share * (times_s[-1] - times_s[0])
        if self.times == "train":
            return slice(0, int(np.searchsorted(times_s, boundary, side="right")))
        start = int(np.searchsorted(times_s, boundary + self.gap_s, side="right"))
        stop = int(np.searchsorted(times_s, times_s[-1] - self.gap_s)) if piece else len(times_s)
        return slice(start, stop)

    def of(self, clip: DrivingClip, path: str | Path, *, piece: bool = False) -> DrivingClip:
        """The part of a whole clip, poses relative to its first frame. path: for messages. piece:
        as for `rows`. Raises TooShort if nothing is left.
        """
        rows = self.rows(clip.times_s, piece=piece)
        if rows.start >= rows.stop:
            length = float(clip.times_s[-1] - clip.times_s[0])
            raise TooShort(
                path,
                f"{length:.1f} s leave no frame for data.part.times={self.times}: lower data.part.gap_s "
                f"({self.gap_s} s) or data.part.train_share ({self.train_share})",
            )
        if rows == slice(0, len(clip)):
            return clip
        names = ("frames", "times_s", "shots", "ego_speed_mps", "commands", "ego_motion")
        arrays = {name: getattr(clip, name) for name in names}
        cut = {name: None if array is None else array[rows] for name, array in arrays.items()}
        for name in ("ego_poses", "known_poses"):
            poses = getattr(clip, name)
            cut[name] = None if poses is None else anchored(poses[rows], clip.ego_poses[rows.start])
        return replace(clip, **cut)


@runtime_checkable
class ReadableSource(Protocol):
    """A ClipSource with the facts that a cache and the batches need.

    rate_hz, height, width: after resampling.
    """

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

    def drive(self, index: int) -> str:
        """Name of the recording that the clip belongs to: bootstraps resample whole drives."""

    def files(self, index: int) -> list[Path]:
        """Every file and folder that decides the clip; the first must exist."""

    def is_piece(self, index: int) -> bool:
        """Whether the clip beside it in this source is of the same recording."""

    def identity(self, index: int) -> dict[str, Any]:
        """Everything that decides the bytes of `read(index)`. Raises UnreadableClip if the file is gone."""

    def header_duration_s(self, index: int) -> float | None:
        """Length in seconds by the file's header, without decoding; None if the header does not say it."""

    def truth(self, index: int) -> ClipTruth | None:
        """The built-in world's ground truth of the whole clip, one row a frame of the stored video;
        None for recordings.
        """


@dataclass(**FROZEN)
class EgoTrack:
    """The ego's motion through a clip, fields as in DrivingClip (known: known_poses). note: how it
    was found, its unit, the intrinsics used.
    """

    poses: Float32[np.ndarray, "T 3"] | None = None
    speed_mps: Float32[np.ndarray, "T"] | None = None
    source: PoseSource = PoseSource.NONE
    known: Float32[np.ndarray, "T 3"] | None = None
    note: str = ""


@runtime_checkable
class Odometry(Protocol):
    """Estimates the poses of a clip that has none: visual_odometry.VisualOdometry."""

    def __call__(
        self,
        frames: Callable[[tuple[int, int]], Frames],
        *,
        times_s: Float64[np.ndarray, "T"],
        shots: Int64[np.ndarray, "T"],
        stored: Stored,
        intrinsics: Float64[np.ndarray, "3 3"] | None,
        field_of_view_deg: float,
    ) -> EgoTrack:
        """The ego's motion at these times. frames: decodes the clip again, stretched to a (height, width).

        stored: shape of the stored pictures; intrinsics are in their pixels.
        field_of_view_deg: horizontal, for pictures without intrinsics.
        """


@dataclass(frozen=True, kw_only=True)
class ClipOptions:
    """How clips are read, the same for all parts of a data set: the `options:` node of configs/data/*.yaml.

    rate_hz: frames a second after resampling. height, width: training size in pixels. fit: crop
    (the middle, undistorted) or stretch (the whole picture, distorted). images_hz: rate of numbered
    images without times.txt. video_hz: frames a second of videos that state none, or a wrong one;
    None to believe the files. poses: recorded, visual_odometry (estimated by `odometry` where none
    are recorded) or none. field_of_view_deg: horizontal, the guess where nothing gives the
    intrinsics.
    """

    rate_hz: float
    height: int
    width: int
    fit: str
    images_hz: float | None
    poses: str
    odometry: Odometry | None
    field_of_view_deg: float
    video_hz: float | None = None

    def __post_init__(self) -> None:
        if self.rate_hz <= 0 or self.height < 8 or self.width < 8:
            raise ConfigError(
                "data.rate_hz must be above 0, data.height and data.width at least 8; "
                f"got {self.rate_hz}, {self.height}, {self.width}"
            )
        if self.video_hz is not None and not 0 < self.video_hz < np.inf:
            raise ConfigError(
                f"data.options.video_hz must be above 0, or null to believe the videos; got {self.video_hz}"
            )
        if self.fit not in ("stretch", "crop"):
            raise ConfigError(f"data.options.fit must be stretch or crop; got {self.fit}")
        if self.poses not in ("recorded", "visual_odometry", "none"):
            raise ConfigError(f"data.options.poses must be recorded, visual_odometry or none; got {self.poses}")
        if self.poses == "visual_odometry" and self.odometry is None:
            raise ConfigError(
                "data.options.poses=visual_odometry needs data.options.odometry, which estimates the poses"
            )


def anchored(poses: Float[np.ndarray, "T 3"], first: Float[np.ndarray, "3"]) -> Float32[np.ndarray, "T 3"]:
    """The same poses relative to `first`."""
    poses = np.asarray(poses, np.float64)
    return relative_pose(np.broadcast_to(np.asarray(first, np.float64), poses.shape), poses).astype(np.float32)
