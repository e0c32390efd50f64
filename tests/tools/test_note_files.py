"""A store of an earlier version is used with data that moved, once its owner has vouched for them."""

import shutil
from pathlib import Path

import pytest
from note_files import note

from latentdrive.data.batches.labelled_clips import require_same_clips
from latentdrive.data.latent_store import LatentStore
from latentdrive.errors import StoreError
from tests.support.labelled_files import Files, label_files


def test_a_copy_of_a_store_notes_the_files_of_its_clips(tmp_path: Path):
    before = Files(tmp_path / "clips", [0, 1, 2])
    store = label_files(tmp_path / "store", before, noting=False)
    shutil.move(before.folder, tmp_path / "elsewhere")
    clips = Files(tmp_path / "elsewhere", [0, 1, 2])
    with pytest.raises(StoreError, match=r"tools/note_files\.py"):
        require_same_clips(store, clips)
    for _ in range(2):  # the second call finds it
        note(store, clips, tmp_path / "noted")
    noted = LatentStore(tmp_path / "noted")
    require_same_clips(noted, clips)
    assert noted.fingerprint == store.fingerprint and (noted.codes() == store.codes()).all()
    clips.files(1)[0].write_bytes(b"other frames")
    with pytest.raises(StoreError, match="1 of 3 clips are not those that were labelled: clip1"):
        require_same_clips(noted, clips)
    with pytest.raises(StoreError, match="labels clip2, which this data does not hold"):
        note(store, Files(tmp_path / "elsewhere", [0, 1]), tmp_path / "other")
