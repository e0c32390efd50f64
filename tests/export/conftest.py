"""Bundles of a small planner and of a small planner that refines, made once; tests that change one take a copy."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.export.bundle import fill, planner_card
from latentdrive.export.formats import Format, Precision, write
from latentdrive.export.graphs import planner_graphs
from latentdrive.export.made_scene import made_scene
from latentdrive.export.scene_inputs import cameras_of, scene_inputs
from latentdrive.export.sessions import engine_of
from latentdrive.planners.learned import LearnedPlanner
from tests.support import ipad_made
from tests.support.bundles import LIMITS

SIZE = (54, 96)
SMALL = [
    "model.sensors.cameras.height=32",
    "model.sensors.cameras.width=64",
    "model.backbone.lidar_cells=64",
    "model.backbone.image=test_resnet",
    "model.backbone.image_weights=none",
    "model.backbone.image_frozen=0",
]


@pytest.fixture(scope="session")
def planners() -> dict[str, LearnedPlanner]:
    """Planners with random weights."""
    torch.manual_seed(0)
    made = {
        name: build(compose("train_planner", [f"planner={name}", "data=navsim", *SMALL]).model).eval()
        for name in ("ltf_tiny", "ltf_anytime_tiny")
    }
    return made | {"ipad": ipad_made.small().eval()}


def write_bundle(planner: LearnedPlanner, folder: Path, *, format: Format = Format.ONNX) -> Path:
    """A bundle of a planner, its golden plan made by PyTorch."""
    scene = made_scene(planner.needs, SIZE)
    cameras = cameras_of(scene, planner.needs.cameras)
    graphs = planner_graphs(planner, cameras)
    card = planner_card(planner, cameras, graphs, LIMITS)
    given, eager = scene_inputs(scene, card), engine_of(graphs, card)
    made = eager.plan(given)
    folder.mkdir()
    files = {graph.name: write(graph, folder, format, Precision.FP32, calibration={}) for graph in graphs}
    fill(
        folder,
        card,
        format=format,
        precision=Precision.FP32,
        files=files,
        parents={"planner": "made"},
        golden=(given, {"trajectory": made.poses, "steps": np.int64(made.steps)}),
        tolerance=0.001,
    )
    return folder


@pytest.fixture(scope="session")
def bundles(planners: dict[str, LearnedPlanner], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The ONNX bundle of a planner, by the planner's name."""
    made: dict[str, Path] = {}

    def bundle(name: str) -> Path:
        if name not in made:
            made[name] = write_bundle(planners[name], tmp_path_factory.mktemp("bundle") / name)
        return made[name]

    return bundle
