"""What training a codebook is fed with: endless batches of training windows, and a fixed set of held-out windows."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from latentdrive.data.batches import (
    NO_AUGMENTATION,
    Augmentation,
    TransitionBatch,
    TransitionStream,
    WindowSpec,
    all_windows,
    loader,
    make_batch,
)
from latentdrive.data.clip_data import ClipData
from latentdrive.data.frame_cache import CachedClips, Features
from latentdrive.data.unreadable import UnreadableLog, read_unreadable
from latentdrive.errors import ConfigError, NoClips, UnreadableClip
from latentdrive.types import PoseSource

ENDLESS = 1 << 62  # the trainer knows when to stop
CARD_CLIPS, DECODED_CARD_CLIPS = 1000, 16  # most clips whose facts the card sums up: from the cache, or decoded for it


class ClipBatches:
    """Windows of a ClipData. window_transitions: transitions in a training window; patch_grid: patches down and across.

    batch_size: windows a step (of each rank); pairs_per_clip: windows drawn from each clip opened. held_out_windows: how
    many windows of the val part are looked at, spread evenly, all if fewer. workers: processes that make batches ahead.
    out: the run's folder, for unreadable.csv.
    """

    def __init__(
        self,
        *,
        data: ClipData,
        window_transitions: int,
        transition_s: float,
        batch_size: int,
        pairs_per_clip: int,
        held_out_windows: int,
        patch_grid: tuple[int, int],
        augmentation: Augmentation,
        workers: int,
        seed: int,
        out: str,
    ) -> None:
        self.parents: dict[str, str] = {}  # clips come from no checkpoint
        self.data, self.batch_size, self.pairs_per_clip = data, batch_size, pairs_per_clip
        self.held_out_windows, self.patch_grid, self.augmentation = held_out_windows, tuple(patch_grid), augmentation
        self.workers, self.seed, self.out = workers, seed, Path(out)
        self.spec = WindowSpec(transitions=window_transitions, transition_s=transition_s, rate_hz=data.rate_hz)
        self._features: dict[str, Any] = {}
        if self.takes_features and augmentation != NO_AUGMENTATION:
            raise ConfigError(
                "data.cache=features keeps features of whole frames, which can't be mirrored or cropped: add "
                "batches.augmentation.flip=false batches.augmentation.crop_share=1.0, or use data.cache=frames"
            )

    @property
    def takes_features(self) -> bool:
        """Whether batches hold features from the cache: `use_features` must come first."""
        return self.data.cache == "features"

    def use_features(self, extractor: Features, fingerprint: str) -> None:
        """What computes the features of a clip's frames, and the name that decides their place in the cache."""
        self._features = {"features": extractor, "features_id": fingerprint}

    def fill(self, progress: Callable[[int, int], None]) -> None:
        """Compute all features that the cache lacks, until it is full. progress: is told clips done and clips in all."""
        for part in ("train", "val"):
            self._open(part).prepare(progress)

    @cached_property
    def train(self) -> CachedClips:
        """Training clips."""
        return self._open("train")

    def _open(self, part: str) -> CachedClips:
        if self.takes_features and not self._features:
            raise ConfigError(
                "data.cache=features: no backbone was given whose features could be kept; use_features first"
            )
        return self.data.open(part, **self._features)

    @property
    def _take(self) -> str:
        return "both" if self.takes_features else "frames"

    @cached_property
    def unreadable(self) -> UnreadableLog:
        """Clips of the training part that could not be used."""
        return UnreadableLog(
            clips=len(self.train), max_unreadable=self.data.max_unreadable, file=self.out / "unreadable.csv"
        )

    def estimate(self) -> str:
        """What reading will take, to print before it begins; opens headers only."""
        return self.data.open("train").describe_estimate()

    def train_batches(self, start_step: int) -> DataLoader:
        """Batches from `start_step` on; each a function of (seed, step, rank) alone. Ranks are those known at this moment."""
        parallel = torch.distributed.is_available() and torch.distributed.is_initialized()
        stream = TransitionStream(
            source=self.train, spec=self.spec, batch_size=self.batch_size, pairs_per_clip=self.pairs_per_clip,
            seed=self.seed, start_step=start_step, steps=ENDLESS, take=self._take, patch_grid=self.patch_grid,
            augmentation=self.augmentation, unreadable=self.unreadable,
            rank=torch.distributed.get_rank() if parallel else 0,
            ranks=torch.distributed.get_world_size() if parallel else 1,
        )  # fmt: skip
        return loader(stream, workers=self.workers, pin_memory=torch.cuda.is_available())

    @cached_property
    def held_out(self) -> "HeldOut":
        """Windows of the val part."""
        return self.windows_of("val", transitions=self.spec.transitions)

    def validation_batches(self) -> DataLoader:
        """The held-out windows, clips mixed within a batch (shuffling codes must reach another clip)."""
        return DataLoader(self.held_out, batch_size=None)

    def windows_of(self, part: str, *, transitions: int, most: int | None = None) -> "HeldOut":
        """A fixed, mixed list of windows of a part, for evaluation: `most` of them, or `held_out_windows`."""
        clips = self._open(part)
        spec = WindowSpec(transitions=transitions, transition_s=self.spec.transition_s, rate_hz=self.spec.rate_hz)
        return HeldOut(
            clips=clips, spec=spec, most=most or self.held_out_windows, batch_size=self.batch_size, patch_grid=self.patch_grid,
            take=self._take,
            unreadable=UnreadableLog(clips=len(clips), max_unreadable=self.data.max_unreadable, file=self.out / "unreadable.csv"),
        )  # fmt: skip

    @cached_property
    def facts(self) -> dict[str, Any]:
        """For the card: what was trained on."""
        described = {
            "path": str(self.data.path.name), "clips": len(self.train), "rate_hz": self.spec.rate_hz,
            "transition_s": self.spec.transition_s,
            "unreadable": len(read_unreadable(self.out / "unreadable.csv")),  # by worker processes and before a resume, too
            "poses": self._poses(),
        }  # fmt: skip
        names = [
            json.dumps(self.train.identity(i), sort_keys=True, default=str) for i in range(min(len(self.train), 1000))
        ]
        return described | {"fingerprint": hashlib.sha256("".join(names).encode()).hexdigest()[:16]}

    def _poses(self) -> dict[str, int]:
        """Where poses and intrinsics are from: sentence → number of clips, of all or of an even sample.

        Clips with `poses: none` are not used in the codebook's first stage.
        """
        found: Counter[str] = Counter()
        most = DECODED_CARD_CLIPS if self.data.cache == "none" else CARD_CLIPS
        for index in np.unique(np.linspace(0, len(self.train) - 1, min(most, len(self.train))).astype(int)):
            try:
                clip, facts = self.train.read(int(index))
            except UnreadableClip:
                continue
            poses = "recorded" if clip.pose_source is PoseSource.RECORDED else facts.pose_note or "none"
            found[f"poses: {poses}; intrinsics: {'none given' if clip.intrinsics is None else 'given'}"] += 1
        return dict(found)


class HeldOut:
    """A fixed list of windows as batches, in an order that mixes clips; the last batch may be smaller."""

    def __init__(
        self, *, clips: CachedClips, spec: WindowSpec, most: int, batch_size: int, patch_grid: tuple[int, int],
        take: str, unreadable: UnreadableLog,
    ) -> None:  # fmt: skip
        self.clips, self.spec, self.batch_size, self.patch_grid, self.take = clips, spec, batch_size, patch_grid, take
        windows = all_windows(clips, spec, stride=1, unreadable=unreadable)
        if not windows:
            raise NoClips(
                f"no held-out clip is long enough for {spec.transitions} transitions of {spec.transition_s:g} s: "
                "give longer clips, or lower the number of transitions"
            )
        mixed = np.random.default_rng(0).permutation(len(windows))[:most]
        self.windows = [windows[i] for i in mixed]

    def __len__(self) -> int:
        return -(-len(self.windows) // self.batch_size)

    def __getitem__(self, number: int) -> TransitionBatch:
        if number >= len(self):
            raise IndexError(number)
        picked = self.windows[number * self.batch_size : (number + 1) * self.batch_size]
        return make_batch(
            self.clips, picked, self.spec, take=self.take, patch_grid=self.patch_grid, augmentation=NO_AUGMENTATION
        )

    def __iter__(self) -> Iterator[TransitionBatch]:
        return (self[number] for number in range(len(self)))
