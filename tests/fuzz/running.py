"""Runs the fuzzing of some readers in a process of their own, without the checks of types that tests have."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.paths import ROOT

COUNT, MANY = 500, 5000
MOST_S = 2.0  # for each input on a machine that does other things as well; a process that hangs ends itself


def fuzz(readers: Sequence[str], at: Path, *, count: int = COUNT) -> None:
    """Fail with every fault that is found, and how to see it again. at: file that names the input at hand."""
    command = [sys.executable, "-m", "tests.fuzz", *readers, "--count", str(count), "--at", str(at)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300 + MOST_S * count * len(readers)
    )
    print(done.stdout)
    ended = "" if done.returncode in (0, 1) else f"ended with {done.returncode} at {at.read_text(encoding='utf-8')}\n"
    assert done.returncode == 0, ended + done.stdout[-10_000:] + done.stderr[-5000:]
