"""A live student gives the embeddings that it wrote into a store, and a planner plans with either source."""

import json
from pathlib import Path

import pytest
import torch

from latentdrive.build import build
from latentdrive.commands import evaluate, label
from latentdrive.config import compose
from latentdrive.errors import CheckpointError, ConfigError, MixedCodebooks, UnreadableScene, WrongShape
from latentdrive.planners.latents.live import LivePredictor
from latentdrive.planners.latents.stored import StoredLatents
from latentdrive.planners.learned import LearnedPlanner
from latentdrive.planners.loading import load_planner
from latentdrive.run_folder import CHECKPOINT
from latentdrive.types import LatentFeatures, SceneSource, SensorNeeds
from tests.support.paths import CHECKPOINTS
from tests.support.planner import train_planner
from tests.support.student import SHOWN, write_student

SIZE = ("data.height=48", "data.width=80")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("live")


@pytest.fixture(scope="module")
def student(folder: Path) -> Path:
    return write_student(folder / "student")


@pytest.fixture(scope="module")
def own_store(folder: Path, words: list[str], student: Path) -> Path:
    """The store that the student wrote."""
    own = [f"model={student}", "parts=[train,val,test]", f"store={folder / 'store'}", "device=cpu"]
    return label.run(compose("label", [*words, *SIZE, *own, f"out={folder / 'label'}"]))


@pytest.fixture(scope="module")
def fused(folder: Path, words: list[str], own_store: Path) -> Path:
    """The checkpoint of a planner that learned with that store."""
    train_planner([*words, *SIZE], folder / "fused", "planner=ltf_tiny", "fusion=latent_tiny", f"latents={own_store}")
    return folder / "fused" / CHECKPOINT


def loaded(fused: Path, *, latents: Path | None = None, predictor: Path | None = None) -> LearnedPlanner:
    """The planner with a source of embeddings."""
    sources = {"latents": latents and str(latents), "predictor": predictor and str(predictor)}
    return load_planner(folder=str(fused), **sources, oracle_future=False, device="cpu")


def scenes_of_test(words: list[str], camera: str) -> SceneSource:
    data = build(compose("train_planner", [*words, *SIZE]).data)
    return data.open_scenes(split="test", needs=SensorNeeds(cameras=(camera,), frames="now", lidar=False))


def require_same(live: LatentFeatures, stored: LatentFeatures) -> None:
    """Up to a few thousandths, because clips are decoded at a fraction of their size and scenes whole."""
    visual, action = (5e-3 * float(features.abs().max()) for features in (stored.visual, stored.action))
    assert torch.allclose(live.visual, stored.visual, atol=visual)
    assert torch.allclose(live.action, stored.action, atol=action)
    assert not torch.allclose(live.visual[0], live.visual[-1], atol=visual)  # they do depend on the scene


def test_live_and_stored_embeddings_of_a_scene_are_the_same(words: list[str], student: Path, own_store: Path):
    source = scenes_of_test(words, "cam_f0")
    scenes = [source[token] for token in source.tokens]
    live = LivePredictor(student, device="cpu").of(scenes)
    require_same(live, StoredLatents(own_store, oracle_future=False).of(scenes))


def test_a_student_that_knew_no_commands_gives_the_same_embeddings_live_and_stored(
    words: list[str], student: Path, tmp_path: Path
):
    """It was trained on video, and the logs have commands."""
    untold = write_student(tmp_path / "untold", shown=SHOWN | {"commands": False})
    own = [f"model={untold}", "parts=[test]", f"store={tmp_path / 'store'}", "device=cpu"]
    label.run(compose("label", [*words, *SIZE, *own, f"out={tmp_path / 'label'}"]))
    source = scenes_of_test(words, "cam_f0")
    scenes = [source[token] for token in source.tokens]
    live = LivePredictor(untold, device="cpu").of(scenes)
    require_same(live, StoredLatents(tmp_path / "store", oracle_future=False).of(scenes))
    told = LivePredictor(student, device="cpu").of(scenes)  # of the same weights
    assert not torch.allclose(live.action, told.action, atol=5e-3 * float(told.action.abs().max()))


def test_a_store_and_a_live_student_give_the_same_score(
    folder: Path, words: list[str], student: Path, own_store: Path, fused: Path
):
    scores = {}
    for name, source in (("store", f"planner.latents={own_store}"), ("live", f"planner.predictor={student}")):
        own = ["planner=checkpoint", f"planner.folder={fused}", source, "data.split.test=test"]
        out = evaluate.run(
            compose("evaluate", [*words, *SIZE, *own, "processes=1", "pictures=0", f"out={folder / name}"])
        )
        summary = json.loads((out / "summary.json").read_text())
        assert summary["failed"] == 0 and summary["latents"]["origin"] == "student"
        scores[name] = summary["score"]["mean"]
    assert scores["live"] == pytest.approx(scores["store"], abs=0.02)


def test_a_planner_with_a_live_predictor_needs_its_camera_too(student: Path, fused: Path):
    needs = loaded(fused, predictor=student).needs
    assert set(needs.cameras) == {"cam_l0", "cam_f0", "cam_r0"} and needs.frames == "now"


def test_a_predictor_of_another_codebook_is_refused_with_both_ids(tmp_path: Path, fused: Path):
    other = write_student(tmp_path / "other", codebook="book-b")
    with pytest.raises(MixedCodebooks, match=r"codebook book-a, these are of codebook book-b"):
        loaded(fused, predictor=other)


def test_a_predictor_of_other_widths_is_refused_before_a_scene_is_planned(tmp_path: Path, fused: Path):
    narrow = write_student(tmp_path / "narrow", "model.action_width=8")
    with pytest.raises(WrongShape, match="action embeddings are 8 wide, this planner's fusion takes 96"):
        loaded(fused, predictor=narrow)


def test_a_fused_planner_without_embeddings_is_refused_before_a_scene_is_opened(fused: Path):
    with pytest.raises(ConfigError, match=r"give planner\.latents=FOLDER .* planner\.predictor=CHECKPOINT"):
        loaded(fused)


def test_results_name_the_labeller_where_a_planner_learned_with_another(folder: Path, own_store: Path, fused: Path):
    other = write_student(folder / "other", "model.width=48")
    own = loaded(fused, latents=own_store).provenance()["latents"]
    foreign = loaded(fused, predictor=other).provenance()["latents"]
    assert "learned_with" not in own and foreign["learned_with"] == own["maker"] != foreign["maker"]


def test_a_checkpoint_that_predicts_nothing_is_refused():
    with pytest.raises(CheckpointError, match="a Codebook, which predicts no latent actions"):
        LivePredictor(CHECKPOINTS / "world_codebook", device="cpu")


def test_a_predictor_without_a_picture_size_is_refused(tmp_path: Path):
    with pytest.raises(
        CheckpointError, match=r"does not say what it was shown: its card lacks commands, fit, height, width"
    ):
        LivePredictor(write_student(tmp_path / "old", shown={"path": "x"}), device="cpu")


def test_a_scene_without_the_front_camera_is_named(words: list[str], student: Path):
    source = scenes_of_test(words, "cam_l0")
    with pytest.raises(UnreadableScene, match=rf"{source.tokens[0]}.*1 picture of cam_f0, the scene has 0"):
        LivePredictor(student, device="cpu").of([source[source.tokens[0]]])
