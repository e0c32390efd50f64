"""`latentdrive train planner` with fusion: stores of embeddings are used, checked, and named in every result."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from latentdrive import checkpoint
from latentdrive.build import build
from latentdrive.commands import evaluate
from latentdrive.config import compose
from latentdrive.data.file_contents import contents_of
from latentdrive.errors import CheckpointError, ConfigError, MixedCodebooks, StoreError, TooManyUnreadable, WrongShape
from latentdrive.planners.latents.stored import StoredLatents
from latentdrive.planners.loading import load_planner
from latentdrive.planners.sampling import NO_SENSORS
from latentdrive.run_folder import CHECKPOINT
from latentdrive.types import Origin
from tests.support.planner import killed_in_batch, train_planner, write_store

torch.set_num_threads(1)
FUSED = ("planner=ltf_tiny", "fusion=latent_tiny")
ORACLE = (*FUSED, "model.fusion.visual_width=16", "model.fusion.action_width=16", "oracle_future=true")  # 16 codes
Trained = Callable[..., Path]


@pytest.fixture(scope="module")
def codes(home: Path, windows) -> Path:
    """A store of codes that depend on the future."""
    return write_store(home / "codes", windows, origin=Origin.INVERSE_DYNAMICS)


@pytest.fixture(scope="module")
def fused(trained: Trained, store: Path) -> Path:
    """The checkpoint of a planner that learned with `store`."""
    return trained(*FUSED, f"latents={store}") / CHECKPOINT


@pytest.fixture(scope="module")
def oracle(trained: Trained, codes: Path) -> Path:
    """The checkpoint of a planner that learned with `codes`."""
    return trained(*ORACLE, f"latents={codes}") / CHECKPOINT


def evaluated(words: list[str], planner: Path, latents: Path, out: Path, *more: str) -> dict:
    """The summary of the planner's evaluation on the test split with these embeddings."""
    own = ["planner=checkpoint", f"planner.folder={planner}", f"planner.latents={latents}", "data.split.test=test"]
    folder = evaluate.run(compose("evaluate", [*words, *own, "processes=1", "pictures=0", f"out={out}", *more]))
    return json.loads((folder / "summary.json").read_text())


def test_a_fused_planner_is_trained_from_a_store_and_evaluated_with_it(words, store: Path, fused: Path, tmp_path: Path):
    card = checkpoint.read_card(fused)
    assert card.parents["codebook"] == "book-a" and card.parents["labeller"] == "maker-book-a"
    planner = load_planner(folder=str(fused), latents=str(store), predictor=None, oracle_future=False, device="cpu")
    assert planner.codebook_id == "book-a"
    summary = evaluated(words, fused, store, tmp_path)
    assert summary["failed"] == 0 and summary["latents"]["origin"] == "teacher" and "oracle_future" not in summary


def test_a_planner_over_features_alone_is_trained_from_a_store_and_evaluated_with_it(
    words, windows, store: Path, trained: Trained, home: Path, tmp_path: Path
):
    deep, option = write_store(home / "deep", windows, middle=True), "planner=latent_anytime_tiny"
    with pytest.raises(WrongShape, match="no states of a middle layer"):
        train_planner(words, tmp_path / "run", option, f"latents={store}")
    with pytest.raises(ConfigError, match="this planner reads embeddings alone: add latents=FOLDER"):
        train_planner(words, tmp_path / "run", option)
    summary = evaluated(words, trained(option, f"latents={deep}") / CHECKPOINT, deep, tmp_path / "out")
    assert summary["failed"] == 0 and summary["latents"]["origin"] == "teacher"


def test_a_store_of_another_split_is_refused_before_anything_is_scored(words, fused: Path, windows, tmp_path: Path):
    few = write_store(tmp_path / "few", windows[:3])
    with pytest.raises(StoreError, match=r"holds none of the 4 scenes \(its parts: all\): label their split"):
        evaluated(words, fused, few, tmp_path / "out")


def test_a_store_of_other_logs_is_refused_where_a_planner_reads_it(
    words, home: Path, fused: Path, windows, tmp_path: Path
):
    source = build(compose("train_planner", words).data).open_scenes(split="test", needs=NO_SENSORS)
    log, *folders = source.clip_files(source.tokens[0])
    front = next(folder for folder in folders if folder.name == "CAM_F0")
    drive, noted = source.drive(source.tokens[0]), contents_of([log, front])
    same = write_store(tmp_path / "same", windows, contents={drive: noted})
    StoredLatents(same, oracle_future=False).require_scenes(source, source.tokens)
    source.blobs = tmp_path / "no pictures here"  # they were labelled elsewhere
    StoredLatents(same, oracle_future=False).require_scenes(source, source.tokens)
    for place, name in enumerate((log.name, "CAM_F0")):
        changed = [
            replace(content, stamp="other", digest="other") if content.name == name else content for content in noted
        ]
        store = write_store(tmp_path / name, windows, contents={drive: changed})
        said = rf"1 of 1 clips are not those that were labelled: {drive} \({name}\)"
        with pytest.raises(StoreError, match=said):
            evaluated(words, fused, store, tmp_path / f"evaluated{place}")
        with pytest.raises(StoreError, match=said):
            part = ["data.split.train=test", f"data.cache_folder={tmp_path}/cache"]
            train_planner(words, tmp_path / f"trained{place}", *FUSED, f"latents={store}", *part)
    assert not list((tmp_path / "cache").rglob("cameras.npy"))


def test_an_oracle_of_the_future_is_marked_everywhere(words, oracle: Path, codes: Path, tmp_path: Path):
    assert checkpoint.read_card(oracle).data["oracle_future"] is True
    with pytest.raises(ConfigError, match="trained on codes of the future"):
        evaluated(words, oracle, codes, tmp_path / "a")
    summary = evaluated(words, oracle, codes, tmp_path / "b", "planner.oracle_future=true")
    assert summary["oracle_future"] is True


def test_no_training_starts_from_a_planner_that_knew_the_future(words, oracle: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match="trained on codes of the future"):
        train_planner(words, tmp_path, "planner=ltf_tiny", f"init.checkpoint={oracle}")


def test_a_planner_and_embeddings_of_two_codebooks_are_refused_with_both_ids(fused: Path, windows, tmp_path: Path):
    other = str(write_store(tmp_path, windows, codebook="book-b"))
    with pytest.raises(MixedCodebooks, match=r"book-a, these are of codebook book-b"):
        load_planner(folder=str(fused), latents=other, predictor=None, oracle_future=False, device="cpu")


def test_a_store_that_lacks_scenes_is_refused_before_the_first_step(words, windows, tmp_path: Path):
    with pytest.raises(TooManyUnreadable, match="holds nothing for it"):
        train_planner(words, tmp_path / "run", *FUSED, f"latents={write_store(tmp_path / 'few', windows[:3])}")
    assert "holds nothing for it" in (tmp_path / "run/unreadable_train.csv").read_text()


def test_a_store_of_other_widths_is_refused_before_a_scene_is_opened(words, windows, tmp_path: Path):
    narrow = write_store(tmp_path / "narrow", windows, width=8)
    with pytest.raises(WrongShape, match="visual embeddings are 8 wide, this planner's fusion takes 96"):
        train_planner(words, tmp_path / "run", *FUSED, f"latents={narrow}", f"data.cache_folder={tmp_path}/cache")
    assert not list((tmp_path / "cache").rglob("cameras.npy"))


def test_a_fused_planner_may_start_from_one_without_fusion(words, store: Path, trained: Trained, tmp_path: Path):
    plain = trained("planner=ltf_tiny") / CHECKPOINT
    still = ("training.optimizer.lr=0.0", "training.schedule.steps=2", "training.optimizer.weight_decay=0.0")
    train_planner(words, tmp_path, *FUSED, f"latents={store}", f"init.checkpoint={plain}", *still)
    (before, _), (after, _) = (checkpoint.load(folder) for folder in (plain, tmp_path / CHECKPOINT))
    fused_weights = dict(after.named_parameters())
    assert all(torch.equal(weight, fused_weights[name]) for name, weight in before.named_parameters())


def test_a_run_is_not_resumed_with_a_store_that_was_labelled_anew(words, windows, tmp_path: Path):
    place = write_store(tmp_path / "store", windows)
    with pytest.raises(ZeroDivisionError), killed_in_batch(4):
        train_planner(words, tmp_path / "run", *FUSED, f"latents={place}")
    shutil.rmtree(place)
    write_store(place, windows, codebook="book-b")
    with pytest.raises(ConfigError, match=r"parents\.codebook"):
        train_planner(words, tmp_path / "run", *FUSED, f"latents={place}")


def test_fusion_without_embeddings_and_embeddings_without_fusion_are_refused(words, store: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="fusion=latent needs embeddings"):
        train_planner(words, tmp_path / "a", *FUSED)
    with pytest.raises(ConfigError, match="this planner fuses nothing"):
        train_planner(words, tmp_path / "b", "planner=ego_mlp", f"latents={store}")
    with pytest.raises(ConfigError, match="blind baseline"):
        train_planner(words, tmp_path / "c", "planner=ego_mlp", "fusion=latent_tiny", f"latents={store}")
