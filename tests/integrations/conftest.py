"""The devkit's side, loaded as a lone file beside a stand-in of the devkit, and a planner process
that serves the tests' planners."""

import functools
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.support import navsim_stand_in
from tests.support.paths import DEVKIT_FILE, ROOT

SUPPORT = ROOT / "tests" / "support"


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
def toy_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An interpreter for `python=` that runs toy_child.py in any case, forked from a process that
    has loaded torch."""
    folder = tmp_path_factory.mktemp("toy")
    with subprocess.Popen(
        [sys.executable, str(SUPPORT / "toy_server.py"), str(folder / "socket")], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout.readline() == "ready\n"
        python, client = folder / "python", f'"{SUPPORT / "toy_client.py"}" "{folder / "socket"}"'
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S {client} "$@"\n')
        python.chmod(0o755)
        yield str(python)
        server.terminate()


@pytest.fixture
def new_agent(devkit, toy_python) -> Callable[..., Any]:
    """new_agent("dies", "v2"): an agent whose planner is that of toy_child.py by this name."""
    return lambda checkpoint, version="v1", **options: make_agent(
        devkit(version), toy_python, version, checkpoint, **options
    )


@pytest.fixture(scope="session")
def shared_agent(toy_python) -> Callable[..., Any]:
    """The same, made once for all tests that leave it as it is."""

    @functools.cache
    def make(checkpoint: str, version: str = "v1") -> Any:
        with pytest.MonkeyPatch.context() as patch:
            return make_agent(load_devkit(patch, version), toy_python, version, checkpoint)

    return make
