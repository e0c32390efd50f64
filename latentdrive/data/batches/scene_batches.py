"""What teacher and student learn from: scenes cut from clips, with the stored latent actions of the same windows.

`latents` is a folder with one store for each part of the data (train, val), as `label` writes it.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch.utils.data import DataLoader

from latentdrive.counting import counted
from latentdrive.data.batches.labelled_clips import require_same_clips
from latentdrive.data.batches.scene_cutting import SceneSpec, cut_scene, scene_batch
from latentdrive.data.batches.streams import endless, in_order, mixed_choice
from latentdrive.data.clips.clip_source import ReadableSource
from latentdrive.data.clips.data_set import FREE_SETTINGS
from latentdrive.data.clips.sidecars import SAME_TIME_S
from latentdrive.data.latent_store import LatentStore
from latentdrive.errors import StoreError
from latentdrive.geometry import nearest_rows
from latentdrive.kinds import Count, Whole
from latentdrive.progress import Progress, unwatched
from latentdrive.stages.batches import StageBatches
from latentdrive.statistics import recordings
from latentdrive.types import DrivingClip, LatentActions, SceneBatch


@runtime_checkable
class Parts(Protocol):
    """A data set that opens its parts by name, as DataSet does."""

    path: Path

    def open(self, part: str) -> ReadableSource: ...

    def estimate(self, parts: Iterable[str]) -> str: ...


class LabelledScenes:
    """Windows of one latent store with the clips that they were cut from. rows: windows that can be used.

    Windows too near the start of their shot for the scene's earlier images are left out, and
    counted in `skipped`. watch: shows the progress of comparing. Raises StoreError where the clips are
    not those that were labelled.
    """

    def __init__(
        self, *, clips: ReadableSource, store: LatentStore, spec: SceneSpec, watch: Progress = unwatched
    ) -> None:
        require_same_clips(store, clips, watch=watch)
        self.clips, self.store, self.spec = clips, store, spec
        self._clip_of = {clips.key(i): i for i in range(len(clips))}
        rows = range(len(store))
        self.rows = [row for row in rows if self._has_past(row)] if spec.history_frames else list(rows)
        self.skipped = len(store) - len(self.rows)
        if not self.rows:
            raise StoreError(
                f"{store.folder}: no window has {counted(spec.history_frames, 'earlier image')}: lower "
                "model.scene.history_frames"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, picked: Sequence[int]) -> tuple[SceneBatch, LatentActions]:
        """Scenes and latent actions of the `picked` usable windows."""
        rows = [self.rows[i] for i in picked]
        scenes, opened = [], {}
        for row in rows:
            key = self.store.keys[row]
            opened[key] = opened.get(key) or self.clips[self._clip_of[key]]  # windows of one clip read it once
            clip, now = opened[key], self._now(row, opened[key])
            scenes.append(cut_scene(clip, now, self.spec, rate_hz=self.clips.rate_hz))
        return scene_batch(scenes, height=self.clips.height, width=self.clips.width), self.store.batch(rows)

    def has_commands(self) -> bool:
        """Whether the clips have driving commands, by the clip of the first window."""
        return self.clips[self._clip_of[self.store.keys[self.rows[0]]]].commands is not None

    def drives(self) -> list[str]:
        """Drive of every usable window, in order."""
        return [self.store.drives[row] for row in self.rows]

    def _now(self, row: int, clip: DrivingClip) -> int:
        """The frame of the clip at the window's t0. Raises StoreError if there is none."""
        key, t0_s = self.store.keys[row], self.store.t0_s[row]
        now = int(nearest_rows(clip.times_s, np.array([t0_s]))[0])
        if abs(clip.times_s[now] - t0_s) > SAME_TIME_S:
            raise StoreError(
                f"{key} has no frame at {t0_s:.3f} s, where {self.store.folder} labels it: the clip or data.rate_hz "
                "changed since; label again"
            )
        return now

    def _has_past(self, row: int) -> bool:
        clip = self.clips[self._clip_of[self.store.keys[row]]]
        now = self._now(row, clip)
        first = now + int(self.spec.images(self.clips.rate_hz)[0])
        return first >= 0 and bool(clip.shots[first] == clip.shots[now])


class SceneBatches(StageBatches):
    """Labelled scenes of a data set for training and validation.

    latents: folder with the stores `train` and `val`. origin: which model must have made the
    labels. spec: what a scene holds of the past. batch_size: scenes a step. held_out_windows: how
    many windows of `val` are used, chosen at random from all of them. workers: processes that make
    batches ahead.
    """

    free_settings = ("workers", *FREE_SETTINGS)

    def __init__(
        self,
        *,
        data: Parts,
        latents: str,
        origin: str,
        spec: SceneSpec,
        batch_size: Count,
        held_out_windows: Count,
        workers: Whole,
        seed: int,
    ) -> None:
        self.data, self.spec, self.batch_size, self.workers, self.seed = data, spec, batch_size, workers, seed
        self.held_out_windows = held_out_windows
        self.stores = {part: LatentStore(Path(latents) / part) for part in ("train", "val")}
        info = self.stores["train"].info
        self.stores["val"].info.require_codebook(
            info.codebook_id, where="the training part", former_ids=info.former_ids
        )
        if info.origin != origin:
            raise StoreError(
                f"{latents} holds codes of origin {info.origin}, this run learns from {origin}: give latents=FOLDER "
                f"labelled by {'a codebook' if origin == 'inverse_dynamics' else f'a {origin}'}"
            )
        self.info = info
        parents = {
            "codebook": info.codebook_id,
            "labels": self.stores["train"].fingerprint,
            "labeller": info.maker,
        }
        super().__init__(parents=parents, former_ids=info.former_ids)

    @cached_property
    def train(self) -> LabelledScenes:
        """Training windows."""
        return self._open("train")

    @cached_property
    def held_out(self) -> LabelledScenes:
        """Held-out windows, all of them."""
        return self._open("val")

    def _open(self, part: str) -> LabelledScenes:
        return LabelledScenes(clips=self.data.open(part), store=self.stores[part], spec=self.spec, watch=self.watch)

    def require_labelled_data(self) -> None:
        """Raise StoreError where the clips of a part are not those that its store labels."""
        self.train, self.held_out  # noqa: B018 - each compares when it is opened

    def estimate(self, model: Any) -> str:
        """What reading both parts will take, to print before it begins. Teacher and student cache no features."""
        return self.data.estimate(("train", "val"))

    def train_batches(self, start_step: int) -> DataLoader:
        """Endless batches from `start_step` on, for the rank of this process."""
        return endless(
            self.train, batch_size=self.batch_size, seed=self.seed, start_step=start_step, workers=self.workers
        )

    def held_out_picks(self) -> list[int]:
        """The held-out windows that are used: a random choice, the same every time."""
        return mixed_choice(len(self.held_out), self.held_out_windows)

    def validation_batches(self) -> DataLoader:
        """The chosen held-out windows in order; the last batch may be smaller."""
        return in_order(self.held_out, self.held_out_picks(), self.batch_size)

    def held_out_rows(self) -> list[int]:
        """Rows of the store `val` that hold the chosen held-out windows."""
        return [self.held_out.rows[i] for i in self.held_out_picks()]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Facts about the training data, for the card."""
        permuted = self.info.settings.get("permuted")  # a control experiment: see tools/permute_store.py
        return {
            "path": str(self.data.path.name),
            "windows": len(self.train),
            "held_out_windows": len(self.held_out_picks()),
            "held_out_drives": len(recordings(self.held_out.drives())[0]),
            "windows_without_past": self.train.skipped,
            "transition_s": self.info.transition_s,
            "labels_origin": str(self.info.origin),
            "height": self.data.height,
            "width": self.data.width,
            "fit": self.data.fit,
            "commands": self.train.has_commands(),
            **({} if permuted is None else {"permuted": permuted}),
        }
