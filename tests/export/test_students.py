"""A student inside a planner's graph, and alone: it says there what it says in PyTorch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.errors import ConfigError
from latentdrive.export.bundle import planner_card
from latentdrive.export.gate import ColdPlanner
from latentdrive.export.graphs import planner_graphs
from latentdrive.export.made_scene import made_scene
from latentdrive.export.networks import student_graph
from latentdrive.export.scene_inputs import cameras_of, scene_inputs
from latentdrive.export.sessions import engine_of
from latentdrive.planners.latents.live import LivePredictor
from latentdrive.planners.learned import LearnedPlanner
from latentdrive.types import FRONT_CAMERA
from tests.support.bundles import LIMITS
from tests.support.student import write_student

SIZE = (90, 160)
PLANNERS = {
    "fused": ["planner=ltf_tiny", "fusion=latent_tiny"],
    "over its features": ["planner=latent_anytime_tiny", "model.anytime.most_steps=3"],
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> LivePredictor:
    folder = tmp_path_factory.mktemp("student") / "checkpoint"
    return LivePredictor(write_student(folder, "model.middle_depth=0.5"), device="cpu")


def planner_with(live: LivePredictor, words: list[str]) -> LearnedPlanner:
    torch.manual_seed(1)
    planner = build(compose("train_planner", words).model).eval()
    planner.codebook_id = live.codebook_id
    planner.attach(live)
    return planner


@pytest.mark.parametrize("words", PLANNERS.values(), ids=PLANNERS)
def test_a_planner_plans_in_its_graphs_what_it_plans_beside_its_student(live: LivePredictor, words: list[str]) -> None:
    planner = planner_with(live, words)
    scene = made_scene(planner.needs, SIZE)
    cameras = cameras_of(scene, planner.needs.cameras)
    graphs = planner_graphs(planner, cameras)
    card = planner_card(planner, cameras, graphs, LIMITS)
    engine = engine_of(graphs, card)
    made = engine.plan(scene_inputs(scene, card)).poses
    own = ColdPlanner(planner, engine.cold).plan([scene]).poses[0]
    np.testing.assert_allclose(made, own, atol=1e-3)
    with torch.no_grad():
        torch.export.export(graphs[0].module, tuple(graphs[0].inputs.values()))


def test_a_planner_that_reads_embeddings_needs_a_student(live: LivePredictor) -> None:
    for words in PLANNERS.values():
        planner = build(compose("train_planner", words).model).eval()
        scene = made_scene(planner.needs, SIZE)
        with pytest.raises(ConfigError, match="reads a predictor's embeddings, and a car has no store"):
            planner_graphs(planner, cameras_of(scene, planner.needs.cameras))


def test_a_student_alone_gives_the_codes_that_it_predicts(live: LivePredictor) -> None:
    scene = made_scene(live.needs, SIZE)
    graph = student_graph(live, SIZE)
    given = scene_inputs(scene, {"cameras": {FRONT_CAMERA: dict(zip(("height", "width"), SIZE))}} | NO_SENSORS)
    made = engine_of([graph], {"graphs": {graph.name: {"inputs": list(graph.inputs)}}}).sessions[graph.name](given)
    expected = live.model.predict(live.batch([scene]))
    assert made["codes"].tolist() == expected.codes[0].tolist()
    np.testing.assert_allclose(made["logits"], expected.logits[0].numpy(), atol=1e-3)  # a grey level is 2e-4
    np.testing.assert_allclose(made["visual"], expected.features.visual[0].numpy(), atol=1e-3)


NO_SENSORS = {"calibrated": [], "lidar": None, "anytime": None}


def test_a_student_that_looks_back_is_refused(tmp_path: Path) -> None:
    folder = write_student(tmp_path / "back", "model.scene.history_frames=1")
    with pytest.raises(ConfigError, match="looks at 1 earlier pictures"):
        student_graph(LivePredictor(folder, device="cpu"), SIZE)
