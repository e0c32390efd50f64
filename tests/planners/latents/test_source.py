"""Embeddings from a store: found by drive and time, never of the future, never of another codebook."""

from pathlib import Path

import pytest

from latentdrive.errors import ConfigError, MixedCodebooks, StoreError, UnreadableScene
from latentdrive.planners.latents.source import StoredLatents, open_latents, require_codebook
from latentdrive.types import Origin, Scene
from tests.support.evaluation import make_scene
from tests.support.planner import write_store

WINDOWS = [("north", 1.5), ("north", 2.0), ("east", 1.5)]


def scene(drive: str, time_s: float | None) -> Scene:
    plain = make_scene(f"{drive}@{time_s}")
    return Scene(token=plain.token, drive=drive, cameras={}, ego=plain.ego, time_s=time_s)


def test_a_scene_gets_the_embeddings_of_its_own_drive_and_time(tmp_path: Path):
    found = StoredLatents(write_store(tmp_path, WINDOWS), oracle_future=False)
    features = found.of([scene("east", 1.5), scene("north", 1.5), scene("north", 2.0)])
    assert features.visual[:, 0, 0].tolist() == [2, 0, 1] and features.action.shape == (3, 12, 96)


def test_parts_of_a_store_are_searched_together(tmp_path: Path):
    write_store(tmp_path / "a", WINDOWS[:2])
    write_store(tmp_path / "b", WINDOWS[2:])
    for name in "ab":
        (tmp_path / name / "all").rename(tmp_path / f"part_{name}")
        (tmp_path / name).rmdir()
    found = StoredLatents(tmp_path, oracle_future=False)
    assert found.of([scene("east", 1.5), scene("north", 2.0)]).visual[:, 0, 0].tolist() == [0, 1]


@pytest.mark.parametrize("missing", [("east", 2.0), ("west", 1.5), ("north", None)])
def test_a_scene_that_nobody_labelled_is_named(tmp_path: Path, missing):
    found = StoredLatents(write_store(tmp_path, WINDOWS), oracle_future=False)
    with pytest.raises(UnreadableScene, match=rf"{missing[0]}@{missing[1]}.*holds nothing for it.*label the split"):
        found.of([scene(*missing)])


def test_codes_of_the_future_are_refused_by_name(tmp_path: Path):
    folder = write_store(tmp_path, WINDOWS, origin=Origin.INVERSE_DYNAMICS)
    with pytest.raises(
        StoreError, match=r"origin inverse_dynamics, read from the frames after now.*oracle_future=true"
    ):
        StoredLatents(folder, oracle_future=False)
    told = StoredLatents(folder, oracle_future=True).of([scene("north", 2.0)])
    assert told.action.shape == (1, 12, 16) and told.action[0, 0].argmax().item() == 1  # the codes, one-hot
    assert not told.visual.any()  # and nothing that the codebook saw


def test_an_oracle_that_is_none_is_refused(tmp_path: Path):
    with pytest.raises(StoreError, match=r"oracle_future=true, but .* is of origin teacher"):
        StoredLatents(write_store(tmp_path, WINDOWS), oracle_future=True)


def test_a_store_without_features_is_refused(tmp_path: Path):
    with pytest.raises(StoreError, match="holds no features to fuse"):
        StoredLatents(write_store(tmp_path, WINDOWS, features=False), oracle_future=False)


def test_another_codebook_is_refused_with_both_ids(tmp_path: Path):
    found = StoredLatents(write_store(tmp_path, WINDOWS, codebook="book-b"), oracle_future=False)
    with pytest.raises(MixedCodebooks, match=r"book-a, these are of codebook book-b \(made by maker-book-b\)"):
        require_codebook(found, "book-a", where="this planner")


def test_parts_of_two_codebooks_are_refused(tmp_path: Path):
    write_store(tmp_path / "a", WINDOWS[:2])
    write_store(tmp_path / "b", WINDOWS[2:], codebook="book-b")
    for name in "ab":
        (tmp_path / name / "all").rename(tmp_path / f"part_{name}")
    with pytest.raises(MixedCodebooks, match=r"book-a.*book-b"):
        StoredLatents(tmp_path, oracle_future=False)


def test_parts_of_two_labellers_are_refused_with_both_named(tmp_path: Path):
    write_store(tmp_path / "a", WINDOWS[:2])
    write_store(tmp_path / "b", WINDOWS[2:], origin=Origin.STUDENT)
    for name in "ab":
        (tmp_path / name / "all").rename(tmp_path / f"part_{name}")
    with pytest.raises(StoreError, match=r"part_a has origin=teacher, .*part_b student"):
        StoredLatents(tmp_path, oracle_future=False)


def test_a_folder_without_stores_says_what_is_there(tmp_path: Path):
    with pytest.raises(StoreError, match="is no latent store"):
        StoredLatents(tmp_path, oracle_future=False)


def test_one_source_at_a_time():
    with pytest.raises(ConfigError, match="leave the other out"):
        open_latents(latents="a", predictor="b", oracle_future=False, device="cpu")
    with pytest.raises(ConfigError, match="name it with latents=FOLDER"):
        open_latents(latents=None, predictor=None, oracle_future=True, device="cpu")
    assert open_latents(latents=None, predictor=None, oracle_future=False, device="cpu") is None
