"""Latent actions on disk: `label` writes them once, and teacher, student and planners learn from them.

A store is a folder with `index.json` (what was labelled, by which model, from which clips) and
shards in safetensors, each with the windows of some consecutive clips. A window is a clip and a
time t0. It has codes, logits over the K codes of every slot, and pooled visual and action features
(float16), of a middle layer, too, where the labeller gives them. The index lists finished shards only,
so an interrupted labelling keeps them and continues after the last one. Codes of origin
`inverse_dynamics` depend on future frames: they are training targets and never a planner's input.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64

from latentdrive.counting import counted
from latentdrive.data.file_contents import FileContent
from latentdrive.data.latent_tensors import FEATURES, arrays_of, features_in
from latentdrive.data.store_files import FORMAT, INDEX, Shard, read_index, read_shard, write_index, write_shard
from latentdrive.errors import MixedCodebooks, StoreError
from latentdrive.identity import FormerIds, digest, same_id
from latentdrive.types import FROZEN, LatentActions, Origin

AGAIN = "label again with the same command: finished shards are kept"
SEEN = ("codes", "environment", "logits", *FEATURES)  # tensors of a shard that LatentActions are made of


@dataclass(**FROZEN)
class StoreInfo:
    """What decides a store's content; its fingerprint is the store's address.

    maker: fingerprint of the checkpoint that labelled. data: fingerprint of the clips. codes: K.
    settings: the other values that decide windows and pictures (stride, rate, height, width).
    known: names of the columns of `Windows.known`. former_ids: earlier ids of the codebook and the
    maker, as in `checkpoint.Card`; they are no part of the content or the fingerprint.
    """

    origin: Origin
    codebook_id: str
    maker: str
    data: str
    transition_s: float
    transitions: int
    codes_per_transition: int
    codes: int
    settings: dict[str, Any]
    known: tuple[str, ...]
    former_ids: FormerIds = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits over all fields but `former_ids`."""
        return digest({name: value for name, value in asdict(self).items() if name != "former_ids"})

    def has_fingerprint(self, fingerprint: str) -> bool:
        """Whether a store with this fingerprint has the same content, perhaps with a former id of
        its codebook or maker.
        """
        codebooks = (self.codebook_id, *self.former_ids.get(self.codebook_id, ()))
        makers = (self.maker, *self.former_ids.get(self.maker, ()))
        named = (replace(self, codebook_id=codebook, maker=maker) for codebook in codebooks for maker in makers)
        return any(info.fingerprint == fingerprint for info in named)

    def require_codebook(self, codebook_id: str, *, where: str, former_ids: FormerIds | None = None) -> None:
        """Raise MixedCodebooks with both ids if `codebook_id` is another codebook's.

        where: what the id belongs to, for the message. former_ids: earlier ids that are known
        there, as in `checkpoint.Card`.
        """
        if not same_id(codebook_id, self.codebook_id, self.former_ids, former_ids or {}):
            raise MixedCodebooks(
                f"{where} uses codes of codebook {codebook_id}, the latent store has codes of {self.codebook_id}: "
                "codes of two codebooks mean different things. Label again with one of them"
            )

    def require_slots(self, model: Any) -> None:
        """Raise StoreError if a model predicts other slots than those of the store."""
        for name in ("codes", "transitions", "codes_per_transition"):
            stored, predicted = getattr(self, name), getattr(model, name)
            if stored != predicted:
                raise StoreError(
                    f"the latent store has {name}={stored}, the model {predicted}: set model.{name}={stored}"
                )


@dataclass(**FROZEN)
class Windows:
    """Labelled windows of some clips. clip: row of each window in `keys` and `drives`; t0_s: its present in clip time.

    known: which inputs of each window were known, with columns as in StoreInfo.known. contents: what was
    in the files of the clips, by key, as far as it is known.
    """

    keys: list[str]
    drives: list[str]
    clip: Int64[np.ndarray, "N"]
    t0_s: Float64[np.ndarray, "N"]
    latents: LatentActions
    known: Bool[np.ndarray, "N flags"]
    contents: Mapping[str, Sequence[FileContent]] = field(default_factory=dict)


class LatentWriter:
    """Writes a store shard by shard, and continues an interrupted one if the folder holds it.

    Whoever adds to a store holds its folder by `locks.one_writer` from before the writer is made.
    next_clip: index of the first clip that no finished shard covers. complete: whether all is
    written.
    """

    def __init__(self, folder: str | Path, info: StoreInfo) -> None:
        self.folder, self.info = Path(folder), info
        self._index = {"format": FORMAT, "fingerprint": info.fingerprint, **asdict(info)}
        self._index |= {"shards": [], "windows": 0, "next_clip": 0, "unreadable": [], "complete": False}
        if (self.folder / INDEX).is_file():
            index = read_index(self.folder)
            _info_of(index, self.folder)
            if not info.has_fingerprint(index["fingerprint"]):
                raise StoreError(
                    f"{self.folder} holds another store ({index['fingerprint']}: {index['origin']} of maker "
                    f"{index['maker']}), not {info.fingerprint}: give another folder with store=FOLDER, or remove it"
                )
            self._index = index

    next_clip = property(lambda self: self._index["next_clip"])
    complete = property(lambda self: self._index["complete"])
    windows = property(lambda self: self._index["windows"])
    unreadable = property(lambda self: [tuple(row) for row in self._index["unreadable"]])

    def add(self, windows: Windows | None, *, next_clip: int, unreadable: Sequence[tuple[str, str]]) -> None:
        """Write one shard, then list it in the index, both atomically. windows: None if these clips have no window."""
        index = dict(self._index)
        if windows is not None:
            index["shards"] = [*index["shards"], self._write(windows, len(index["shards"]))]
            index["windows"] += len(windows.t0_s)
        index["unreadable"] = [*index["unreadable"], *map(list, unreadable)]
        self._save(index | {"next_clip": next_clip})

    def finish(self) -> None:
        """Mark the store as complete. Raises StoreError if not one window was labelled."""
        if self.complete:
            return
        if not self.windows:
            raise StoreError(f"{self.folder}: no clip holds a window to label; use longer clips or fewer transitions")
        self._save(self._index | {"complete": True})

    def knew(self, name: str) -> bool:
        """Whether an input of this name was known in any window that is written already."""
        column = self.info.known.index(name)
        shards = (read_shard(self.folder, entry) for entry in self._index["shards"])
        return any(bool(shard.tensors["known"][:, column].any()) for shard in shards)

    def _write(self, windows: Windows, number: int) -> dict[str, Any]:
        latents = windows.latents
        self.info.require_codebook(latents.codebook_id, where="the batch to be written")
        tensors = {
            "codes": latents.codes.to(torch.uint8),
            "clip": torch.from_numpy(windows.clip.astype(np.int32)),
            "t0_s": torch.from_numpy(windows.t0_s),
            "known": torch.from_numpy(windows.known),
        }
        if latents.environment is not None:
            tensors["environment"] = latents.environment.to(torch.uint8)
        if latents.logits is not None:
            tensors["logits"] = latents.logits.float()
        if latents.features is not None:
            tensors |= arrays_of(latents.features)
        contents = {key: list(files) for key, files in windows.contents.items()}
        shard = Shard(tensors=tensors, keys=windows.keys, drives=windows.drives, contents=contents)
        return write_shard(self.folder, number, shard)

    def _save(self, index: dict[str, Any]) -> None:
        write_index(self.folder, index)
        self._index = index


class LatentStore:
    """A finished store, mapped from disk. `store[i]` is one window; `store.batch(rows)` stacks several.

    keys, drives, t0_s: clip, drive and present (seconds in clip time) of every window, in the order
    of the source. contents: what was in the files of the clips, by key; the first stores don't say it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder, index = Path(folder), read_index(Path(folder))
        if not (index["complete"] and index["shards"]):
            raise StoreError(f"{folder} is not finished ({counted(index['windows'], 'window')} so far): {AGAIN}")
        self.info = _info_of(index, self.folder)
        self.fingerprint, self.unreadable = index["fingerprint"], [tuple(row) for row in index["unreadable"]]
        shards = [read_shard(self.folder, entry) for entry in index["shards"]]
        self._tensors = [shard.tensors for shard in shards]
        self._require_slots()
        self._ends = np.cumsum([len(tensors["t0_s"]) for tensors in self._tensors])
        self.t0_s = np.concatenate([tensors["t0_s"].numpy() for tensors in self._tensors])
        self.known = np.concatenate([tensors["known"].numpy() for tensors in self._tensors])
        self.keys = [shard.keys[i] for shard in shards for i in shard.tensors["clip"].tolist()]
        self.drives = [shard.drives[i] for shard in shards for i in shard.tensors["clip"].tolist()]
        self.contents = {key: files for shard in shards for key, files in shard.contents.items()}
        self._rows = {_address(key, t0): row for row, (key, t0) in enumerate(zip(self.keys, self.t0_s))}

    def __len__(self) -> int:
        return len(self.t0_s)

    def __getitem__(self, row: int) -> LatentActions:
        """One window, without batch axis."""
        if not -len(self) <= row < len(self):
            raise IndexError(f"there is no window {row}: {self.folder} has {len(self)}")
        return self.batch([row % len(self)])._map(lambda tensor: tensor[0])

    def __iter__(self) -> Iterator[LatentActions]:
        return (self[row] for row in range(len(self)))

    def find(self, key: str, t0_s: float) -> int | None:
        """Row of the window of clip `key` at `t0_s`, to the microsecond; None if there is none."""
        return self._rows.get(_address(key, t0_s))

    def batch(self, rows: Sequence[int]) -> LatentActions:
        """Several windows, stacked in the order of `rows`."""
        where = np.searchsorted(self._ends, rows, side="right")
        starts = np.concatenate([[0], self._ends])
        tensors = {}
        for name in SEEN:
            if name in self._tensors[0]:
                picked = [self._tensors[s][name][int(row - starts[s])] for s, row in zip(where, rows)]
                tensors[name] = torch.stack(picked)
        environment = tensors.get("environment")
        return LatentActions(
            codes=tensors["codes"].long(),
            environment=None if environment is None else environment.long(),
            logits=tensors.get("logits"),
            features=features_in(tensors),
            codebook_id=self.info.codebook_id,
            origin=self.info.origin,
        )

    def codes(self) -> Int64[np.ndarray, "N A"]:
        """The codes of all windows."""
        return np.concatenate([tensors["codes"].numpy() for tensors in self._tensors]).astype(np.int64)

    def _require_slots(self) -> None:
        """Raise StoreError where the codes are not those that the index speaks of."""
        slots, first = self.info.transitions * self.info.codes_per_transition, self._tensors[0].keys()
        for tensors in self._tensors:
            codes, known = tensors["codes"], tensors["known"]
            fits = codes.shape[1:] == (slots,) and known.shape[1:] == (len(self.info.known),)
            if not fits or int(codes.max()) >= self.info.codes or tensors.keys() != first:
                raise StoreError(
                    f"{self.folder} does not hold {slots} of {self.info.codes} codes for every window, as its index "
                    "says: copy the folder again, or remove it and label again"
                )


def _address(key: str, t0_s: float) -> tuple[str, int]:
    return key, round(float(t0_s) * 1e6)


def _info_of(index: Mapping[str, Any], folder: Path) -> StoreInfo:
    """What the fields of an index say. Raises StoreError where they don't belong to its fingerprint."""
    fields = {name: index[name] for name in StoreInfo.__dataclass_fields__ if name in index}
    if index["origin"] in tuple(Origin):
        changed = {"origin": Origin(index["origin"]), "known": tuple(index["known"])}
        info = StoreInfo(**fields | changed)  # the first stores have no former_ids
        if info.fingerprint == index["fingerprint"]:
            return info
    raise StoreError(
        f"{folder / INDEX} was altered: what it says of the store (origin {index['origin']}, maker {index['maker']}) "
        f"does not belong to its fingerprint {index['fingerprint']}. Copy the folder again, or remove it and label "
        "again"
    )


@runtime_checkable
class LabelledBatches(Protocol):
    """Batches of scenes whose latent actions lie in the stores `train` and `val`. info: description of the labels."""

    info: StoreInfo
    stores: Mapping[str, LatentStore]

    def require_labelled_data(self) -> None:
        """Raise StoreError where the data are not those that were labelled."""
        ...

    def held_out_rows(self) -> list[int]:
        """Rows of the store `val` that validation looks at."""
        ...
