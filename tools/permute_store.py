"""Write a latent store in which windows have each other's labels: a control that must help nobody.

    python tools/permute_store.py stores/teacher stores/permuted --seed 0

Labels are permuted within each part, and no window gets a label of its own drive, because the
scenes of a drive look alike. A model that learns from such a store, or plans with it, sees the same
distribution of labels, but they say nothing about the scene. The store's settings record the
permutation, and so do the cards of models that learn from it and the results of planners that use
it.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from latentdrive.counting import counted
from latentdrive.data.latent_store import LatentStore, LatentWriter, Windows
from latentdrive.data.store_files import INDEX
from latentdrive.errors import StoreError
from latentdrive.locks import one_writer
from latentdrive.statistics import recordings

ROUNDS = 100  # how often labels that still have their own drive are exchanged


def main() -> None:
    """Permute every part of a store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    parts = sorted(path.parent for path in options.store.glob(f"*/{INDEX}"))
    if not parts:
        raise SystemExit(f"{options.store} holds no stores: name the folder that `latentdrive label` wrote")
    for part in parts:
        store = LatentStore(part)
        permute(store, options.out / part.name, seed=options.seed)
        print(f"{part.name}: {counted(len(store), 'window')} with labels of other drives, in {options.out / part.name}")


def permute(store: LatentStore, out: Path, *, seed: int) -> None:
    """Write `store` with the labels of other drives' windows, unless it exists already."""
    keys = list(dict.fromkeys(store.keys))
    place = {key: number for number, key in enumerate(keys)}
    drive_of = dict(zip(store.keys, store.drives))
    windows = Windows(
        keys=keys,
        drives=[drive_of[key] for key in keys],
        clip=np.array([place[key] for key in store.keys]),
        t0_s=store.t0_s,
        latents=store.batch(derangement(store.drives, seed=seed).tolist()),
        known=store.known,
        contents=store.contents,
    )
    with one_writer(out):
        writer = LatentWriter(out, replace(store.info, settings={**store.info.settings, "permuted": seed}))
        if not writer.complete:
            writer.add(windows, next_clip=len(keys), unreadable=store.unreadable)
            writer.finish()


def derangement(drives: list[str], *, seed: int) -> Int64[np.ndarray, "N"]:
    """A permutation of the windows by which none gets one of its own drive. Raises StoreError where
    one drive has too many.
    """
    generator, (recorded, names) = np.random.default_rng(seed), recordings(drives)
    picked = generator.permutation(len(names))
    for _ in range(ROUNDS):
        own = np.flatnonzero(names[picked] == names)
        if not len(own):
            return picked
        other = generator.integers(0, len(names), len(own))
        for row, partner in zip(own, other):
            picked[row], picked[partner] = picked[partner], picked[row]
    raise StoreError(
        f"the windows of {counted(len(recorded), 'drive')} can't be permuted so that none gets a label of its own "
        "drive: use more drives"
    )


if __name__ == "__main__":
    main()
