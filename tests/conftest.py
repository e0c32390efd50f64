"""Shapes and types in annotations are checked while tests run; in use they are not (they break torch.compile)."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook("latentdrive", "beartype.beartype")
settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def latentdrive(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Runs the command line as a user would, in a folder of its own: latentdrive("train", "codebook", "seed=1")."""

    def call(*words: str, timeout_s: float = 120) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "latentdrive", *words]
        environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=timeout_s)

    return call


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium browser; tests that need one are skipped where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no chromium here: apt-get install chromium to run this test")
    return found
