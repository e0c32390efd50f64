"""A student in the car gives the embeddings that it wrote into a store, for the same scenes; and the planner drives with either."""

import json
from pathlib import Path

import pytest
import torch

from latentdrive import checkpoint
from latentdrive.build import build
from latentdrive.checkpoint import Card
from latentdrive.commands import evaluate, label
from latentdrive.config import compose
from latentdrive.errors import CheckpointError, ConfigError, MixedCodebooks, UnreadableScene, WrongShape
from latentdrive.planners.latents.source import LivePredictor, StoredLatents
from latentdrive.planners.learned import load_planner
from latentdrive.run_folder import CHECKPOINT
from latentdrive.types import SensorNeeds
from tests.support.planner import train_planner, write_world

SHIPPED = Path(__file__).resolve().parents[3] / "checkpoints/world_codebook"
ABOUT = {"height": 48, "width": 80, "fit": "crop", "commands": True, "transition_s": 0.5}


def write_student(folder: Path, *changes: str, codebook: str = "book-a", about: dict | None = None) -> Path:
    """A tiny student with random weights."""
    torch.manual_seed(0)
    config = compose("distill", ["latents=none", *changes]).model.plain()
    card = Card(kind=config["_target_"], parents={"codebook": codebook}, data=ABOUT if about is None else about)
    checkpoint.save(folder, build(config), config=config, card=card)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("live")


@pytest.fixture(scope="module")
def words(home: Path) -> list[str]:
    return [*write_world(home), "data.height=48", "data.width=80"]


@pytest.fixture(scope="module")
def student(home: Path) -> Path:
    return write_student(home / "student")


@pytest.fixture(scope="module")
def store(home: Path, words: list[str], student: Path) -> Path:
    return label.run(
        compose("label", [*words, f"model={student}", "parts=[train,val,test]", f"store={home / 'expected'}", "device=cpu", f"out={home}/label"])
    )  # fmt: skip


@pytest.fixture(scope="module")
def fused(home: Path, words: list[str], store: Path) -> Path:
    train_planner(words, home / "fused", "planner=ltf_tiny", "fusion=latent_tiny", f"latents={store}")
    return home / "fused" / CHECKPOINT


def test_live_and_stored_embeddings_of_a_scene_are_the_same(words: list[str], student: Path, store: Path):
    data = build(compose("train_planner", words).data)
    source = data.open_scenes(split="test", needs=SensorNeeds(cameras=("cam_f0",), frames="now", lidar=False))
    scenes = [source[token] for token in source.tokens]
    # Clips are decoded at a fraction of their size, scenes whole: pictures differ by a few grey values, embeddings by some thousandths.
    live, stored = LivePredictor(student, device="cpu").of(scenes), StoredLatents(store, oracle_future=False).of(scenes)
    scale = stored.visual.abs().max()
    assert torch.allclose(live.visual, stored.visual, atol=5e-3 * float(scale))
    assert torch.allclose(live.action, stored.action, atol=5e-3 * float(stored.action.abs().max()))
    assert not torch.allclose(live.visual[0], live.visual[-1], atol=5e-3 * float(scale))  # they do depend on the scene


def test_teacher_store_and_student_are_exchanged_by_one_word(
    home: Path, words: list[str], student: Path, store: Path, fused: Path
):
    scores = {}
    for name, source in (("store", f"planner.latents={store}"), ("live", f"planner.predictor={student}")):
        out = evaluate.run(
            compose("evaluate", [*words, "planner=checkpoint", f"planner.folder={fused}", source, "data.split.test=test", "processes=1", "pictures=0", f"out={home / name}"])
        )  # fmt: skip
        summary = json.loads((out / "summary.json").read_text())
        assert summary["failed"] == 0 and summary["latents"]["origin"] == "student"
        scores[name] = summary["score"]["mean"]
    assert scores["live"] == pytest.approx(scores["store"], abs=0.02)


def test_a_planner_with_a_live_predictor_asks_for_its_camera_too(student: Path, fused: Path):
    planner = load_planner(folder=str(fused), latents=None, predictor=str(student), oracle_future=False, device="cpu")
    assert set(planner.needs.cameras) == {"cam_l0", "cam_f0", "cam_r0"} and planner.needs.frames == "now"


def test_a_predictor_of_another_codebook_is_refused_with_both_ids(tmp_path: Path, fused: Path):
    other = write_student(tmp_path / "other", codebook="book-b")
    with pytest.raises(MixedCodebooks, match=r"codebook book-a, these are of codebook book-b"):
        load_planner(folder=str(fused), latents=None, predictor=str(other), oracle_future=False, device="cpu")


def test_a_predictor_of_other_widths_is_refused_before_a_scene_is_planned(tmp_path: Path, fused: Path):
    narrow = write_student(tmp_path / "narrow", "model.action_width=8")
    with pytest.raises(WrongShape, match="action embeddings are 8 wide, this planner's fusion takes 96"):
        load_planner(folder=str(fused), latents=None, predictor=str(narrow), oracle_future=False, device="cpu")


def test_a_fused_planner_without_embeddings_is_refused_before_a_scene_is_opened(fused: Path):
    with pytest.raises(ConfigError, match=r"give planner\.latents=FOLDER .* planner\.predictor=CHECKPOINT"):
        load_planner(folder=str(fused), latents=None, predictor=None, oracle_future=False, device="cpu")


def test_results_name_the_labeller_where_a_planner_learned_with_another(
    home: Path, student: Path, store: Path, fused: Path
):
    other = write_student(home / "stranger", "model.width=48")
    given = {"folder": str(fused), "oracle_future": False, "device": "cpu"}
    own = load_planner(latents=str(store), predictor=None, **given).provenance()["latents"]
    strange = load_planner(latents=None, predictor=str(other), **given).provenance()["latents"]
    assert "learned_with" not in own and strange["learned_with"] == own["maker"] != strange["maker"]


def test_a_predictor_that_predicts_nothing_or_has_no_size_is_refused(tmp_path: Path):
    with pytest.raises(CheckpointError, match="a Codebook, which predicts no latent actions"):
        LivePredictor(SHIPPED, device="cpu")
    with pytest.raises(CheckpointError, match=r"does not say what it was shown \(commands, fit, height, width\)"):
        LivePredictor(write_student(tmp_path / "old", about={"path": "x"}), device="cpu")


def test_a_scene_without_the_front_camera_is_named(words: list[str], student: Path):
    data = build(compose("train_planner", words).data)
    source = data.open_scenes(split="test", needs=SensorNeeds(cameras=("cam_l0",), frames="now", lidar=False))
    with pytest.raises(UnreadableScene, match=rf"{source.tokens[0]}.*1 pictures of cam_f0, the scene has 0"):
        LivePredictor(student, device="cpu").of([source[source.tokens[0]]])
