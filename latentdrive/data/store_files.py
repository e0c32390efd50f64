"""The files of a latent store: the index and its shards, as text and tensors that were checked.

Below latent_store.py, which says what they mean. Every field of the index is covered by its checksum,
and every shard by its sha256 in the index. The first stores have no checksum; their fingerprint covers
what decides their content.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from latentdrive.data.file_contents import FileContent, from_plain
from latentdrive.errors import StoreError
from latentdrive.files import write_atomic
from latentdrive.identity import are_former_ids
from latentdrive.plain_files import json_of, read_json
from latentdrive.types import FROZEN

FORMAT = 1
INDEX, SHARD, SHARD_NAME = "index.json", "shard-{:05d}.safetensors", re.compile(r"shard-\d{5,}\.safetensors")
CHECKSUM = "checksum"  # field of the index: sha256 over all others
LARGEST_INDEX = 200_000_000  # bytes; the index lists every shard and every clip that could not be read
KINDS: Mapping[str, tuple[type, ...]] = {  # of every field that an index must have
    "format": (int,),
    "fingerprint": (str,),
    "origin": (str,),
    "codebook_id": (str,),
    "maker": (str,),
    "data": (str,),
    "transition_s": (float, int, NoneType),
    "transitions": (int,),
    "codes_per_transition": (int,),
    "codes": (int,),
    "settings": (dict,),
    "known": (list,),
    "shards": (list,),
    "windows": (int,),
    "next_clip": (int,),
    "unreadable": (list,),
    "complete": (bool,),
}
LATER = {"former_ids": (dict,), CHECKSUM: (str,)}  # fields that the first stores lack


@dataclass(**FROZEN)
class Shard:
    """The content of a shard. keys, drives: of its clips. contents: by key, of their files, where noted."""

    tensors: dict[str, Tensor]
    keys: list[str]
    drives: list[str]
    contents: dict[str, list[FileContent]]


def read_index(folder: Path) -> dict[str, Any]:
    """The fields of a store's index, without the checksum. Raises StoreError where there is none, or it was altered."""
    path = folder / INDEX
    if not path.is_file():
        inside = sorted(p.parent.name for p in folder.glob(f"*/{INDEX}")) if folder.is_dir() else []
        hint = (
            f"; stores below it: {', '.join(inside)}" if inside else "; make one with: latentdrive label model=FOLDER"
        )
        raise StoreError(f"{folder} is no latent store: it has no {INDEX}{hint}")
    try:
        index = read_json(path, largest_bytes=LARGEST_INDEX)
    except ValueError as error:
        raise StoreError(f"{path} {error}: remove the folder and label again") from None
    if not isinstance(index, dict):
        raise StoreError(f"{path} is no index of a latent store: remove the folder and label again")
    if index.get("format") != FORMAT:
        raise StoreError(f"{folder} has format {index.get('format')}, this version reads format {FORMAT}: label again")
    if wrong := _wrong_fields(index):
        raise StoreError(
            f"{path} is no index of a latent store ({', '.join(wrong)}): copy the folder again, or remove it and label "
            "again"
        )
    if not are_former_ids(index.get("former_ids", {})) or not index.get("former_ids", {}).keys() <= {
        index["codebook_id"],
        index["maker"],
    }:
        raise StoreError(
            f"{path}: former_ids must map the store's codebook or maker to a list of earlier ids: copy the folder again"
        )
    checksum = index.pop(CHECKSUM, None)
    if checksum not in (None, _checksum(index)):
        raise StoreError(
            f"{path} was altered: its fields don't have the checksum that stands in it. Copy the folder again, or "
            "remove it and label again"
        )
    return index


def write_index(folder: Path, index: Mapping[str, Any]) -> None:
    """Write the index as a whole, with its checksum."""
    text = json.dumps({**index, CHECKSUM: _checksum(index)}, indent=1) + "\n"
    write_atomic(folder / INDEX, lambda path: path.write_text(text, encoding="utf-8"))


def read_shard(folder: Path, entry: Mapping[str, Any]) -> Shard:
    """The shard that the index lists as `entry`, its tensors mapped from disk. Raises StoreError if it
    is missing or altered.
    """
    path = folder / entry["file"]
    if not path.is_file():
        raise StoreError(f"{folder} lacks {entry['file']}: copy the folder again, or remove it and label again")
    if _sha256(path) != entry["sha256"]:
        raise StoreError(
            f"{path} was altered: its sha256 differs from the index. Copy the folder again, or remove it and label "
            "again"
        )
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
            about = file.metadata() or {}
        keys, drives, *more = json_of(about["clips"].encode())
        (contents,) = more or [{}]  # the first stores note none
        shard = Shard(
            tensors=tensors,
            keys=_texts(keys),
            drives=_texts(drives),
            contents={key: from_plain(rows) for key, rows in contents.items()},
        )
        _require_whole(shard, windows=entry["windows"])
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} can't be read ({error}): remove the folder and label again") from None
    return shard


def write_shard(folder: Path, number: int, shard: Shard) -> dict[str, Any]:
    """Write a shard. Returns its entry for the index."""
    path = folder / SHARD.format(number)
    contents = {key: [content.plain() for content in files] for key, files in shard.contents.items()}
    # One text, because safetensors writes several in random order.
    about = {"clips": json.dumps([shard.keys, shard.drives, contents])}
    tensors = {name: tensor.contiguous() for name, tensor in shard.tensors.items()}
    content = save(tensors, metadata=about)  # to bytes, because safetensors' own writer hides a full disk
    write_atomic(path, lambda new: new.write_bytes(content))
    return {"file": path.name, "sha256": _sha256(path), "windows": len(shard.tensors["t0_s"])}


def _wrong_fields(index: Mapping[str, Any]) -> list[str]:
    """What is wrong with the fields of an index, in words."""
    known = {**KINDS, **LATER}
    wrong = [f"it lacks {name}" for name in KINDS if name not in index]
    wrong += [f"{name} is not of its kind" for name in known if name in index and type(index[name]) not in known[name]]
    wrong += [f"unknown {name}" for name in index if name not in known]
    if wrong:
        return wrong
    entries = {"file": str, "sha256": str, "windows": int}
    for entry in index["shards"]:
        fits = isinstance(entry, dict) and {name: type(value) for name, value in entry.items()} == entries
        if not fits or not SHARD_NAME.fullmatch(entry["file"]):
            return ["an entry of shards is not of its kind"]
    if index["windows"] != sum(entry["windows"] for entry in index["shards"]):
        return ["its shards don't have as many windows as it says"]
    if not all(isinstance(row, list) and [type(value) for value in row] == [str, str] for row in index["unreadable"]):
        return ["an entry of unreadable is not of its kind"]
    return [] if all(isinstance(name, str) for name in index["known"]) else ["known is not of its kind"]


def _require_whole(shard: Shard, *, windows: int) -> None:
    """Raise ValueError or KeyError for tensors that don't fit together."""
    lengths = {name: len(tensor) for name, tensor in shard.tensors.items()}
    lacking = {"codes", "clip", "t0_s", "known"} - lengths.keys()
    if lacking or windows < 1 or set(lengths.values()) != {windows} or len(shard.keys) != len(shard.drives):
        raise ValueError(f"it does not hold {windows} whole windows")
    clip, times = shard.tensors["clip"], shard.tensors["t0_s"]
    named = int(clip.min()) >= 0 and int(clip.max()) < len(shard.keys)
    if not named or not bool(torch.isfinite(times).all()):
        raise ValueError("its windows name clips or times that don't exist")


def _texts(values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("names of clips and drives are texts")
    return values


def _checksum(index: Mapping[str, Any]) -> str:
    """The sha256 over all fields, as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(dict(index), sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
