"""What the devkit's environment requires of navsim_devkit.py: Python 3.9, no package of ours, and
agents' YAML that fits."""

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.support.paths import DEVKIT_FILE, ROOT

ALLOWED = {"numpy", "torch", "navsim", "__future__"}
FOLDER = ROOT / "tests" / "support"
AGENTS = ROOT / "docs" / "navsim_agent"

# Run by the other interpreter: an agent for each of these versions of the devkit, whose planner
# answers from this environment.
THERE = """
import json, sys, types
sys.path[:0] = [sys.argv[1]]
try:
    import torch
except ImportError:
    torch = types.ModuleType("torch")
    torch.nn = types.ModuleType("torch.nn")
    torch.nn.Module = object
    sys.modules.update({"torch": torch, "torch.nn": torch.nn})
import navsim_stand_in
answers = []
for version in sys.argv[5:]:
    sys.modules.update(navsim_stand_in.modules(version))
    sys.modules.pop(sys.argv[4], None)
    sys.path[:0] = [sys.argv[2]]
    module = __import__(sys.argv[4], fromlist=["LatentDriveAgent"])
    more = {} if version == "v1" else {"trajectory_sampling": navsim_stand_in.TrajectorySampling()}
    agent = module.LatentDriveAgent(python=sys.argv[3], checkpoint="now", threads=1, **more)
    config = agent.get_sensor_config()
    scene = navsim_stand_in.agent_input(cameras=("cam_f0", "cam_l0"), points=5)
    poses = agent.compute_trajectory(scene).poses
    answers.append([config.cam_f0, config.cam_b0, config.lidar_pc, poses.tolist(), str(poses.dtype)])
print(json.dumps([list(sys.version_info[:2]), "latentdrive.types" in sys.modules, answers]))
"""


def tree() -> ast.Module:
    return ast.parse(DEVKIT_FILE.read_text(), feature_version=(3, 9))


def test_it_is_python_3_9():
    nodes = list(ast.walk(tree()))
    assert not any(isinstance(node, ast.Match) for node in nodes)
    # Under this import `X | None` in annotations is text that is never evaluated.
    first = next(node for node in tree().body if isinstance(node, ast.ImportFrom))
    assert (first.module, first.names[0].name) == ("__future__", "annotations")
    for node in nodes:
        if isinstance(node, ast.Call):
            named = {keyword.arg for keyword in node.keywords}
            assert not named & {"slots", "kw_only"}, (
                f"line {node.lineno}: dataclasses accept this only from Python 3.10"
            )
            assert not (getattr(node.func, "id", "") == "zip" and "strict" in named), (
                f"line {node.lineno}: zip(strict=)"
            )


def test_it_imports_the_standard_library_numpy_torch_and_navsim_alone():
    names = set()
    for node in ast.walk(tree()):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module.split(".")[0])
    assert names - ALLOWED <= set(sys.stdlib_module_names)


@pytest.fixture(scope="module")
def older_python() -> str:
    """An interpreter of Python 3.9 with numpy: LATENTDRIVE_DEVKIT_PYTHON, or python3.9 of the
    path."""
    python = os.environ.get("LATENTDRIVE_DEVKIT_PYTHON") or shutil.which("python3.9")
    ask = "import numpy, sys; assert sys.version_info[:2] == (3, 9)"
    if not python or subprocess.run([python, "-c", ask], capture_output=True).returncode:
        pytest.skip("skipped: no Python 3.9 with numpy here; name one by LATENTDRIVE_DEVKIT_PYTHON")
    return python


def started(python: str, folder: Path, toy_python: str, module: str, *versions: str) -> subprocess.CompletedProcess:
    words = [str(FOLDER), str(folder), toy_python, module, *versions]
    return subprocess.run([python, "-c", THERE, *words], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("alone", [True, False])
def test_python_3_9_plans_with_it_as_a_lone_copy_and_through_the_package(
    older_python, toy_python, tmp_path, alone: bool
):
    if alone:
        shutil.copy(DEVKIT_FILE, tmp_path)
    module = "navsim_devkit" if alone else "latentdrive.integrations.navsim_devkit"
    ran = started(older_python, tmp_path if alone else ROOT, toy_python, module, "v1", "v2")
    assert ran.returncode == 0, ran.stderr
    version, ours_loaded, answers = json.loads(ran.stdout)
    poses = np.zeros(24)
    poses[:5] = [10.0, 10.0, np.arange(20.0).sum(), 5.0, 1.0]
    assert version == [3, 9] and not ours_loaded
    assert answers == [[[3], False, [3], poses.reshape(8, 3).tolist(), "float32"]] * 2


def test_it_leaves_no_process_behind_and_no_noise_on_the_output(toy_python, tmp_path):
    """With this environment's interpreter: standard output holds our line alone, and the planner's
    process ended with the worker."""
    ran = started(sys.executable, DEVKIT_FILE.parent, toy_python, "navsim_devkit", "v2")
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.splitlines()) == 1 and "a library that prints at import" in ran.stderr
    assert "Traceback" not in ran.stderr and "Exception" not in ran.stderr


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_yaml_of_each_version_fits_the_constructor(devkit, version: str):
    module = devkit(version)
    settings = yaml.safe_load((AGENTS / f"latentdrive_agent_{version}.yaml").read_text())
    assert settings.pop("_target_") == "navsim_devkit.LatentDriveAgent" and settings.pop("_convert_") == "all"
    accepted = inspect.signature(module.LatentDriveAgent.__init__).parameters
    assert set(settings) <= set(accepted)
    assert ("trajectory_sampling" in settings) == (version == "v2")
    if version == "v2":
        sampling = settings["trajectory_sampling"]
        assert (
            sampling.pop("_target_") == "nuplan.planning.simulation.trajectory.trajectory_sampling.TrajectorySampling"
        )
        assert sampling == {"_convert_": "all", "time_horizon": 4, "interval_length": 0.5}


def test_every_option_of_the_constructor_is_explained_in_the_documents(devkit):
    text = (AGENTS / "README.md").read_text()
    for name in list(inspect.signature(devkit().LatentDriveAgent.__init__).parameters)[1:]:
        assert f"`{name}`" in text, f"docs/navsim_agent/README.md does not explain {name}"
    assert not re.search(r"pip install [^\n]*\bnavsim(==|\s|$)", text), "the package index's navsim is another project"
