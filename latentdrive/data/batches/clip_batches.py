"""What training a codebook is fed with: endless batches of training windows, and a fixed set of held-out windows."""

import hashlib
import json
from collections import Counter
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from latentdrive.data.batches.held_out import HeldOut
from latentdrive.data.batches.transitions import WindowSpec
from latentdrive.data.batches.windows import NO_AUGMENTATION, Augmentation, TransitionStream, loader
from latentdrive.data.clips.clip_source import ClipFacts
from latentdrive.data.clips.data_set import DataSet
from latentdrive.data.clips.frame_cache import CachedClips, Features
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.errors import ConfigError, UnreadableClip
from latentdrive.stages.batches import StageBatches
from latentdrive.types import DrivingClip, PoseSource

ENDLESS = 1 << 62  # the trainer knows when to stop
CARD_CLIPS, DECODED_CARD_CLIPS = (
    10_000,
    16,
)  # most clips whose facts the card sums up: from the cache, or decoded for it


class ClipBatches(StageBatches):
    """Windows of a DataSet. window_transitions: transitions in a training window; patch_grid: patches down and across.

    batch_size: windows a step (of each rank); pairs_per_clip: windows drawn from each clip opened. held_out_windows: how
    many windows of the val part are looked at, spread evenly, all if fewer. workers: processes that make batches ahead.
    out: the run's folder, for unreadable_train.csv, too_short_train.csv and so on.
    """

    free_settings = ("out", "workers", "data.cache_gb", "data.cache_folder")

    def __init__(
        self,
        *,
        data: DataSet,
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
        super().__init__(parents={}, former_ids={})  # clips come from no checkpoint
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

    def fill(self) -> None:
        """Compute the features that the cache lacks, until it is full."""
        for part in ("train", "val"):
            self._open(part).prepare(partial(self.watch, what=f"features of {part}"))

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
        return self._log("train", self.train)

    def _log(self, part: str, clips: CachedClips) -> UnreadableLog:
        return UnreadableLog(
            clips=len(clips), max_unreadable=self.data.max_unreadable, file=self.out / f"unreadable_{part}.csv"
        )

    def estimate(self, model: Any) -> str:
        """What reading all parts will take, to print before it begins; opens headers only.

        model: a codebook; where data.cache=features, its features (float16, channels at every stride-th pixel) count too.
        """
        size = 0
        if self.takes_features:
            kept = model.features
            size = 2 * kept.channels * (self.data.height // kept.stride) * (self.data.width // kept.stride)
        return self.data.estimate(features_a_frame=size)

    def summary(self) -> str:
        """Clips of both parts that were left out, for the end of a run."""
        return f"train: {self.unreadable.summary()}\nval: {self.held_out.unreadable.summary()}"

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
            take=self._take, unreadable=self._log(part, clips),
            watch=partial(self.watch, what="choosing held-out windows"),
        )  # fmt: skip

    @cached_property
    def facts(self) -> dict[str, Any]:
        """For the card: what was trained on."""
        described = {
            "path": str(self.data.path.name), "clips": len(self.train), "rate_hz": self.spec.rate_hz,
            "transition_s": self.spec.transition_s,
            "unreadable": self.unreadable.unreadable(), "too_short": self.unreadable.too_short(),
            **sum_up(self._known(), clips=len(self.train)),
        }  # fmt: skip
        names = [
            json.dumps(self.train.identity(i), sort_keys=True, default=str) for i in range(min(len(self.train), 1000))
        ]
        return described | {"fingerprint": hashlib.sha256("".join(names).encode()).hexdigest()[:16]}

    def _known(self) -> list[tuple[DrivingClip, ClipFacts]]:
        """Clips that are in the cache (an even sample of very many); where none is, a few that are decoded for it."""
        found = [self.train.stored(index) for index in _even(len(self.train), CARD_CLIPS)]
        if any(found):
            return [one for one in found if one is not None]
        decoded = []
        for index in _even(len(self.train), DECODED_CARD_CLIPS):
            with suppress(UnreadableClip):  # counted where it was to be used
                decoded.append(self.train.read(index))
        return decoded


def sum_up(read: list[tuple[DrivingClip, ClipFacts]], *, clips: int) -> dict[str, Any]:
    """Facts of the whole clips that were `read`, of `clips` in all: `counted` says so.

    poses: sentence on poses and intrinsics → number of clips; those without poses are not used in the codebook's first
    stage.
    """
    poses: Counter[str] = Counter()
    for clip, facts in read:
        whence = "recorded" if clip.pose_source is PoseSource.RECORDED else facts.pose_note or "none"
        poses[f"poses: {whence}; intrinsics: {'none given' if clip.intrinsics is None else 'given'}"] += 1
    facts = [one for _, one in read]
    return {
        "counted": f"{len(read):,} of {clips:,} clips",
        "frames_read": sum(one.frames_read for one in facts),
        "repeated_frames_dropped": sum(one.repeated for one in facts),
        "cuts": sum(one.cuts for one in facts),
        "holes": sum(one.holes for one in facts),
        "standstill_kept_s": round(sum(one.standstill_s for one in facts), 1),
        "clips_without_poses": sum(clip.pose_source is PoseSource.NONE for clip, _ in read),
        "poses": dict(poses),
    }


def _even(count: int, most: int) -> list[int]:
    """At most `most` of the numbers below `count`, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist()
