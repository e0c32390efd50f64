"""Decoded frames (and features of them) on disk: each clip is decoded once, however often it is read.

Wraps a source of clips; still a ClipSource. An entry is a folder named by what decides its bytes (file, size, time of
change, options), written under another name and renamed when complete, so an interrupted run leaves whole entries only.
Whole clips are stored and the part is cut on reading: train and test share one cache.
"""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, UInt8

from latentdrive.data.clips.cache_ledger import CacheLedger
from latentdrive.data.clips.clip_source import ClipFacts, Part, ReadableSource
from latentdrive.errors import ConfigError, DiskFull, StoreError, UnreadableClip, raise_if_out_of_files
from latentdrive.files import atomic_folder, read_arrays, write_atomic
from latentdrive.types import ClipTruth, DrivingClip, PoseSource

FORMAT = 1
OPEN_CLIPS = 1024  # most clips whose maps a cache keeps open
OPEN_SHARE = 4  # of the files that a process may open, train, val and probe each keep one such part open
SAMPLE, NAMED = 16, 256  # for the estimate: headers that are opened, entries that are looked up
OPTIONAL = (
    "ego_poses",
    "ego_speed_mps",
    "intrinsics",
    "poses_causal",
    "commands",
    "ego_motion",
)  # of a clip, not of every clip
FRAMES, CLIP, FACTS = "frames.npy", "clip.npz", "facts.json"
Features = Callable[[UInt8[np.ndarray, "T 3 H W"]], Float16[np.ndarray, "T *rest"]]


class CachedClips:
    """A source whose clips are kept on disk as uncompressed arrays and mapped when read.

    cache: frames, features (frames and their features), or none. cache_gb: bound on what this folder may hold, in
    10^9 bytes; clips beyond it are decoded each time they are read. features: frames → float16 features [T, ...], and
    features_id: fingerprint of that callable; both None unless cache is features.
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
                "data.cache=features needs a feature extractor and its fingerprint, and no other cache takes one"
            )
        self.source, self.folder, self.cache, self.bound = source, Path(folder), cache, int(cache_gb * 1e9)
        self._features, self._features_id = features, features_id
        self._ledger, self._most_open = CacheLedger(self.folder), _may_stay_open(kinds=1 if features is None else 2)
        self._open: OrderedDict[int, tuple[DrivingClip, ClipFacts]] = OrderedDict()
        self._open_features: OrderedDict[int, np.ndarray] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes: maps are opened anew there, not copied."""
        return self.__dict__ | {"_open": OrderedDict(), "_open_features": OrderedDict()}

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
        return self.part.of(clip, self.location(index))

    def location(self, index: int) -> Path:
        """File or folder of the clip."""
        return self.source.location(index)

    def key(self, index: int) -> str:
        """Unique name of the clip, known without opening it."""
        return self.source.key(index)

    def identity(self, index: int) -> dict[str, Any]:
        """Everything that decides the clip's bytes."""
        return self.source.identity(index)

    def header_duration_s(self, index: int) -> float | None:
        """Length by the container's header."""
        return self.source.header_duration_s(index)

    def truth(self, index: int) -> ClipTruth | None:
        """What the world knows of the whole clip."""
        return self.source.truth(index)

    def read(self, index: int) -> tuple[DrivingClip, ClipFacts]:
        """The whole clip, from the cache where it is there, else decoded (and stored while there is room)."""
        if self.cache == "none":
            return self.source.read(index)
        if index in self._open:
            self._open.move_to_end(index)
            return self._open[index]
        entry = self._entry(index)
        found = self._load(index)
        if found is None:
            clip, facts = self.source.read(index)
            if not self._store(entry, clip, facts):
                return clip, facts
            found = self._load(index) or (clip, facts)
        self._open[index] = found
        if len(self._open) > self._most_open:
            self._open.popitem(last=False)
        return found

    def features(self, index: int, whole: DrivingClip | None = None) -> Float16[np.ndarray, "T *rest"] | None:
        """Features of the part's frames, computed once; None unless cache is features. whole: the clip, if it was read."""
        if self._features is None:
            return None
        clip = whole or self.read(index)[0]
        rows = self.part.rows(clip.times_s)
        if index in self._open_features:
            return self._open_features[index][rows]
        entry, name = self._entry(index), f"features-{self._features_id}.npy"
        path = entry / name
        whole = _load_array(path, len(clip))
        if whole is None:
            whole = np.asarray(self._features(np.asarray(clip.frames)), np.float16)
            if not (path.parent.is_dir() and self._has_room(whole.nbytes)):
                return whole[rows]  # not kept in memory either: features of a long clip may take a gigabyte
            with _storing():
                self._ledger.add(f"{entry.name}/{name}", _write_array(path, whole))
            whole = _load_array(path, len(clip))
        self._open_features[index] = whole
        if len(self._open_features) > self._most_open:
            self._open_features.popitem(last=False)
        return whole[rows]

    def estimate(self) -> tuple[int, float]:
        """Bytes that all frames will take, and hours of video, from the headers of an even sample of clips."""
        known = [duration for duration in self._sampled(self.header_duration_s, SAMPLE) if duration is not None]
        total_s = float(np.mean(known)) * len(self) if known else 0.0
        return int(total_s * self.rate_hz * 3 * self.height * self.width), total_s / 3600.0

    def used(self, *, with_features: bool) -> tuple[int, int]:
        """Bytes that the cache holds of these clips (by an even sample of them), and of all clips of all data."""
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
            return self._open.get(index) or self._load(index)
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

    def _sampled(self, look: Callable[[int], Any], most: int) -> list[Any]:
        """What `look` finds of at most `most` clips, evenly spread, unreadable ones left out."""
        found = []
        for index in np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).astype(int)):
            with suppress(UnreadableClip):
                found.append(look(int(index)))
        return found

    def _entry(self, index: int) -> Path:
        content = json.dumps([FORMAT, self.identity(index)], sort_keys=True).encode()
        name = hashlib.sha256(content).hexdigest()[:32]
        return self.folder / name[:2] / name

    def _has_room(self, size: int) -> bool:
        return self._ledger.used() + size <= self.bound

    def _store(self, entry: Path, clip: DrivingClip, facts: ClipFacts) -> bool:
        """Write an entry beside its place and rename it there. False where the bound leaves no room."""
        if not self._has_room(clip.frames.nbytes):
            return False
        arrays = {name: getattr(clip, name) for name in ("times_s", "shots", *OPTIONAL)}
        with _storing(), atomic_folder(entry) as new:
            size = _write_array(new / FRAMES, clip.frames)
            np.savez(new / CLIP, **{name: array for name, array in arrays.items() if array is not None})
            about = {"pose_source": clip.pose_source, "frames_bytes": size, "facts": asdict(facts)}
            (new / FACTS).write_text(json.dumps(about), encoding="utf-8")
        self._ledger.add(entry.name, size)
        return True

    def _load(self, index: int) -> tuple[DrivingClip, ClipFacts] | None:
        """A stored clip with its frames mapped; None where the entry is absent or not whole.

        It is named as the source names it: the same file may have been stored by way of another folder.
        """
        entry = self._entry(index)
        try:
            about = json.loads((entry / FACTS).read_text(encoding="utf-8"))
            if (entry / FRAMES).stat().st_size != about["frames_bytes"]:
                return None
            frames = np.load(entry / FRAMES, mmap_mode="r", allow_pickle=False)
            arrays = read_arrays(entry / CLIP)
            facts = about["facts"] | {"view": tuple(about["facts"]["view"])}
            clip = DrivingClip(
                frames=frames,
                times_s=arrays["times_s"],
                shots=arrays["shots"],
                pose_source=PoseSource(about["pose_source"]),
                key=self.key(index),
                drive=self.source.drive(index),
                **{name: arrays.get(name) for name in OPTIONAL},
            )
            return clip, ClipFacts(**facts)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        except OSError as error:
            raise _no_access(entry, error) from error


def _may_stay_open(*, kinds: int) -> int:
    """Maps of each kind that one cache may keep open: each takes one of the files that the system allows a process."""
    try:
        import resource
    except ImportError:  # a system without such limits
        return OPEN_CLIPS
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return OPEN_CLIPS if limit == resource.RLIM_INFINITY else max(1, min(OPEN_CLIPS, limit // (OPEN_SHARE * kinds)))


def _no_access(place: Path, error: OSError) -> StoreError:
    """For a stored file that is there and can't be opened: taking it for absent would decode and write it anew."""
    raise_if_out_of_files(error)
    return StoreError(
        f"{place} can't be read ({error.strerror}): see to the disk and its permissions, or cache elsewhere with "
        "data.cache_folder=FOLDER"
    )


def _load_array(path: Path, rows: int) -> np.ndarray | None:
    """A mapped array of `rows` rows; None where it is absent or cut short."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    except OSError as error:
        raise _no_access(path, error) from error
    return array if len(array) == rows else None


def _write_array(path: Path, array: np.ndarray) -> int:
    """Write an array as a whole; returns the file's size in bytes."""
    array = np.ascontiguousarray(array)

    def write(new: Path) -> None:
        with open(new, "wb") as file:
            # Written by hand: np.save hides the error number of a full disk.
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            file.write(memoryview(array).cast("B"))
            file.flush()
            os.fsync(file.fileno())

    write_atomic(path, write)
    return path.stat().st_size


@contextmanager
def _storing() -> Iterator[None]:
    """Says what to do where the disk is full, and where no more files can be opened."""
    try:
        yield
    except DiskFull as error:
        raise DiskFull(
            f"{error}. Clips stored so far are intact: make room, or lower data.cache_gb, or set data.cache=none, and run the "
            "same command again"
        ) from error
    except OSError as error:
        raise_if_out_of_files(error)
        raise
