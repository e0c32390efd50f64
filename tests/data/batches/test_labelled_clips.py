"""Labels are used with the clips that they were made from: moved data is known again, changed clips are named."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from latentdrive.data.batches import labelled_clips
from latentdrive.data.batches.labelled_clips import require_same_clips
from latentdrive.data.file_contents import contents_of
from latentdrive.data.latent_store import LatentStore, LatentWriter
from latentdrive.errors import StoreError
from tests.support.labelled_files import Files, label_files
from tests.support.latent import make_info, make_windows


@pytest.fixture
def clips(tmp_path: Path) -> Files:
    return Files(tmp_path / "clips", [0, 1, 2, 3])


def exchange(clips: Files, first: int, second: int) -> None:
    """Give two files each other's names."""
    a, b = clips.files(first)[0], clips.files(second)[0]
    a.rename(aside := a.with_suffix(".aside"))
    b.rename(a)
    aside.rename(b)


@pytest.mark.parametrize("noting", [True, False])
def test_the_clips_that_were_labelled_are_accepted(tmp_path: Path, clips: Files, noting: bool):
    require_same_clips(label_files(tmp_path / "store", clips, noting=noting), clips)


def test_data_that_moved_were_touched_and_have_grown_are_the_same(tmp_path: Path, clips: Files):
    store = label_files(tmp_path / "store", clips)
    shutil.copytree(clips.folder, tmp_path / "elsewhere")
    require_same_clips(store, Files(tmp_path / "elsewhere", [5, 3, 2, 1, 0]))
    shutil.rmtree(clips.folder)
    require_same_clips(store, Files(tmp_path / "elsewhere", [0, 1, 2, 3]))


def test_exactly_the_clips_that_changed_are_counted_and_named(tmp_path: Path, clips: Files):
    store = label_files(tmp_path / "store", clips)
    exchange(clips, 1, 3)
    with pytest.raises(
        StoreError, match=r"store: 2 of 4 clips are not those that were labelled: clip1 \(clip1.mp4\), clip3"
    ):
        require_same_clips(store, clips)
    exchange(clips, 1, 3)
    require_same_clips(store, clips)
    clips.files(2)[0].write_bytes(b"frames of clip X")
    with pytest.raises(StoreError, match=r"1 of 4 clips are not those that were labelled: clip2 \(clip2.mp4\)\. Bring"):
        require_same_clips(store, clips)


def test_many_changed_clips_are_counted_and_the_first_ones_named(tmp_path: Path):
    clips = Files(tmp_path / "clips", list(range(9)))
    store = label_files(tmp_path / "store", clips)
    for index in range(9):
        clips.files(index)[0].write_bytes(b"other frames")
    with pytest.raises(StoreError, match=r"9 of 9 clips .*clip4 \(clip4.mp4\), \.\.\.\. Bring"):
        require_same_clips(store, clips)


def test_a_changed_clip_that_no_window_lies_in_does_not_matter(tmp_path: Path, clips: Files):
    store = label_files(tmp_path / "store", Files(clips.folder, [0, 1]))
    clips.files(3)[0].write_bytes(b"other frames")
    require_same_clips(store, clips)


def test_the_first_stores_are_accepted_where_the_data_lie_as_they_lay(tmp_path: Path, clips: Files, monkeypatch):
    store = label_files(tmp_path / "store", clips, noting=False)
    monkeypatch.setattr(labelled_clips, "READING_VERSION", Files.version + 3)
    clips.version = Files.version + 3  # a later version of the reader, which would give other frames
    require_same_clips(store, clips)
    exchange(clips, 0, 1)
    with pytest.raises(
        StoreError, match=rf"fingerprint {store.info.data}, this data has .*earlier version.*tools/note_files.py"
    ):
        require_same_clips(store, clips)


def test_a_store_of_other_clips_is_refused_by_name(tmp_path: Path, clips: Files):
    store = label_files(tmp_path / "store", clips)
    with pytest.raises(StoreError, match=r"labels clip1 \(2 clips in all\), which this data does not hold"):
        require_same_clips(store, Files(clips.folder, [0, 2]))


def test_a_store_keeps_what_was_in_the_files_of_each_shard(tmp_path: Path, clips: Files):
    writer = LatentWriter(tmp_path / "store", make_info())
    for number in (0, 1):
        contents = {f"clip{number}": contents_of(clips.files(number))}
        writer.add(replace(make_windows([number]), contents=contents), next_clip=number + 1, unreadable=[])
    writer.finish()
    store = LatentStore(tmp_path / "store")
    assert store.contents == {f"clip{number}": contents_of(clips.files(number)) for number in (0, 1)}
    assert np.array_equal(store.t0_s, [0, 0.5, 1, 0, 0.5, 1])
