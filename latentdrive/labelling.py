"""How a model labels the windows of clips, shard by shard: the work behind the verb `label`.

labellers.py says how a model labels some windows; this module walks over the clips.
"""

import hashlib
import json
from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Int64

from latentdrive.counting import counted
from latentdrive.data.batches.labelled_clips import fingerprint_clips
from latentdrive.data.batches.windows import Opened, open_clip
from latentdrive.data.clips.clip_source import ReadableSource
from latentdrive.data.file_contents import FileContent, contents_of
from latentdrive.data.latent_store import LatentWriter, StoreInfo, Windows
from latentdrive.data.latent_tensors import stack_latents
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.errors import ConfigError, StoreError, TooShort, UnreadableClip, raise_if_out_of_files
from latentdrive.labellers import Labeller, WindowList
from latentdrive.types import DrivingClip, LatentActions


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
    """Label the clips that no finished shard covers, clip by clip. Returns counts. watch: shows the progress.

    A finished store stays as it is. Raises StoreError for one in which an earlier version told the model
    of inputs that it was not trained on.
    """
    if told := [name for name in labeller.known if name not in labeller.told and writer.knew(name)]:
        raise StoreError(
            f"{writer.folder} was labelled by a model that was told the {', '.join(told)}, which it was not trained on "
            "(an earlier version did that): remove the folder and label again"
        )
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
        self._contents: dict[int, list[FileContent]] = {}
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
        self._contents[index] = _contents(self.clips, index)
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
            contents={self.clips.key(index): files for index, files in self._contents.items()},
        )

    def _label(self) -> None:
        picked = self._windows[self._labelled : self._labelled + self.batch_size]
        latents, flags = self.labeller.label(self.clips, picked, self._opened)
        self._parts.append(latents.to("cpu"))
        self._known.append(flags)
        self._labelled += len(picked)
        waiting = {index for index, _ in self._windows[self._labelled :]}
        self._opened = {index: opened for index, opened in self._opened.items() if index in waiting}


def _contents(clips: ReadableSource, index: int) -> list[FileContent]:
    """What is in the files of a clip. Raises UnreadableClip where one can't be read."""
    try:
        return contents_of(clips.files(index))
    except OSError as error:
        raise_if_out_of_files(error)
        raise UnreadableClip(clips.location(index), f"{error.filename} can't be read ({error.strerror})") from error


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
