"""Windows of frames and the motion between them, as batches for the codebook.

Last step of `data`. A window is T = transitions + 1 frames, `transition_s` apart, within one shot. In training a batch
is a function of (seed, step, rank) alone: killing a run and resuming at a step gives the same batches, and nothing about
the sampler is ever saved. held_out.py has the fixed windows of evaluation.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from latentdrive.data.batches.augmentation import covered_share, crop, mirror
from latentdrive.data.batches.transitions import TransitionBatch, WindowSpec
from latentdrive.data.clips.clip_source import ClipFacts, ReadableSource
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.errors import ConfigError, NoClips, TooShort, UnreadableClip
from latentdrive.geometry import nearest_rows, relative_pose
from latentdrive.types import ClipTruth, DrivingClip


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of whole windows. flip: mirror half of them. crop_share: smallest share of the side lengths kept; 1 is off."""

    flip: bool
    crop_share: float

    def __post_init__(self) -> None:
        if not 0.3 <= self.crop_share <= 1.0:
            raise ConfigError(f"augmentation.crop_share must lie between 0.3 and 1 (off), got {self.crop_share}")


NO_AUGMENTATION = Augmentation(flip=False, crop_share=1.0)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A clip that was read once for everything that is made of it. clip: its part; whole, facts: as the source read it.

    truth: what the world knows of it, None where that is nothing or was not asked for.
    """

    clip: DrivingClip
    whole: DrivingClip
    facts: ClipFacts | None
    truth: ClipTruth | None


def open_clip(source: ReadableSource, index: int, *, with_truth: bool = False) -> Opened:
    """Read one clip. Raises UnreadableClip, TooShort where its part is empty."""
    whole, facts = source.read(index)
    clip = source.part.of(whole, source.location(index))
    return Opened(clip=clip, whole=whole, facts=facts, truth=source.truth(index) if with_truth else None)


def make_batch(
    source: ReadableSource,
    windows: Sequence[tuple[int, int]],
    spec: WindowSpec,
    *,
    take: str,
    patch_grid: tuple[int, int] | None,
    augmentation: Augmentation = NO_AUGMENTATION,
    draws: Float32[np.ndarray, "B draws"] | None = None,
    opened: Mapping[int, Opened] | None = None,
) -> TransitionBatch:
    """The batch of the given (clip, start) windows. take: frames, features or both.

    patch_grid: patches (down, across) of `moving`, or None. draws: at least four uniform numbers a row for the augmentation.
    opened: clips that were read already, with their truth if there is a patch grid; the others are read here, once each.
    """
    if take not in ("frames", "features", "both"):
        raise ConfigError(f"take must be frames, features or both; got {take}")
    if take != "frames" and augmentation != NO_AUGMENTATION:
        raise ConfigError(
            "stored features can't be mirrored or cropped: use data.cache=frames, or switch the augmentation off"
        )
    indices, with_truth = dict.fromkeys(index for index, _ in windows), patch_grid is not None
    ready = {i: (opened or {}).get(i) or open_clip(source, i, with_truth=with_truth) for i in indices}
    stored = {} if take == "frames" else {index: source.features(index, one.whole) for index, one in ready.items()}
    rows = []
    for row, (index, start) in enumerate(windows):
        clip = ready[index].clip
        picked = np.arange(start, start + spec.span + 1, spec.transition_frames)
        frames = None if take == "features" else np.asarray(clip.frames[picked])
        motion = _motion(clip, picked)
        view = (0.0, 0.0, 1.0, 1.0)
        if augmentation.crop_share < 1.0:
            share, right, down = (float(draw) for draw in draws[row, 1:4])
            share = augmentation.crop_share + share * (1 - augmentation.crop_share)
            frames, view = crop(frames, share=share, right=right, down=down)
        moving = None if patch_grid is None else _moving(ready[index], clip.times_s[picked], view, patch_grid)
        if augmentation.flip and draws[row, 0] < 0.5:
            frames, motion, moving = mirror(frames, motion, moving)
        features = None if take == "frames" else np.asarray(stored[index][picked])
        rows.append((frames, features, motion, moving))
    frames, features, motion, moving = zip(*rows)
    return TransitionBatch(
        frames=None if take == "features" else torch.from_numpy(np.stack(frames)),
        features=None if take == "frames" else torch.from_numpy(np.stack(features)),
        motion=torch.from_numpy(np.stack(motion)),
        motion_known=torch.tensor([ready[index].clip.ego_poses is not None for index, _ in windows]),
        moving=None if patch_grid is None else torch.from_numpy(np.stack(moving)),
        clip=torch.tensor([index for index, _ in windows]),
        start=torch.tensor([start for _, start in windows]),
    )


class TransitionStream(IterableDataset):
    """Training batches without end, or up to `steps`; `batch(step)` is a function of (seed, step, rank).

    source: clips (cached or not). batch_size: windows of one rank's batch. pairs_per_clip: windows drawn from each clip
    that is opened (more than 1 saves decoding where nothing is cached). Clips are visited in an order that is shuffled
    anew each epoch; ranks read disjoint parts of it, and workers every so many-th step. start_step: where to resume.
    """

    def __init__(
        self,
        *,
        source: ReadableSource,
        spec: WindowSpec,
        batch_size: int,
        pairs_per_clip: int,
        seed: int,
        start_step: int,
        steps: int,
        take: str,
        patch_grid: tuple[int, int] | None,
        augmentation: Augmentation,
        unreadable: UnreadableLog,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if batch_size % pairs_per_clip:
            raise ConfigError(f"batch_size={batch_size} must be a multiple of pairs_per_clip={pairs_per_clip}")
        if len(source) == 0:
            raise NoClips("the source holds no clip: give another folder, data.path=FOLDER")
        self.source, self.spec, self.seed, self.take = source, spec, seed, take
        self.batch_size, self.pairs_per_clip = batch_size, pairs_per_clip
        self.start_step, self.steps, self.rank, self.ranks = start_step, steps, rank, ranks
        self.patch_grid, self.augmentation, self.unreadable = patch_grid, augmentation, unreadable

    def __iter__(self) -> Iterator[TransitionBatch]:
        worker = get_worker_info()
        first, by = (0, 1) if worker is None else (worker.id, worker.num_workers)
        # A loader takes its workers' batches in turn, so steps come out in order.
        for step in range(self.start_step + first, self.steps, by):
            yield self.batch(step)

    def __len__(self) -> int:
        return max(0, self.steps - self.start_step)

    def batch(self, step: int) -> TransitionBatch:
        """The batch of one step of this rank."""
        draws = np.random.default_rng([self.seed, step, self.rank]).random((self.batch_size, 5), np.float32)
        windows, opened = [], {}
        for slot in range(self.batch_size // self.pairs_per_clip):
            index, starts = self._clip(
                (step * self.ranks + self.rank) * (self.batch_size // self.pairs_per_clip) + slot, opened
            )
            for row in range(len(windows), len(windows) + self.pairs_per_clip):
                windows.append((index, int(starts[min(int(draws[row, 4] * len(starts)), len(starts) - 1)])))
        return make_batch(
            self.source,
            windows,
            self.spec,
            take=self.take,
            patch_grid=self.patch_grid,
            augmentation=self.augmentation,
            draws=draws,
            opened=opened,
        )

    def clip_at(self, number: int, further: int = 0) -> int:
        """Index of the `number`-th clip that all ranks together visit, or the one `further` places on in its epoch."""
        epoch, place = divmod(number, len(self.source))
        return shuffled((place + further) % len(self.source), len(self.source), key=(self.seed, epoch))

    def _clip(self, number: int, opened: dict[int, Opened]) -> tuple[int, np.ndarray]:
        """The clip of the `number`-th visit, or the next usable one after it in the same epoch's order, put into `opened`."""
        clips = len(self.source)
        for further in range(clips):
            index = self.clip_at(number, further)
            if index in self.unreadable:
                continue
            try:
                if index not in opened:
                    opened[index] = open_clip(self.source, index, with_truth=self.patch_grid is not None)
                return index, window_starts(self.source, self.spec, index, opened[index].clip)
            except UnreadableClip as error:
                self.unreadable.add(index, error)
        raise NoClips(
            f"none of the {clips} clips can be used: {self.unreadable.summary()}. The last one: {self.unreadable.last}"
        )


def loader(stream: TransitionStream, *, workers: int, pin_memory: bool) -> DataLoader:
    """Batches of the stream, made ahead by worker processes; the same batches in the same order for any number of them."""
    return DataLoader(
        stream,
        batch_size=None,
        num_workers=workers,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers > 0 else None,
    )


def shuffled(place: int, count: int, *, key: Iterable[int]) -> int:
    """Where a keyed shuffle of `count` items puts the item at `place`: a permutation that is never written out.

    A four-round Feistel network over the next even power of two; values beyond `count` walk on until they fall inside.
    """
    half = max(1, (max(1, count - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    rounds = np.random.SeedSequence(list(key)).generate_state(4, np.uint64)
    value = place
    while True:
        left, right = value >> half, value & mask
        for secret in rounds:
            mixed = (right + int(secret)) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
            mixed = (mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
            left, right = right, left ^ (mixed >> 32 & mask)
        value = left << half | right
        if value < count:
            return value


def window_starts(source: ReadableSource, spec: WindowSpec, index: int, clip: DrivingClip) -> Int64[np.ndarray, "S"]:
    """Frames of a clip at which a window may start. Raises TooShort where there is none."""
    starts = spec.starts(clip)
    if len(starts) == 0:
        longest = int(np.bincount(clip.shots - clip.shots.min()).max())
        raise TooShort(
            source.location(index),
            f"its longest shot has {longest} frames at {spec.rate_hz:g} Hz, a window needs {spec.span + 1} "
            f"({spec.transitions} transitions of {spec.transition_s:g} s): use fewer or shorter transitions, or drop it",
        )
    return starts


def _motion(clip: DrivingClip, picked: Int64[np.ndarray, "T"]) -> Float32[np.ndarray, "M 4"]:
    motion = np.zeros((len(picked) - 1, 4), np.float32)
    if clip.ego_poses is not None:
        poses = np.asarray(clip.ego_poses[picked], np.float64)
        motion[:, :3] = relative_pose(poses[:-1], poses[1:])
    if clip.ego_speed_mps is not None:
        motion[:, 3] = clip.ego_speed_mps[picked[:-1]]
    return motion


def _moving(
    opened: Opened, times_s: np.ndarray, view: tuple[float, float, float, float], grid: tuple[int, int]
) -> Float32[np.ndarray, "M gh gw"]:
    truth = opened.truth
    if truth is None:
        return np.zeros((len(times_s) - 1, *grid), np.float32)
    rows = nearest_rows(truth.times_s, times_s)
    left, top, right, bottom = opened.facts.view
    wide, high = right - left, bottom - top
    seen = (left + view[0] * wide, top + view[1] * high, left + view[2] * wide, top + view[3] * high)
    covered = covered_share(truth.boxes[rows], seen, grid)
    return np.maximum(covered[:-1], covered[1:])
