"""Embeddings from a store: found by drive and time, never of the future, never of another codebook."""

from pathlib import Path

import pytest

from latentdrive.errors import MixedCodebooks, StoreError, UnreadableScene
from latentdrive.planners.latents.fusion import require_codebook
from latentdrive.planners.latents.stored import StoredLatents
from latentdrive.types import Origin, Scene
from tests.support.evaluation import make_scene
from tests.support.planner import write_store

WINDOWS = [("north", 1.5), ("north", 2.0), ("east", 1.5)]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredLatents:
    return StoredLatents(write_store(tmp_path_factory.mktemp("store"), WINDOWS), oracle_future=False)


def scene(drive: str, time_s: float | None) -> Scene:
    plain = make_scene(f"{drive}@{time_s}")
    return Scene(token=plain.token, drive=drive, cameras={}, ego=plain.ego, time_s=time_s)


def write_two_parts(folder: Path, **second) -> Path:
    """A folder with the parts part_a and part_b. second: how part_b differs."""
    write_store(folder / "a", WINDOWS[:2])
    write_store(folder / "b", WINDOWS[2:], **second)
    for name in "ab":
        (folder / name / "all").rename(folder / f"part_{name}")
        (folder / name).rmdir()
    return folder


def test_a_scene_gets_the_embeddings_of_its_own_drive_and_time(stored: StoredLatents):
    features = stored.of([scene("east", 1.5), scene("north", 1.5), scene("north", 2.0)])
    assert features.visual[:, 0, 0].tolist() == [2, 0, 1] and features.action.shape == (3, 12, 96)


def test_all_parts_of_a_store_are_searched(tmp_path: Path):
    stored = StoredLatents(write_two_parts(tmp_path), oracle_future=False)
    assert stored.of([scene("east", 1.5), scene("north", 2.0)]).visual[:, 0, 0].tolist() == [0, 1]


@pytest.mark.parametrize("missing", [("east", 2.0), ("west", 1.5), ("north", None)])
def test_a_scene_without_a_window_is_named(stored: StoredLatents, missing):
    with pytest.raises(UnreadableScene, match=rf"{missing[0]}@{missing[1]}.*holds nothing for it.*label the split"):
        stored.of([scene(*missing)])


def test_codes_of_the_future_are_refused_unless_asked_for(tmp_path: Path):
    folder = write_store(tmp_path, WINDOWS, origin=Origin.INVERSE_DYNAMICS)
    with pytest.raises(
        StoreError, match=r"origin inverse_dynamics, read from the frames after now.*oracle_future=true"
    ):
        StoredLatents(folder, oracle_future=False)
    features = StoredLatents(folder, oracle_future=True).of([scene("north", 2.0)])
    assert features.action.shape == (1, 12, 16) and features.action[0, 0].argmax().item() == 1  # one-hot codes
    assert not features.visual.any()  # nothing of what the codebook saw


def test_oracle_future_is_refused_for_a_store_that_knows_no_future(tmp_path: Path):
    with pytest.raises(StoreError, match=r"oracle_future=true, but .* is of origin teacher"):
        StoredLatents(write_store(tmp_path, WINDOWS), oracle_future=True)


def test_a_store_without_features_is_refused(tmp_path: Path):
    with pytest.raises(StoreError, match="holds no features to fuse"):
        StoredLatents(write_store(tmp_path, WINDOWS, features=False), oracle_future=False)


def test_another_codebook_is_refused_with_both_ids(stored: StoredLatents):
    with pytest.raises(MixedCodebooks, match=r"codebook book-b, these are of codebook book-a \(made by maker-book-a\)"):
        require_codebook(stored, "book-b", former_ids={})


def test_a_codebook_is_recognised_by_its_former_id(stored: StoredLatents):
    require_codebook(stored, "book-new", former_ids={"book-new": ["book-a"]})


def test_parts_of_two_codebooks_are_refused_with_both_ids(tmp_path: Path):
    with pytest.raises(MixedCodebooks, match=r"book-a.*book-b|book-b.*book-a"):
        StoredLatents(write_two_parts(tmp_path, codebook="book-b"), oracle_future=False)


def test_parts_of_two_labellers_are_refused_with_both_named(tmp_path: Path):
    with pytest.raises(StoreError, match=r"part_a holds codes of origin teacher .*part_b of origin student"):
        StoredLatents(write_two_parts(tmp_path, origin=Origin.STUDENT), oracle_future=False)


def test_a_folder_without_stores_is_refused(tmp_path: Path):
    with pytest.raises(StoreError, match="is no latent store"):
        StoredLatents(tmp_path, oracle_future=False)
