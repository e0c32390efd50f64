"""Write a copy of a latent store that notes the files of its clips, for a store that an earlier version made.

    python tools/note_files.py stores/teacher stores/teacher_noted --data data=video data.path=clips/

Such a store can only tell whether the data lie where they lay, untouched. You vouch that the data are those
that were labelled; from then on every reader compares each clip, wherever the data lie. The copy has the
fingerprint of the store, so what names the store accepts the copy.
"""

import argparse
from pathlib import Path

import numpy as np

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.data.clips.clip_source import ReadableSource
from latentdrive.data.file_contents import contents_of
from latentdrive.data.latent_store import LatentStore, LatentWriter, Windows
from latentdrive.data.store_files import INDEX
from latentdrive.errors import StoreError
from latentdrive.locks import one_writer


def main() -> None:
    """Note the files of every part of a store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", nargs="+", required=True, help="overrides that choose the data")
    options = parser.parse_args()
    parts = sorted(path.parent for path in options.store.glob(f"*/{INDEX}"))
    if not parts:
        raise SystemExit(f"{options.store} holds no stores: name the folder that `latentdrive label` wrote")
    data = build(compose("label", [*options.data, "model=none"]).data)
    for part in parts:
        store = LatentStore(part)
        note(store, data.open(part.name), options.out / part.name)
        print(f"{part.name}: {len(set(store.keys)):,} clips are noted in {options.out / part.name}")


def note(store: LatentStore, clips: ReadableSource, out: Path) -> None:
    """Write `store` with what is in the files of its clips, unless it exists already. Raises StoreError where
    the data lack a clip.
    """
    keys = list(dict.fromkeys(store.keys))
    place = {clips.key(i): i for i in range(len(clips))}
    if missing := [key for key in keys if key not in place]:
        raise StoreError(
            f"{store.folder} labels {missing[0]}, which this data does not hold: name the data with --data"
        )
    number, drive_of = {key: row for row, key in enumerate(keys)}, dict(zip(store.keys, store.drives))
    with one_writer(out):
        writer = LatentWriter(out, store.info)
        if writer.complete:
            return
        windows = Windows(
            keys=keys,
            drives=[drive_of[key] for key in keys],
            clip=np.array([number[key] for key in store.keys]),
            t0_s=store.t0_s,
            latents=store.batch(range(len(store))),
            known=store.known,
            contents={key: contents_of(clips.files(place[key])) for key in keys},
        )
        writer.add(windows, next_clip=len(clips), unreadable=store.unreadable)
        writer.finish()


if __name__ == "__main__":
    main()
