"""Training data of a codebook: endless batches of training windows, and a fixed list of held-out windows."""

import hashlib
import json
from collections import Counter
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from latentdrive.counting import counted
from latentdrive.data.batches.augmentation import NO_AUGMENTATION, Augmentation
from latentdrive.data.batches.held_out import HeldOut
from latentdrive.data.batches.streams import rank_now
from latentdrive.data.batches.transition_stream import TransitionStream, loader
from latentdrive.data.batches.transitions import WindowSpec
from latentdrive.data.clips.clip_source import ClipFacts
from latentdrive.data.clips.data_set import FREE_SETTINGS, DataSet
from latentdrive.data.clips.frame_cache import CachedClips, Features
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.errors import ConfigError, UnreadableClip
from latentdrive.kinds import Count, Whole
from latentdrive.stages.batches import StageBatches
from latentdrive.statistics import evenly_spread
from latentdrive.types import DrivingClip, PoseSource

FINGERPRINTED = 1000  # clips that the fingerprint of the data covers
ENDLESS = 1 << 62  # steps; the trainer stops before
# Most clips whose facts the card sums up: clips in the cache, or clips that are decoded for it.
CARD_CLIPS, DECODED_CARD_CLIPS = 10_000, 16
NAMED_CLIPS = 20  # damaged clips that the card names


class ClipBatches(StageBatches):
    """Windows of a DataSet. window_transitions: transitions in a training window. patch_grid: patches down and across.

    batch_size: windows a step, of each rank. pairs_per_clip: windows drawn from each clip that is
    opened. held_out_windows: how many windows of the val part are used; all, if there are fewer.
    workers: processes that make batches ahead. out: the run's folder, for unreadable_train.csv,
    too_short_train.csv and so on.
    """

    free_settings = ("out", "workers", *FREE_SETTINGS)

    def __init__(
        self,
        *,
        data: DataSet,
        window_transitions: int,
        transition_s: float,
        batch_size: Count,
        pairs_per_clip: Count,
        held_out_windows: Count,
        patch_grid: tuple[int, int],
        augmentation: Augmentation,
        workers: Whole,
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
        """Whether batches hold cached features; `use_features` must then be called first."""
        return self.data.cache == "features"

    def use_features(self, extractor: Features, fingerprint: str) -> None:
        """Set what computes the features of a clip's frames. fingerprint: names these features in the cache."""
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
                "data.cache=features has no backbone whose features it could keep: call use_features first"
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

        model: a codebook. With data.cache=features, its features (float16, channels at every
        stride-th pixel) count, too.
        """
        size = 0
        if self.takes_features:
            backbone = model.features
            size = 2 * backbone.channels * (self.data.height // backbone.stride) * (self.data.width // backbone.stride)
        return self.data.estimate(features_a_frame=size)

    def summary(self) -> str:
        """Clips of both parts that were left out, for the end of a run."""
        return f"train: {self.unreadable.summary()}\nval: {self.held_out.unreadable.summary()}"

    def train_batches(self, start_step: int) -> DataLoader:
        """Batches from `start_step` on, for the rank of this process; each a function of (seed, step, rank) alone."""
        rank, ranks = rank_now()
        stream = TransitionStream(
            source=self.train,
            spec=self.spec,
            batch_size=self.batch_size,
            pairs_per_clip=self.pairs_per_clip,
            seed=self.seed,
            start_step=start_step,
            steps=ENDLESS,
            take=self._take,
            patch_grid=self.patch_grid,
            augmentation=self.augmentation,
            unreadable=self.unreadable,
            rank=rank,
            ranks=ranks,
        )
        return loader(stream, workers=self.workers, pin_memory=torch.cuda.is_available())

    @cached_property
    def held_out(self) -> HeldOut:
        """Windows of the val part."""
        return self.windows_of("val", transitions=self.spec.transitions)

    def validation_batches(self) -> DataLoader:
        """The held-out windows. A batch mixes clips, so that shuffled codes come from other clips."""
        return DataLoader(self.held_out, batch_size=None)

    def windows_of(self, part: str, *, transitions: int, most: int | None = None) -> HeldOut:
        """A fixed, mixed list of windows of a part, for evaluation: `most` of them, or `held_out_windows`."""
        clips = self._open(part)
        spec = WindowSpec(transitions=transitions, transition_s=self.spec.transition_s, rate_hz=self.spec.rate_hz)
        return HeldOut(
            clips=clips,
            spec=spec,
            most=most or self.held_out_windows,
            batch_size=self.batch_size,
            patch_grid=self.patch_grid,
            take=self._take,
            unreadable=self._log(part, clips),
            watch=partial(self.watch, what="choosing held-out windows"),
        )

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Facts about the training data, for the card."""
        facts = {
            "path": str(self.data.path.name),
            "clips": len(self.train),
            "rate_hz": self.spec.rate_hz,
            "transition_s": self.spec.transition_s,
            "unreadable": self.unreadable.unreadable(),
            "too_short": self.unreadable.too_short(),
            **sum_up(self._sample(), clips=len(self.train)),
        }
        identities = [self.train.identity(index) for index in range(min(len(self.train), FINGERPRINTED))]
        text = "".join(json.dumps(identity, sort_keys=True, default=str) for identity in identities)
        return facts | {"fingerprint": hashlib.sha256(text.encode()).hexdigest()[:16]}

    def _sample(self) -> list[tuple[DrivingClip, ClipFacts]]:
        """Clips that are in the cache, spread evenly; if it holds none, a few that are decoded now."""
        stored = [self.train.stored(index) for index in evenly_spread(len(self.train), CARD_CLIPS)]
        if any(stored):
            return [clip for clip in stored if clip is not None]
        decoded = []
        for index in evenly_spread(len(self.train), DECODED_CARD_CLIPS):
            with suppress(UnreadableClip):  # training has counted it
                decoded.append(self.train.read(index))
        return decoded


def sum_up(read: list[tuple[DrivingClip, ClipFacts]], *, clips: int) -> dict[str, Any]:
    """Sums over the facts of whole clips. `counted` says how many of how many clips these are.

    `damaged` is there if clips lost frames to damage, and names the first of them. The entry
    `poses` counts clips by how their poses and intrinsics were obtained. Clips without poses are not
    used in the codebook's first stage.
    """
    poses: Counter[str] = Counter()
    for clip, facts in read:
        origin = "recorded" if clip.pose_source is PoseSource.RECORDED else facts.pose_note or "none"
        poses[f"poses: {origin}; intrinsics: {'none given' if clip.intrinsics is None else 'given'}"] += 1
    named = [f"{clip.key}: {facts.damage_note}" for clip, facts in read if facts.damage_note]
    facts = [facts for _, facts in read]
    damaged = {"frames": sum(clip.damaged for clip in facts), "dropped": sum(clip.dropped for clip in facts)}
    return {
        "counted": f"{len(read):,} of {counted(clips, 'clip')}",
        "frames_read": sum(clip.frames_read for clip in facts),
        "repeated_frames_dropped": sum(clip.repeated for clip in facts),
        "cuts": sum(clip.cuts for clip in facts),
        "holes": sum(clip.holes for clip in facts),
        "standstill_kept_s": round(sum(clip.standstill_s for clip in facts), 1),
        "clips_without_poses": sum(clip.pose_source is PoseSource.NONE for clip, _ in read),
        "poses": dict(poses),
        **({"damaged": {**damaged, "clips": named[:NAMED_CLIPS]}} if named else {}),
    }
