"""A permuted store holds the same labels, none of them with its own drive."""

from pathlib import Path

import numpy as np
import pytest
from permute_store import derangement, permute

from latentdrive.data.latent_store import LatentStore
from latentdrive.errors import StoreError
from tests.support.planner import write_store


def test_no_window_keeps_a_label_of_its_own_drive_and_none_is_lost(tmp_path: Path):
    windows = [(f"drive{number % 4}", float(number)) for number in range(40)]
    store = LatentStore(write_store(tmp_path / "store", windows) / "all")
    permute(store, tmp_path / "out", seed=3)
    permute(store, tmp_path / "out", seed=3)  # a second call finds it
    permuted_store = LatentStore(tmp_path / "out")
    assert (permuted_store.keys, permuted_store.t0_s.tolist()) == (store.keys, store.t0_s.tolist())
    came_from = permuted_store.batch(range(40)).features.visual[:, 0, 0].int().numpy()
    assert sorted(came_from.tolist()) == list(range(40))
    assert (np.array(store.drives)[came_from] != np.array(store.drives)).all()
    assert permuted_store.info.settings["permuted"] == 3 and permuted_store.fingerprint != store.fingerprint


def test_the_seed_decides():
    drives = [str(number % 5) for number in range(50)]
    first, again, other = (derangement(drives, seed=seed).tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_one_drive_alone_cannot_be_permuted():
    with pytest.raises(StoreError, match="use more drives"):
        derangement(["a"] * 5, seed=0)
