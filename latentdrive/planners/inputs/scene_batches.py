"""Training and held-out batches of planners: scenes of two splits, their targets, embeddings, and true scores.

Inputs and targets come from a cache on disk (scene_cache.py), embeddings from a latent store, true scores
from prepared scenes. A training batch depends on seed, step and rank alone, so a resumed run sees the
batches of an uninterrupted one.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch.utils.data import DataLoader

from latentdrive.counting import counted
from latentdrive.data.batches.streams import endless, in_order, mixed_choice
from latentdrive.data.clips.data_set import FREE_SETTINGS, DataSet
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.drawing.plans import side_by_side
from latentdrive.errors import ConfigError, LatentDriveError, NoScenes, UnreadableScene
from latentdrive.kinds import Count, Whole
from latentdrive.pdms.scorer import Scorer
from latentdrive.pdms.versions import Version
from latentdrive.planners.inputs.cached_scenes import PlannerScenes, SceneOpener
from latentdrive.planners.inputs.prepared_scenes import PreparedScenes
from latentdrive.planners.inputs.scene_cache import SceneCache
from latentdrive.planners.inputs.sensors import Sensors, Surround, picture_of
from latentdrive.planners.latents.stored import StoredLatents
from latentdrive.stages.batches import StageBatches
from latentdrive.types import FRONT_CAMERA, SceneSource, SceneTruth, Timed

PARTS = ("train", "val")


class PlannerBatches(StageBatches):
    """Scenes of a data set for training and validation. `prepare` opens them once the planner is known.

    data: has scenes, and parts train and val that each name a split. targets: makes the training targets
    of a scene. latents: folder of a teacher's or student's stores, or None; oracle_future: see
    StoredLatents. batch_size: scenes a step. held_out_scenes: how many scenes of `val` are used. scorer:
    stamp of the score. stores: folder of scenes prepared for the score; processes, memory_gb: what
    preparing may use. kept_scenes: prepared scenes that stay in memory. workers: processes that open scenes
    for the cache. ahead: processes that read batches during training. out: the run's folder, where
    unreadable scenes are listed.
    """

    free_settings: ClassVar[tuple[str, ...]] = (
        "out",
        "workers",
        "ahead",
        "kept_scenes",
        "processes",
        "memory_gb",
        "stores",
        *FREE_SETTINGS,
    )

    def __init__(
        self,
        *,
        data: DataSet,
        targets: Callable[[SceneTruth], dict[str, np.ndarray]],
        latents: str | None,
        oracle_future: bool,
        batch_size: Count,
        held_out_scenes: Count,
        scorer: str,
        stores: str,
        processes: int,
        memory_gb: float,
        workers: Whole,
        ahead: Whole,
        kept_scenes: int,
        seed: int,
        out: str,
    ) -> None:
        if scorer not in tuple(Version):
            raise ConfigError(f"batches.scorer={scorer} is unknown: choose one of {', '.join(Version)}")
        if oracle_future and latents is None:
            raise ConfigError("oracle_future=true reads codes of the future from a store: name it with latents=FOLDER")
        self.latents = None if latents is None else StoredLatents(latents, oracle_future=oracle_future)
        parents, former_ids = {}, {}
        if self.latents is not None:
            parents = {"codebook": self.latents.codebook_id, "latents": self.latents.fingerprint}
            parents["labeller"], former_ids = self.latents.maker, self.latents.former_ids
        super().__init__(parents=parents, former_ids=former_ids)
        self.data, self.targets, self.batch_size, self.seed = data, targets, batch_size, seed
        self.held_out_scenes, self.oracle_future, self.out = held_out_scenes, oracle_future, Path(out)
        self.workers, self.ahead = workers, ahead
        self.version = Version(scorer)
        self._prepared = PreparedScenes(
            Path(stores), version=self.version, processes=processes, memory_gb=memory_gb, kept=kept_scenes
        )
        self._caches: dict[tuple[str, Sensors], SceneCache] = {}
        self._scenes: dict[str, PlannerScenes] = {}

    def __deepcopy__(self, memo: dict) -> "PlannerBatches":
        """Itself. Averaging weights copies the training module, and the data in it need no second copy."""
        return self

    # ---- before training ----

    def estimate(self, model: Any) -> str:
        """How much disk the cache will take; opens one scene of each part. Raises ConfigError beyond data.cache_gb."""
        texts, total = [], 0
        for part in PARTS:
            cache = self.cache(part, model.sensors)
            total += cache.bytes()
            texts.append(f"{part}: {counted(len(cache.tokens), 'scene')} of {self.data.split_of(part)}")
        text = f"{'; '.join(texts)}. The cache needs about {total / 1e9:.2f} GB in {self.folder}"
        if total > self.data.cache_gb * 1e9:
            raise ConfigError(
                f"{text}, but data.cache_gb={self.data.cache_gb:g} allows less: raise it if the disk has room"
            )
        return text

    def prepare(self, sensors: Sensors, *, scores: bool, writes: bool) -> None:
        """Fill the cache, find all embeddings, and prepare scenes for the score.

        scores: also prepare the training scenes for the score, because the loss needs true scores.
        writes: whether this process lists unreadable scenes in files. Raises TooManyUnreadable beyond
        data.max_unreadable, counting scenes without embeddings, and NoScenes where none can be used.
        """
        windows, reasons = {}, {}
        for part in PARTS:  # before any scene is opened: a store of another split is noticed at once
            cache = self.cache(part, sensors)
            windows[part], reasons[part] = self._find_windows(cache)
            if self.latents is not None:
                self.latents.require_labelled_scenes(cache.make.source, cache.tokens, watch=self.watch)
            self._report(part, self.cache(part, sensors).tokens, reasons[part], writes)
        for part in PARTS:
            cache = self.cache(part, sensors)
            cache.fill(workers=self.workers, progress=self.watch)
            lost = reasons[part] | cache.reasons
            if scores or part == "val":
                scenes_id = self.data.scenes.id_of(self.data.split_of(part))
                lost |= self._prepared.prepare(scenes_id, cache.make.source, cache.tokens, progress=self.watch)
            self._report(part, cache.tokens, lost, writes)
            rows = [row for row in cache.rows() if cache.tokens[row] not in lost]
            if not rows:
                raise NoScenes(
                    f"{self.data.path}: no scene of {part} can be used; unreadable_{part}.csv gives the reasons"
                )
            self._scenes[part] = PlannerScenes(
                source=cache.make.source, cache=cache, rows=rows, latents=self.latents, windows=windows[part]
            )

    @property
    def folder(self) -> Path:
        """The folder of all planners' caches."""
        return self.data.cache_folder / "planners"

    def cache(self, part: str, sensors: Sensors) -> SceneCache:
        """The cache of a part's scenes as these sensors see them."""
        if (part, sensors) not in self._caches:
            source = self._source(part, sensors)
            tokens = source.tokens
            if part == "val":  # a fixed choice, spread over all held-out scenes
                tokens = [tokens[row] for row in mixed_choice(len(tokens), self.held_out_scenes)]
            # Sizes and times of logs and maps stand for the scenes. Pictures that change under the same log are not
            # noticed.
            logs = {path.name: path.stat() for path in {source.location(token) for token in tokens}}
            stamps = sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in logs.items())
            settings = self.data.scenes
            content = [
                repr(sensors),
                settings.pictures_at_least,
                repr(self.targets),
                settings.id_of(self.data.split_of(part)),
                stamps,
                settings.stamps(),
            ]
            opener = SceneOpener(source=source, sensors=sensors, targets=self.targets)
            self._caches[part, sensors] = SceneCache(self.folder, tokens, opener, content=json.dumps(content))
        return self._caches[part, sensors]

    def _find_windows(self, cache: SceneCache) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
        """The latent store's window of each scene, and for scenes without one the reason."""
        windows, reasons, source = {}, {}, cache.make.source
        for token in cache.tokens if self.latents is not None else ():
            time_s = source.time_s(token) if isinstance(source, Timed) else None
            try:
                windows[token] = self.latents.find(token, source.drive(token), time_s)
            except UnreadableScene as error:
                reasons[token] = error.reason
        return windows, reasons

    def _source(self, part: str, sensors: Sensors) -> SceneSource:
        return self.data.open_scenes(split=self.data.split_of(part), needs=sensors.needs)

    def _report(self, part: str, tokens: Sequence[str], reasons: Mapping[str, str], writes: bool) -> None:
        file = self.out / f"unreadable_{part}.csv" if writes else None
        if file is not None:
            file.unlink(missing_ok=True)
        log = UnreadableLog(clips=len(tokens), max_unreadable=self.data.max_unreadable, file=file)
        for number, token in enumerate(tokens):
            if token in reasons:
                log.add(number, UnreadableScene(token, reasons[token]))

    # ---- during training, after `prepare` ----

    @property
    def train(self) -> PlannerScenes:
        """The usable training scenes."""
        return self._scenes["train"]

    @property
    def held_out(self) -> PlannerScenes:
        """The usable held-out scenes."""
        return self._scenes["val"]

    @property
    def learned_from(self) -> str:
        """16 hexadecimal digits over the usable training scenes; the order of the batches depends on them."""
        return hashlib.sha256(json.dumps(self.train.tokens).encode()).hexdigest()[:16]

    def train_batches(self, start_step: int) -> DataLoader:
        """Endless batches, beginning with that of `start_step`. The ranks are those of this moment."""
        return endless(
            self.train, batch_size=self.batch_size, seed=self.seed, start_step=start_step, workers=self.ahead
        )

    def validation_batches(self) -> DataLoader:
        """The held-out scenes in order; the last batch may be smaller."""
        return in_order(self.held_out, list(range(len(self.held_out))), self.batch_size)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the sub-scores of this version of the score."""
        return tuple(self.version.rules.columns)

    def scorer(self, tokens: Sequence[str], device: torch.device) -> Scorer:
        """The score of plans in these scenes; on `device` where that is a GPU."""
        return self._prepared.scorer(tokens, device)

    def picture(self, token: str, plans: Mapping[str, Float[np.ndarray, "P 3"]]) -> UInt8[np.ndarray, "H W 3"] | None:
        """Plans, by name, over the front camera and from above; None for a held-out scene without a front camera."""
        try:
            image = picture_of(self._front[token], FRONT_CAMERA)
        except LatentDriveError:
            return None
        return side_by_side(image, self._prepared.scene(token), plans)

    @cached_property
    def _front(self) -> SceneSource:
        return self._source("val", Sensors(cameras=Surround(names=(FRONT_CAMERA,), height=1, width=1), lidar=None))

    # ---- after training ----

    def summary(self) -> str:
        """How many scenes of each part could not be used."""
        counts = [
            f"{part}: {len(scenes.cache.tokens) - len(scenes):,} of {len(scenes.cache.tokens):,}"
            for part, scenes in self._scenes.items()
        ]
        return f"scenes that could not be used: {', '.join(counts)} (unreadable_*.csv)"

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Facts about the training data, for the card of the planner's checkpoint."""
        facts = {
            "path": str(self.data.path.name),
            "split": self.data.split_of("train"),
            "scenes": len(self.train),
            "drives": len(set(self.train.drives())),
            "held_out_split": self.data.split_of("val"),
            "held_out_scenes": len(self.held_out),
            "scorer": str(self.version),
        }
        if self.latents is not None and self.latents.permuted is not None:
            facts["permuted"] = self.latents.permuted
        return facts | ({"oracle_future": True} if self.oracle_future else {})
