"""The key of a prepared scene: a hash of everything that its preparation reads.

Two scenes with the same key were prepared from the same frames, route and map by the same rules. If
any of these changes, so does the key.
"""

import hashlib
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np

from latentdrive.pdms.history import PAST_FRAMES
from latentdrive.pdms.map.index import MAPS_KEPT, MapIndex, index_of
from latentdrive.pdms.versions import REVISION, Rules
from latentdrive.types import LoggedFrame, SceneTruth

UNREAD = ("crosswalks", "walkways")  # layers of a map that no score reads


@runtime_checkable
class _Hash(Protocol):
    """The type of hashlib's objects, for which hashlib has no public name."""

    def update(self, data: bytes, /) -> None: ...


def scene_key(truth: SceneTruth, rules: Rules, format_number: int) -> str:
    """32 hexadecimal digits over the frames that `rules` read, and over route, human and map.

    format_number: format of the file that keeps the scene.
    """
    past = PAST_FRAMES if rules.generation == 2 else 0
    frames = truth.frames[max(truth.now - past, 0) : truth.now + 1 + rules.future_frames]
    digest = hashlib.sha256()
    scene = (truth.token, truth.drive, truth.synthetic, truth.now - past, truth.route)
    _feed(digest, (format_number, REVISION, rules.generation, *scene))
    _feed(digest, tuple(_read_of(frame) for frame in frames))
    _feed(digest, (truth.human.poses, truth.human.dt_s, map_fingerprint(index_of(truth.map))))
    return digest.hexdigest()[:32]


@lru_cache(maxsize=MAPS_KEPT)
def map_fingerprint(index: MapIndex) -> str:
    """64 hexadecimal digits over what the score reads of a map. Computed once a map; half a second for a city."""
    digest = hashlib.sha256()
    for field in fields(index.map):
        if field.name not in UNREAD:
            _feed(digest, (field.name, getattr(index.map, field.name)))
    return digest.hexdigest()


def _read_of(frame: LoggedFrame) -> tuple[Any, ...]:
    """The parts of a frame that a score reads: all but the driving command and the heights of objects."""
    objects = frame.objects
    tracked = (objects.poses, objects.sizes, objects.velocity, objects.names, objects.tracks)
    return frame.timestamp_us, frame.ego_pose, frame.velocity, frame.acceleration, frame.lights, tracked


def _feed(digest: _Hash, value: Any) -> None:
    """Hash a value with its type and length, so that no two values give the same bytes."""
    if isinstance(value, np.ndarray):
        digest.update(f"a{value.dtype.str}{value.shape}".encode())
        digest.update(value.tobytes())
    elif isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        digest.update(b"s%d:" % len(text) + text)
    elif is_dataclass(value):
        _feed(digest, tuple(getattr(value, field.name) for field in fields(value)))
    elif isinstance(value, tuple):
        digest.update(b"t%d:" % len(value))
        for item in value:
            _feed(digest, item)
    elif value is None or isinstance(value, bool | int | float):
        digest.update(f"n{value!r};".encode())
    else:
        raise TypeError(f"scene_key: can't hash a value of type {type(value).__name__}")
