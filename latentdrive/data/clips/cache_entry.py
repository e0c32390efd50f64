"""One entry of the frame cache on disk: a folder with a clip's frames, its other arrays, and its facts.

frame_cache.py decides what is kept and where. Frames and features are uncompressed arrays that are
mapped into memory when read (checked_rows.py).
"""

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from latentdrive.data.clips.checked_rows import checked, map_rows, write_rows
from latentdrive.data.clips.clip_source import ClipFacts
from latentdrive.errors import NotWritable, StoreError, raise_if_out_of_files
from latentdrive.files import atomic_folder, read_arrays
from latentdrive.plain_files import read_json
from latentdrive.types import DrivingClip, PoseSource

# Fields of a clip that not every clip has.
OPTIONAL = ("ego_poses", "ego_speed_mps", "intrinsics", "known_poses", "commands", "ego_motion")
FRAMES, CLIP, FACTS = "frames.npy", "clip.npz", "facts.json"
FACTS_SUM = "facts_sum"  # array in CLIP, which has checksums of its own: checksum of FACTS


def write_entry(entry: Path, clip: DrivingClip, facts: ClipFacts) -> int:
    """Write a clip under another name and rename it when it is whole. Returns the bytes of its
    frames. Raises DiskFull or NotWritable.
    """
    arrays = {name: getattr(clip, name) for name in ("times_s", "shots", *OPTIONAL)}
    with _storing(), atomic_folder(entry) as draft:
        size = write_rows(draft / FRAMES, checked(clip.frames))
        text = json.dumps({"pose_source": clip.pose_source, "facts": asdict(facts)})
        (draft / FACTS).write_text(text, encoding="utf-8")
        arrays[FACTS_SUM] = np.array(zlib.crc32(text.encode()))
        np.savez(draft / CLIP, **{name: array for name, array in arrays.items() if array is not None})
    return size


def read_entry(
    entry: Path, *, key: str, drive: str, make_anew: Callable[[], np.ndarray]
) -> tuple[DrivingClip, ClipFacts] | None:
    """The clip of an entry, its frames mapped; None if the entry is absent or not whole. Raises StoreError.

    make_anew: gives the frames again, and stores them, if one of them was altered.

    key, drive: names by the source that asks, because the same file may have been stored by way of
    another folder.
    """
    try:
        frames = map_rows(entry / FRAMES, make_anew)
        arrays = read_arrays(entry / CLIP)
        if zlib.crc32((entry / FACTS).read_bytes()) != int(arrays[FACTS_SUM]):
            return None
        if any(arrays[name].shape != (len(frames),) for name in ("times_s", "shots")):
            return None
        content = read_json(entry / FACTS)
        facts = ClipFacts(**content["facts"] | {"view": tuple(content["facts"]["view"])})
        clip = DrivingClip(
            frames=frames,
            times_s=arrays["times_s"],
            shots=arrays["shots"],
            pose_source=PoseSource(content["pose_source"]),
            key=key,
            drive=drive,
            **{name: arrays.get(name) for name in OPTIONAL},
        )
        return clip, facts
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    except OSError as error:
        raise _no_access(entry, error) from error


def write_features(path: Path, features: np.ndarray) -> int:
    """Write the features of a clip into its entry. Returns the file's bytes. Raises DiskFull or NotWritable."""
    with _storing():
        return write_rows(path, features)


def read_features(path: Path, rows: int, make_anew: Callable[[], np.ndarray]) -> np.ndarray | None:
    """Mapped features of `rows` frames; None if the file is absent or not whole. Raises StoreError.

    make_anew: gives them again, and stores them, if one of them was altered.
    """
    try:
        features = map_rows(path, make_anew)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    except OSError as error:
        raise _no_access(path, error) from error
    return features if len(features) == rows else None


def _no_access(place: Path, error: OSError) -> StoreError:
    """For a stored file that exists and can't be opened: to take it for absent would decode and write it again."""
    raise_if_out_of_files(error)
    return StoreError(
        f"{place} can't be read ({error.strerror}): check the disk and its permissions, or cache elsewhere with "
        "data.cache_folder=FOLDER"
    )


@contextmanager
def _storing() -> Iterator[None]:
    """Say what to do if the cache can't be written."""
    try:
        yield
    except NotWritable as error:
        raise type(error)(
            f"{error}. Clips stored so far are intact: make room, or lower data.cache_gb, cache elsewhere with "
            "data.cache_folder=FOLDER, or set data.cache=none, and run the same command again"
        ) from error
