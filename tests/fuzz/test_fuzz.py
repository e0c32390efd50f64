"""Every reader is given changed files: it reads them, or refuses them by name, within seconds and some hundred MB.

The readers run in a process of their own, so that a crash in a library is one input with a name.
`make fuzz` gives each of them ten times as many inputs.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

COUNT, MANY = 500, 5000


def fuzz(count: int, at: Path, *, timeout_s: float) -> None:
    """All readers; fails with every fault that was found, and how to see it again."""
    command = [sys.executable, "-m", "tests.fuzz", "--count", str(count), "--at", str(at)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s)
    print(done.stdout)
    if done.returncode not in (0, 1):
        pytest.fail(f"the process ended with {done.returncode} at {at.read_text()}:\n{done.stderr[-5000:]}")
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2000:]


def test_no_changed_file_makes_a_reader_fail_otherwise_than_by_name(tmp_path: Path):
    fuzz(COUNT, tmp_path / "at", timeout_s=900)


@pytest.mark.slow
def test_nor_do_ten_times_as_many(tmp_path: Path):
    fuzz(MANY, tmp_path / "at", timeout_s=9000)
