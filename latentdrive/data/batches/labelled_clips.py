"""Whether clips are those that a latent store labels: every reader that joins stores with clips or scenes asks here.

A store notes what was in the files of each clip (data/file_contents.py). So data that were moved, copied
or extended are recognised, and exactly the clips that changed are refused. The first stores note one
fingerprint of the whole part, which covers paths and times of change: it recognises only data that stayed
where they were labelled.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from latentdrive.counting import counted
from latentdrive.data.clips.clip_source import ReadableSource
from latentdrive.data.clips.file_clips import READER, READING_VERSION
from latentdrive.data.file_contents import changed_files
from latentdrive.data.latent_store import LatentStore
from latentdrive.errors import StoreError, UnreadableClip, raise_if_out_of_files
from latentdrive.progress import Progress, unwatched

NAMED = 5  # changed clips that a message names


def fingerprint_clips(clips: ReadableSource) -> str:
    """16 hexadecimal digits over the identity of every clip and the part of it that is used. Opens no clip."""
    return _fingerprint(clips, _identities(clips))


def require_same_clips(store: LatentStore, clips: ReadableSource, *, watch: Progress = unwatched) -> None:
    """Raise StoreError, with their number and names, where clips of a store are missing or changed.

    watch: shows the progress. Clips whose files lie elsewhere, or were touched, are read once.
    """
    place = {clips.key(i): i for i in range(len(clips))}
    labelled = list(dict.fromkeys(store.keys))
    if missing := [key for key in labelled if key not in place]:
        raise StoreError(
            f"{store.folder} labels {missing[0]} ({counted(len(missing), 'clip')} in all), which this data does not "
            "hold: train on the data that was labelled, or label this data"
        )
    require_same_files(store, labelled, lambda key: clips.files(place[key]), watch=watch)
    if not store.contents.keys() >= set(labelled) and not _has_fingerprint(clips, store.info.data):
        raise StoreError(
            f"{store.folder} was labelled from data with the fingerprint {store.info.data}, this data has "
            f"{fingerprint_clips(clips)}: a file was changed, touched or moved. The store is of an earlier version, so "
            "it can't be told which. Label again; or, if you know that it is the same data, note its files in a copy "
            "of the store: python tools/note_files.py"
        )


def require_same_files(
    store: LatentStore, keys: Sequence[str], files: Callable[[str], Sequence[Path]], *, watch: Progress = unwatched
) -> None:
    """Raise StoreError, with number and names, where files of these clips are not those that were labelled.

    files: those of a clip, by its key. Clips of the first stores, which note no files, are not compared.
    """
    noted = [key for key in keys if key in store.contents]
    changed = {}
    for key in watch(noted, what="compare labels with data"):
        try:
            names = changed_files(store.contents[key], files(key))
        except UnreadableClip as error:
            names = [error.reason]
        except OSError as error:
            raise_if_out_of_files(error)
            names = [f"{error.filename}: {error.strerror}"]
        if names:
            changed[key] = names
    if changed:
        named = ", ".join(f"{key} ({', '.join(names)})" for key, names in list(changed.items())[:NAMED])
        raise StoreError(
            f"{store.folder}: {len(changed)} of {len(keys)} clips are not those that were labelled: {named}"
            f"{', ...' if len(changed) > NAMED else ''}. Bring back their files, or label this data again"
        )


def _has_fingerprint(clips: ReadableSource, fingerprint: str) -> bool:
    """Whether the clips have this fingerprint, or had it as earlier versions of the reader wrote it."""
    identities = _identities(clips)
    versions = range(READING_VERSION, 0, -1)
    return any(_fingerprint(clips, map(_read_by(version), identities)) == fingerprint for version in versions)


def _identities(clips: ReadableSource) -> list[dict[str, Any] | str]:
    """The identity of every clip; of an unreadable one the reason."""
    identities = []
    for index in range(len(clips)):
        try:
            identities.append(clips.identity(index))
        except UnreadableClip as error:
            identities.append(str(error))
    return identities


def _read_by(version: int) -> Callable[[dict[str, Any] | str], dict[str, Any] | str]:
    """Changes an identity to what this version of the reader wrote."""

    def changed(identity: dict[str, Any] | str) -> dict[str, Any] | str:
        if not isinstance(identity, dict) or READER not in identity:
            return identity
        return identity | {READER: f"{identity[READER].split()[0]} {version}"}

    return changed


def _fingerprint(clips: ReadableSource, identities: Iterable[dict[str, Any] | str]) -> str:
    whole = hashlib.sha256(clips.part.identity.encode())
    for index, identity in enumerate(identities):
        if clips.part.times == "test" and clips.is_piece(index):
            whole.update(b"piece")  # of its end, a gap is left out
        text = identity if isinstance(identity, str) else json.dumps(identity, sort_keys=True)
        whole.update(text.encode())
    return whole.hexdigest()[:16]
