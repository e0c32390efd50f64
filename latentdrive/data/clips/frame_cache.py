"""Decoded frames, and features of them, kept on disk: each clip is decoded once, however often it is read.

`CachedClips` wraps a source of clips and is itself one. An entry (cache_entry.py) is a folder whose
name is a digest over everything that decides its bytes: file, size, time of change, options. Whole
clips are stored, and the part is cut when they are read, so train and test share one cache.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, UInt8

from latentdrive.data.clips.cache_entry import read_entry, read_features, write_entry, write_features
from latentdrive.data.clips.cache_ledger import CacheLedger
from latentdrive.data.clips.checked_rows import checked
from latentdrive.data.clips.clip_source import ClipFacts, Part, ReadableSource
from latentdrive.errors import ConfigError, UnreadableClip
from latentdrive.lru_cache import LruCache
from latentdrive.statistics import evenly_spread
from latentdrive.types import ClipTruth, DrivingClip

FORMAT = 2  # of an entry, and how files are read that are not quite in order (see READING_VERSION)
OPEN_CLIPS = 1024  # most clips whose mapped files a cache keeps open
OPEN_SHARE = 4  # train, val and probe may each keep one such part of the files open that a process may open
SAMPLE, NAMED = 16, 256  # for the estimate: clips whose header is opened, entries that are looked up
Features = Callable[[UInt8[np.ndarray, "T 3 H W"]], Float16[np.ndarray, "T *rest"]]


class CachedClips:
    """A source whose clips are kept on disk as uncompressed arrays and mapped when read.

    cache: frames, features (frames and their features), or none. cache_gb: how much this folder may
    hold, in 10^9 bytes; clips beyond it are decoded each time they are read. features: frames →
    float16 features [T, ...]. features_id: fingerprint of that callable. Both are None unless cache
    is features.
    """

    def __init__(
        self,
        *,
        source: ReadableSource,
        folder: str | Path,
        cache: str,
        cache_gb: float,
        features: Features | None,
        features_id: str | None,
    ) -> None:
        if cache not in ("frames", "features", "none"):
            raise ConfigError(f"data.cache must be frames, features or none; got {cache}")
        if (cache == "features") != (features is not None and features_id is not None):
            raise ConfigError(
                "data.cache=features needs a feature extractor and its fingerprint; other caches take neither"
            )
        self.source, self.folder, self.cache, self.bound = source, Path(folder), cache, int(cache_gb * 1e9)
        self._features, self._features_id = features, features_id
        self._ledger = CacheLedger(self.folder)
        most_open = _may_stay_open(kinds=1 if features is None else 2)
        self._open: LruCache[int, tuple[DrivingClip, ClipFacts]] = LruCache(most_open)
        self._open_features: LruCache[int, np.ndarray] = LruCache(most_open)

    rate_hz = property(lambda self: self.source.rate_hz)
    height = property(lambda self: self.source.height)
    width = property(lambda self: self.source.width)

    @property
    def part(self) -> Part:
        """The part of each clip that is used."""
        return self.source.part

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> DrivingClip:
        clip, _ = self.read(index)
        return self.part.of(clip, self.location(index), piece=self.is_piece(index))

    def location(self, index: int) -> Path:
        """File or folder of the clip."""
        return self.source.location(index)

    def key(self, index: int) -> str:
        """Unique name of the clip, known without opening it."""
        return self.source.key(index)

    def drive(self, index: int) -> str:
        """Name of the recording that the clip belongs to."""
        return self.source.drive(index)

    def files(self, index: int) -> list[Path]:
        """Every file and folder that decides the clip."""
        return self.source.files(index)

    def is_piece(self, index: int) -> bool:
        """Whether the clip beside it is of the same recording."""
        return self.source.is_piece(index)

    def identity(self, index: int) -> dict[str, Any]:
        """Everything that decides the clip's bytes."""
        return self.source.identity(index)

    def header_duration_s(self, index: int) -> float | None:
        """Length by the container's header."""
        return self.source.header_duration_s(index)

    def truth(self, index: int) -> ClipTruth | None:
        """The built-in world's ground truth of the whole clip."""
        return self.source.truth(index)

    def read(self, index: int) -> tuple[DrivingClip, ClipFacts]:
        """The whole clip, from the cache if it is there, else decoded (and stored while there is room)."""
        if self.cache == "none":
            return self.source.read(index)
        if index in self._open:
            return self._open[index]
        content = self._load(index)
        if content is None:
            clip, facts = self.source.read(index)
            if not self._store(index, clip, facts):
                return clip, facts
            content = self._load(index) or (clip, facts)
        self._open[index] = content
        return content

    def features(self, index: int, whole: DrivingClip | None = None) -> Float16[np.ndarray, "T *rest"] | None:
        """Features of the part's frames, computed once; None unless cache is features. whole: the
        clip, if it was read.
        """
        if self._features is None:
            return None
        clip = whole or self.read(index)[0]
        rows = self.part.rows(clip.times_s, piece=self.is_piece(index))
        if index in self._open_features:
            return self._open_features[index][rows]
        features = self._load_features(index, clip)
        if features is None:
            features = self._features_anew(index, clip)
            stored = self._load_features(index, clip)
            if stored is None:
                return features[rows]  # not kept in memory either: features of a long clip may take a gigabyte
            features = stored
        self._open_features[index] = features
        return features[rows]

    def estimate(self) -> tuple[int, float]:
        """Bytes that all frames will take, and hours of video, from the headers of an even sample of clips."""
        durations_s = [
            duration_s for duration_s in self._sampled(self.header_duration_s, SAMPLE) if duration_s is not None
        ]
        total_s = float(np.mean(durations_s)) * len(self) if durations_s else 0.0
        return int(total_s * self.rate_hz * 3 * self.height * self.width), total_s / 3600.0

    def used(self, *, with_features: bool) -> tuple[int, int]:
        """Bytes that the cache holds of these clips (estimated from an even sample), and of all clips of all data."""
        if self.cache == "none":
            return 0, 0
        looked_up = self._sampled(lambda index: self._entry(index).name, NAMED)
        entries, own = set(looked_up), 0
        for name, size in self._ledger.sizes().items():
            entry, _, features = name.partition("/")
            own += size if entry in entries and (with_features or not features) else 0
        return own * len(self) // max(1, len(looked_up)), self._ledger.used()

    def stored(self, index: int) -> tuple[DrivingClip, ClipFacts] | None:
        """The whole clip if it is in the cache; never decodes."""
        if self.cache == "none":
            return None
        try:
            return self._open[index] if index in self._open else self._load(index)
        except UnreadableClip:
            return None

    def prepare(self, watch: Callable[[range], Iterable[int]] = iter) -> list[UnreadableClip]:
        """Decode and store the clips that the cache lacks, until it is full. Returns the clips that can't be read.

        watch: shows the progress over the clips.
        """
        unreadable = []
        for index in watch(range(len(self))):
            try:
                self.read(index)
                self.features(index)
            except UnreadableClip as error:
                unreadable.append(error)
            if self._ledger.used() >= self.bound:
                break
        return unreadable

    def _load_features(self, index: int, clip: DrivingClip) -> np.ndarray | None:
        def make_anew() -> np.ndarray:
            self._say_altered(index)
            return self._features_anew(index, clip)

        return read_features(self._features_file(index), len(clip), make_anew)

    def _features_anew(self, index: int, clip: DrivingClip) -> np.ndarray:
        """Features of a whole clip, computed, and stored while there is room."""
        features, file = np.asarray(self._features(checked(clip.frames)), np.float16), self._features_file(index)
        name = f"{file.parent.name}/{file.name}"
        if file.parent.is_dir() and self._has_room(name, features.nbytes):
            self._ledger.add(name, write_features(file, features))
        return features

    def _features_file(self, index: int) -> Path:
        return self._entry(index) / f"features-{self._features_id}.npy"

    def _sampled(self, look_up: Callable[[int], Any], most: int) -> list[Any]:
        """Results of `look_up` for at most `most` clips, evenly spread, without the unreadable ones."""
        results = []
        for index in evenly_spread(len(self), most):
            with suppress(UnreadableClip):
                results.append(look_up(index))
        return results

    def _entry(self, index: int) -> Path:
        content = json.dumps([FORMAT, self.identity(index)], sort_keys=True).encode()
        name = hashlib.sha256(content).hexdigest()[:32]
        return self.folder / name[:2] / name

    def _has_room(self, name: str, size: int) -> bool:
        """Whether `name` may take this many bytes, in place of those that it takes now."""
        return self._ledger.used() - self._ledger.sizes().get(name, 0) + size <= self.bound

    def _store(self, index: int, clip: DrivingClip, facts: ClipFacts) -> bool:
        """Write the entry of a clip. False if the bound leaves no room."""
        entry = self._entry(index)
        if not self._has_room(entry.name, clip.frames.nbytes):
            return False
        self._ledger.add(entry.name, write_entry(entry, clip, facts))
        return True

    def _load(self, index: int) -> tuple[DrivingClip, ClipFacts] | None:
        def make_anew() -> np.ndarray:
            self._say_altered(index)
            clip, facts = self.source.read(index)
            self._store(index, clip, facts)
            return clip.frames

        entry = self._entry(index)
        return read_entry(entry, key=self.key(index), drive=self.drive(index), make_anew=make_anew)

    def _say_altered(self, index: int) -> None:
        print(f"{self._entry(index)}: {self.key(index)} was altered on the disk, and is made anew", file=sys.stderr)


def _may_stay_open(*, kinds: int) -> int:
    """How many mapped files of each kind a cache may keep open; each is one of the files that the
    system allows a process.
    """
    try:
        import resource
    except ImportError:  # a system without such limits
        return OPEN_CLIPS
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return OPEN_CLIPS if limit == resource.RLIM_INFINITY else max(1, min(OPEN_CLIPS, limit // (OPEN_SHARE * kinds)))
