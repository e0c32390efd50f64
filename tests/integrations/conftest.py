"""The devkit's side, loaded as a lone file beside a stand-in of the devkit, and a planner process
that serves the tests' planners."""

import functools
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.support import navsim_stand_in
from tests.support.paths import DEVKIT_FILE, ROOT


def load_devkit(patch: pytest.MonkeyPatch, version: str) -> ModuleType:
    """navsim_devkit.py as the devkit's interpreter would load it from PYTHONPATH. version: v1 or
    v2."""
    for name, module in navsim_stand_in.modules(version).items():
        patch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("navsim_devkit", DEVKIT_FILE)
    loaded = importlib.util.module_from_spec(spec)
    patch.setitem(sys.modules, "navsim_devkit", loaded)
    spec.loader.exec_module(loaded)
    return loaded


def make_agent(module: ModuleType, python: str, version: str, checkpoint: str, **options: Any) -> Any:
    if version == "v2":
        options.setdefault("trajectory_sampling", navsim_stand_in.TrajectorySampling())
    return module.LatentDriveAgent(
        python=python, checkpoint=f"/checkpoints/{checkpoint}", **{"threads": 1, "timeout_s": 120.0, **options}
    )


@pytest.fixture
def devkit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """devkit("v1"): the module, beside the stand-in of this version."""
    return lambda version="v1": load_devkit(monkeypatch, version)


@pytest.fixture(scope="session")
def toy_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter for `python=` that runs toy_child.py whatever it is asked to run."""
    path = tmp_path_factory.mktemp("toy") / "python"
    child = ROOT / "tests" / "support" / "toy_child.py"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{child}" "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def agent(devkit, toy_python) -> Callable[..., Any]:
    """agent("dies", "v2"): an agent of its own, whose planner is that of toy_child.py by this
    name."""
    return lambda checkpoint, version="v1", **options: make_agent(
        devkit(version), toy_python, version, checkpoint, **options
    )


@pytest.fixture(scope="session")
def shared_agent(toy_python) -> Callable[..., Any]:
    """The same, made once: starting a process takes seconds. For tests that leave it as it is."""

    @functools.cache
    def make(checkpoint: str, version: str = "v1") -> Any:
        with pytest.MonkeyPatch.context() as patch:
            return make_agent(load_devkit(patch, version), toy_python, version, checkpoint)

    return make
