"""Shapes and types in annotations are checked while tests run; in use they are not (they break torch.compile).

Tests run in as many processes as `pytest -n` says, those of a file in one process and in their order. Each
process has one thread.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import type_checks
from tests.support.paths import ROOT

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; commands that tests start inherit it
type_checks.install()
# A shell that starts the tests in the background lets them ignore Ctrl+C; processes that tests start must not.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("patient", deadline=None)  # a busy machine is no failure
settings.load_profile("patient")


@pytest.fixture
def latentdrive(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Runs the command line as a user would, in a folder of its own: latentdrive("train", "codebook", "seed=1")."""

    def call(*words: str, timeout_s: float = 120) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "latentdrive", *words]
        environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=timeout_s)

    return call


@pytest.fixture
def in_browser(tmp_path: Path) -> Callable[[Path], str]:
    """Opens a page in headless Chromium and returns what stands in it afterwards; skips where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium here: apt-get install chromium to run this test")

    def call(page: Path) -> str:
        command = [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'browser'}",
            "--virtual-time-budget=30000",
            "--dump-dom",
            page.as_uri(),
        ]
        return subprocess.run(command, capture_output=True, text=True, timeout=240).stdout

    return call


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 768 kB, on systems where tests may mount one."""
    where = tmp_path / "disk"
    where.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount")
    if not mounted or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=768k", "tmpfs", where]).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield where
    subprocess.run(["umount", "-l", where], check=True)
