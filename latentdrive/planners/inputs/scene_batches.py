"""What planners are trained with: scenes of a split as the planner sees them, the human's future, and prepared scenes for the score.

After scene_cache.py and latent_source.py, before training.py. Inputs and targets come from the cache, embeddings from a latent store,
true scores from a scoring store. A training batch is a function of (seed, step, rank): a resumed run sees the same batches.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from latentdrive.data.batches.scene_batches import endless, in_order, mixed_choice
from latentdrive.data.clips.data_set import DataSet
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.errors import ConfigError, NoScenes, StoreError, UnreadableScene
from latentdrive.pdms.prepare import prepare_scene
from latentdrive.pdms.scene import ScoringScene
from latentdrive.pdms.storage.store import ScoringStore, build_store, store_name
from latentdrive.pdms.versions import Version
from latentdrive.planners.inputs.batch import PlannerInputs, PlannerTargets, inputs_of, targets_of
from latentdrive.planners.inputs.scene_cache import SceneCache, alone
from latentdrive.planners.inputs.sensors import Sensors, Surround, picture_of
from latentdrive.planners.latents.source import StoredLatents
from latentdrive.progress import Progress, unwatched
from latentdrive.types import FRONT_CAMERA, FROZEN, CameraImage, SceneSource, SceneTruth

TARGET = "target_"  # what names of target arrays begin with in the cache


@dataclass(**FROZEN)
class Opener:
    """What is kept of a scene: what the sensors see, and what the targets take from the truth."""

    source: SceneSource
    sensors: Sensors
    targets: Callable[[SceneTruth], dict[str, np.ndarray]]

    def __call__(self, token: str) -> dict[str, np.ndarray]:
        """Arrays by name."""
        scene, truth = self.source[token], self.targets(self.source.truth(token))
        return {**self.sensors(scene), **{TARGET + name: value for name, value in truth.items()}}


class PlannerScenes:
    """The scenes of one split that can be used. rows: of the cache. latents: a store, found: its window for each scene; None without."""

    def __init__(
        self, *, source: SceneSource, cache: SceneCache, rows: Sequence[int], latents: StoredLatents | None,
        found: Mapping[str, tuple[int, int]],
    ) -> None:  # fmt: skip
        self.source, self.cache, self.rows, self._latents = source, cache, list(rows), latents
        self.tokens = [cache.tokens[row] for row in rows]
        self._found = [found[token] for token in self.tokens] if latents is not None else []

    def __len__(self) -> int:
        return len(self.rows)

    def drives(self) -> list[str]:
        """Drive of every scene, in order."""
        return [self.source.drive(token) for token in self.tokens]

    def batch(self, picked: Sequence[int]) -> tuple[PlannerInputs, PlannerTargets]:
        """Inputs and targets of the `picked` scenes."""
        arrays = self.cache.read([self.rows[i] for i in picked])
        inputs = inputs_of([self.tokens[i] for i in picked], arrays)
        if self._latents is not None:
            inputs = replace(inputs, latents=self._latents.batch([self._found[i] for i in picked]))
        targets = {name.removeprefix(TARGET): value for name, value in arrays.items() if name.startswith(TARGET)}
        return inputs, targets_of(targets)


class PlannerBatches:
    """Scenes of a data set for training and validation; `prepare` opens them once the planner is known.

    data: with scenes and the parts train and val, each naming its split. targets: what is taken from the truth. latents: folder of a
    teacher's or student's stores, or None; oracle_future: see StoredLatents. batch_size: scenes a step. held_out_scenes: how many of
    `val` are looked at during training. scorer: stamp of the score. stores: where prepared scenes are kept, by processes and memory_gb
    as in `evaluate`. workers: processes that open scenes, once for the cache; ahead: that read batches during training. kept_scenes: how
    many prepared scenes stay in memory, some 100 kB each. out: the run's folder, for the lists of unreadable scenes.
    """

    def __init__(
        self,
        *,
        data: DataSet,
        targets: Callable[[SceneTruth], dict[str, np.ndarray]],
        latents: str | None,
        oracle_future: bool,
        batch_size: int,
        held_out_scenes: int,
        scorer: str,
        stores: str,
        processes: int,
        memory_gb: float,
        workers: int,
        ahead: int,
        kept_scenes: int,
        seed: int,
        out: str,
    ) -> None:
        if scorer not in tuple(Version):
            raise ConfigError(f"batches.scorer={scorer}: there is no such score; there are {', '.join(Version)}")
        self.data, self.targets, self.batch_size, self.seed = data, targets, batch_size, seed
        self.held_out_scenes, self.version, self.stores = held_out_scenes, Version(scorer), Path(stores)
        self.processes, self.memory_gb, self.workers, self.ahead = processes, memory_gb, workers, ahead
        self.kept_scenes, self.out = kept_scenes, Path(out)
        if oracle_future and latents is None:
            raise ConfigError("oracle_future=true reads codes of the future from a store: name it with latents=FOLDER")
        self.latents = None if latents is None else StoredLatents(latents, oracle_future=oracle_future)
        self.oracle_future = oracle_future
        self.watch: Progress = unwatched
        self.parents = {} if self.latents is None else {
            "codebook": self.latents.codebook_id, "latents": self.latents.fingerprint, "labeller": self.latents.maker,
        }  # fmt: skip
        self.former_ids = {} if self.latents is None else self.latents.former_ids
        self._caches: dict[tuple[str, Sensors], SceneCache] = {}
        self._scenes: dict[str, PlannerScenes] = {}
        self._prepared: dict[str, ScoringStore] = {}
        self._opened: OrderedDict[str, ScoringScene] = OrderedDict()

    def __deepcopy__(self, memo: dict) -> "PlannerBatches":
        """Itself: averaging weights copies the module that holds it, and data need no second copy."""
        return self

    # ---- before training ----

    def estimate(self, model: Any) -> str:
        """What the cache of both splits will take; opens one scene of each. Raises ConfigError where it may not take so much."""
        texts, total = [], 0
        for part in ("train", "val"):
            cache = self._cache(part, model.sensors)
            total += cache.bytes()
            texts.append(f"{part}: {len(cache.tokens):,} scenes of {self.data.split_of(part)}")
        text = f"{'; '.join(texts)}. The cache needs about {total / 1e9:.2f} GB in {self.folder}"
        if total > self.data.cache_gb * 1e9:
            raise ConfigError(
                f"{text}, data.cache_gb={self.data.cache_gb:g} allows less: raise it, where the disk has room"
            )
        return text

    def prepare(self, sensors: Sensors, *, scores: bool, writes: bool) -> None:
        """Fill the cache, prepare scenes for the score (those of train only where `scores` says that training needs them).

        writes: whether this process names unreadable scenes in files. Raises TooManyUnreadable beyond data.max_unreadable, scenes
        that the latent store lacks among them; NoScenes where nothing is left.
        """
        found, failed = {}, {}
        for part in ("train", "val"):  # the cheap mistakes first: nothing was opened yet
            found[part], failed[part] = self._find_latents(self._cache(part, sensors))
            self._report(part, self._cache(part, sensors).tokens, failed[part], writes)
        for part in ("train", "val"):
            cache = self._cache(part, sensors)
            cache.fill(workers=self.workers, progress=self.watch)
            lost = failed[part] | cache.reasons
            if scores or part == "val":
                lost |= self._prepare_scores(part, cache)
            self._report(part, cache.tokens, lost, writes)
            rows = [row for row in cache.rows() if cache.tokens[row] not in lost]
            if not rows:
                raise NoScenes(f"{self.data.path}: not one scene of {part} can be used; see unreadable_{part}.csv")
            self._scenes[part] = PlannerScenes(
                source=cache.make.source, cache=cache, rows=rows, latents=self.latents, found=found[part]
            )

    @property
    def folder(self) -> Path:
        """Where the cache of all planners lies."""
        return self.data.cache_folder / "planners"

    def _cache(self, part: str, sensors: Sensors) -> SceneCache:
        if (part, sensors) not in self._caches:
            source = self._source(part, sensors)
            tokens = source.tokens if part == "train" else self._looked_at(source.tokens)
            # Sizes and times of the logs stand for the scenes; pictures that change under the same log are not noticed.
            logs = {path.name: path.stat() for path in {source.location(token) for token in tokens}}
            stamps = sorted((name, one.st_size, one.st_mtime_ns) for name, one in logs.items())
            content = [
                repr(sensors), self.data.scenes.pictures_at_least, repr(self.targets), self.data.scenes.id_of(self.data.split_of(part)), stamps,
            ]  # fmt: skip
            opener = Opener(source=source, sensors=sensors, targets=self.targets)
            self._caches[part, sensors] = SceneCache(self.folder, tokens, opener, content=json.dumps(content))
        return self._caches[part, sensors]

    def _looked_at(self, tokens: Sequence[str]) -> list[str]:
        """Which held-out scenes are looked at: a fixed choice, spread over all of them, in their order."""
        return [tokens[row] for row in mixed_choice(len(tokens), self.held_out_scenes)]

    def _find_latents(self, cache: SceneCache) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
        """The latent store's window of each scene, and why others have none."""
        found, failed, source = {}, {}, cache.make.source
        for token in cache.tokens if self.latents is not None else ():
            try:
                found[token] = self.latents.find(token, source.drive(token), source.time_s(token))
            except UnreadableScene as error:
                failed[token] = error.reason
        return found, failed

    def _source(self, part: str, sensors: Sensors) -> SceneSource:
        return self.data.open_scenes(split=self.data.split_of(part), needs=sensors.needs)

    def _prepare_scores(self, part: str, cache: SceneCache) -> dict[str, str]:
        rules = self.version.rules
        place = self.stores / store_name(self.data.scenes.id_of(self.data.split_of(part)), rules)
        self.stores.mkdir(parents=True, exist_ok=True)
        with alone(self.stores / f".{place.name}.lock"):  # on several devices each process comes here
            report = build_store(
                place, cache.make.source, cache.tokens, partial(prepare_scene, rules=rules), rules=rules,
                processes=self.processes, memory_gb=self.memory_gb, progress=self.watch,
            )  # fmt: skip
        self._prepared[part] = ScoringStore(place, rules=rules)
        return report.failed

    def _report(self, part: str, tokens: Sequence[str], failed: Mapping[str, str], writes: bool) -> None:
        file = self.out / f"unreadable_{part}.csv" if writes else None
        if file is not None:
            file.unlink(missing_ok=True)
        log = UnreadableLog(clips=len(tokens), max_unreadable=self.data.max_unreadable, file=file)
        for number, token in enumerate(tokens):
            if token in failed:
                log.add(number, UnreadableScene(token, failed[token]))

    # ---- batches ----

    @property
    def train(self) -> PlannerScenes:
        """Training scenes, after `prepare`."""
        return self._scenes["train"]

    @property
    def held_out(self) -> PlannerScenes:
        """Held-out scenes that are looked at, after `prepare`."""
        return self._scenes["val"]

    @property
    def learned_from(self) -> str:
        """16 hexadecimal digits over the training scenes that can be used, after `prepare`: the order of batches depends on them."""
        return hashlib.sha256(json.dumps(self.train.tokens).encode()).hexdigest()[:16]

    def train_batches(self, start_step: int) -> DataLoader:
        """Endless batches from `start_step` on. Ranks are those known at this moment."""
        return endless(
            self.train, batch_size=self.batch_size, seed=self.seed, start_step=start_step, workers=self.ahead
        )

    def validation_batches(self) -> DataLoader:
        """The held-out scenes in order; the last batch may be smaller."""
        return in_order(self.held_out, list(range(len(self.held_out))), self.batch_size)

    def scoring(self, tokens: Sequence[str]) -> list[ScoringScene]:
        """Prepared scenes; those asked for last stay in memory. Raises StoreError for a scene that was not prepared."""
        return [self._scoring(token) for token in tokens]

    def _scoring(self, token: str) -> ScoringScene:
        if token not in self._opened:
            holding = [store for store in self._prepared.values() if token in store]
            if not holding:
                raise StoreError(
                    f"scene {token} is not prepared for the score: only scenes of the splits of this run are"
                )
            self._opened[token] = holding[0].get(token)
            if len(self._opened) > self.kept_scenes:
                self._opened.popitem(last=False)
        self._opened.move_to_end(token)
        return self._opened[token]

    def front_camera(self, token: str) -> CameraImage:
        """The front camera's picture of a held-out scene. Raises UnreadableScene where it is not there."""
        return picture_of(self._front[token], FRONT_CAMERA)

    @cached_property
    def _front(self) -> SceneSource:
        return self._source("val", Sensors(cameras=Surround(names=(FRONT_CAMERA,), height=1, width=1), lidar=None))

    def summary(self) -> str:
        """One line for the end of a run: what was left out."""
        lost = [
            f"{part}: {len(one.cache.tokens) - len(one):,} of {len(one.cache.tokens):,}"
            for part, one in self._scenes.items()
        ]
        return f"scenes that can't be used: {', '.join(lost)} (unreadable_*.csv)"

    @cached_property
    def facts(self) -> dict[str, Any]:
        """For the card: what was learned from."""
        facts = {
            "path": str(self.data.path.name), "split": self.data.split_of("train"), "scenes": len(self.train),
            "drives": len(set(self.train.drives())), "held_out_split": self.data.split_of("val"),
            "held_out_scenes": len(self.held_out), "scorer": str(self.version),
        }  # fmt: skip
        if self.latents is not None and self.latents.permuted is not None:
            facts["permuted"] = self.latents.permuted
        return facts | ({"oracle_future": True} if self.oracle_future else {})
