"""A data set as its YAML describes it: its training, held-out and probe clips, cached, and its
decision points.

`configs/data/*.yaml` build this. Every command that needs clips asks it for a part by name, and for
scenes by split.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from latentdrive.counting import counted
from latentdrive.data.clips.clip_source import ClipOptions, Part, ReadableSource
from latentdrive.data.clips.frame_cache import CachedClips, Features
from latentdrive.data.scene_settings import SceneSettings
from latentdrive.errors import ConfigError
from latentdrive.progress import Progress
from latentdrive.types import SceneSource, SensorNeeds

PARTS = ("train", "val", "probe")
# Settings of a data set, named relative to the node that holds it, on which no weight depends: a resumed run may change
# them. No training looks at the split that `evaluate` scores, or at drives.
FREE_SETTINGS = tuple(
    f"data.{name}"
    for name in (
        "cache_gb",
        "cache_folder",
        "block_s",
        "split.test",
        "source.cache_folder",
        "source.drives",
        "source.processes",
        "scenes.cache_folder",
        "scenes.processes",
    )
)


class DataSet:
    """Clips and scenes of one origin.

    path: where they are, for messages. rate_hz: frames a second after resampling; height, width:
    training size in pixels. options: how clips are read, all but these three; part: what the parts
    of the clips have in common; train, val, probe: what differs, None for a part that does not
    exist; source: builds a source of clips from options and part. All of them are None for data
    without clips. split: for data with NAVSIM's splits, the split of each of the parts train, val
    and test; None as the test split stands for all scenes. splits: folder of NAVSIM's split files,
    None where scenes are not split. scenes: settings of the decision points, None for clips alone.
    block_s: None for intervals that resample drives; or the seconds of a clip that they draw
    together in place of drives, for data of one recording. cache, cache_gb, cache_folder: see
    CachedClips. max_unreadable: share of clips that may fail.
    """

    def __init__(
        self,
        *,
        path: str,
        rate_hz: float,
        height: int,
        width: int,
        cache: str,
        cache_gb: float,
        cache_folder: str,
        max_unreadable: float,
        block_s: float | None,
        source: Callable[..., ReadableSource] | None,
        scenes: SceneSettings | None,
        splits: str | None,
        options: Callable[..., ClipOptions] | None = None,
        part: Callable[..., Part] | None = None,
        train: Mapping[str, Any] | None = None,
        val: Mapping[str, Any] | None = None,
        probe: Mapping[str, Any] | None = None,
        split: Mapping[str, str | None] | None = None,
    ) -> None:
        self.path, self.rate_hz, self.height, self.width = Path(path), rate_hz, height, width
        self.max_unreadable, self.block_s = max_unreadable, block_s
        self._cache = {"folder": cache_folder, "cache": cache, "cache_gb": cache_gb}
        if isinstance(split, str):
            raise ConfigError(f"data.split={split}: say what the split is used for, as in data.split.test={split}")
        self.split = dict(split or {})
        named = {part: {"split": name} for part, name in self.split.items() if name is not None}
        self._parts = {"train": train, "val": val, "probe": probe} | named
        self.options = None if options is None else options(rate_hz=rate_hz, height=height, width=width)
        self._part, self._source, self._scenes, self._splits = part, source, scenes, splits

    @property
    def cache(self) -> str:
        """frames, features or none."""
        return self._cache["cache"]

    def has(self, part: str) -> bool:
        """Whether there is such a part."""
        return self._parts.get(part) is not None

    @property
    def has_scenes(self) -> bool:
        """Whether there are decision points, not only clips."""
        return self._scenes is not None

    @property
    def scenes(self) -> SceneSettings:
        """Settings of the decision points. Raises ConfigError where there are none."""
        if self._scenes is None:
            raise ConfigError(f"{self.path} holds clips and no decision points: choose data=navsim or data=scenarios")
        return self._scenes

    def splits(self) -> list[str]:
        """Names of NAVSIM's split files beside the data; empty where the scenes are not split."""
        folder = self._splits
        return [] if folder is None else sorted(path.stem for path in Path(folder).expanduser().glob("*.yaml"))

    @property
    def cache_gb(self) -> float:
        """How much a cache may hold, in 10^9 bytes."""
        return self._cache["cache_gb"]

    @property
    def cache_folder(self) -> Path:
        """Folder of everything that is decoded once and kept."""
        return Path(self._cache["folder"]).expanduser()

    @property
    def fit(self) -> str:
        """How pictures become training pictures: crop or stretch."""
        return "crop" if self.options is None else self.options.fit

    def split_of(self, part: str) -> str:
        """Name of the split that holds a part's scenes. Raises ConfigError where the part names none."""
        split = self.split.get(part)
        if split is None or self._scenes is None:
            raise ConfigError(
                f"{self.path} has no scenes for {part!r}: choose data=navsim, and name their split in data.split"
            )
        return split

    @property
    def test_split(self) -> str | None:
        """Name of the split that is evaluated; None for all scenes."""
        return self.split.get("test")

    def open_scenes(
        self, *, split: str | None = None, needs: SensorNeeds | None = None, progress: Progress | None = None
    ) -> SceneSource:
        """The decision points of a split (None: all), with the sensors of `needs` (None: as
        configured).

        Raises NoScenes, and ConfigError where the data have no scenes, no splits, or none of these
        sensors.
        """
        settings = self.scenes
        if split is not None:
            settings = settings.with_split(split)
        if needs is not None:
            settings = settings.with_sensors(needs)
        return settings.open(progress)

    def open(self, part: str, *, features: Features | None = None, features_id: str | None = None) -> CachedClips:
        """The clips of `train`, `val`, `test` or `probe`, or of any split that lies beside the
        data, by its name.

        features, features_id: an extractor and its fingerprint, where data.cache is features.
        """
        if self._source is None or not (self.has(part) or part in self.splits()):
            known = [] if self._source is None else dict.fromkeys([*filter(self.has, PARTS), *self.splits()])
            raise ConfigError(
                f"{self.path} has no part {part!r}, it has {', '.join(known) or 'decision points without pictures'}: "
                f"set data.{part} or data.split.{part}, or name another part"
            )
        source = self._source(options=self.options, part=self._part(**self._part_settings(part)))
        # Only the codebook's training takes features. Clips that are opened without an extractor share
        # its frames.
        cache = "frames" if self.cache == "features" and features is None else self.cache
        return CachedClips(source=source, features=features, features_id=features_id, **self._cache | {"cache": cache})

    def _part_settings(self, part: str) -> Mapping[str, Any]:
        """What sets a part apart from the others: as configured, or the split of that name."""
        return self._parts[part] if self.has(part) else {"split": part}

    def estimate(self, parts: Iterable[str] | None = None, *, features_a_frame: int | None = 0) -> str:
        """How much reading these parts (None: all) takes, to print before anything is decoded.

        Opens the headers of a few clips. features_a_frame: bytes of the features of one frame,
        where data.cache=features; 0 where none are kept for this use, None where they depend on a
        model that is not known here.
        """
        parts = filter(self.has, PARTS) if parts is None else parts
        texts, frame_bytes, own, stored, first = [], 0, 0, 0, {}
        for part in parts:
            # Parts that use different times of the same clips are cut from the same cached clips.
            settings = {key: value for key, value in self._part_settings(part).items() if key != "times"}
            place = json.dumps(settings, sort_keys=True, default=str)
            if place in first:
                texts.append(f"{part}: cut from the clips of {first[place]}")
                continue
            clips, first[place] = self.open(part), part
            size, hours = clips.estimate()
            frame_bytes += size
            held, stored = clips.used(with_features=self.cache == "features")
            own += held
            texts.append(f"{part}: {counted(len(clips), 'clip')}, about {hours:.2f} h")
        return f"{'; '.join(texts)}. {self._describe(frame_bytes, features_a_frame, max(0, stored - own))}"

    def _describe(self, frame_bytes: int, features_a_frame: int | None, other_bytes: int) -> str:
        if self.cache == "none":
            return "Nothing is cached (data.cache=none), frames are decoded at every use"
        folder, bound = self._cache["folder"], self._cache["cache_gb"] * 1e9
        frames = frame_bytes // (3 * self.height * self.width)
        features = frames * (features_a_frame or 0) if self.cache == "features" else 0
        text = f"The cache needs about {frame_bytes / 1e9:.2f} GB for frames"
        text += f" and {features / 1e9:.2f} GB for features" if features else ""
        text += f" in {folder}"
        if self.cache == "features" and features_a_frame is None:
            text += ", and more for features (their size depends on the model)"
        room, left = f"data.cache_gb={bound / 1e9:g}", max(0, bound - other_bytes)
        if frame_bytes + features <= left:
            return f"{text} ({room})"
        remedy = "the rest is computed again at every use unless you raise data.cache_gb"
        if other_bytes:
            room += f", other data takes {other_bytes / 1e9:.2f} GB of it"
            remedy += f" or remove {folder}, which holds that other data too"
        return f"{text}; {left / 1e9:.2f} GB of them fit ({room}), {remedy}"
