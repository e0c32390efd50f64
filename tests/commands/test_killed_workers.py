"""A worker that is killed, and an interruption: nothing hangs, what happened is said, and the run goes on later."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from latentdrive.run_folder import CHECKPOINT, RESUME
from latentdrive.stages.state import STATE
from tests.support.command import TINY, train_codebook, video
from tests.support.paths import ROOT

AT_STEP_4 = """
import multiprocessing, os, signal, sys, time
from latentdrive.codebook.training import CodebookTraining
real = CodebookTraining.training_step
def step(self, batch, number):
    if self.global_step == 4:
        {happens}
    return real(self, batch, number)
CodebookTraining.training_step = step
from latentdrive.cli import main
main({words!r})
"""
KILLED = "[os.kill(child.pid, signal.SIGKILL) for child in multiprocessing.active_children()]; time.sleep(60)"
WAITS = "print('at step 4', flush=True); time.sleep(60)"


def begin(script: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def interrupted(command: subprocess.Popen, *, after: str) -> tuple[str, float]:
    """What a command says after Ctrl+C in its process alone, and how many seconds it took to end."""
    for line in command.stdout:
        if after in line:
            break
    begun = time.monotonic()
    command.send_signal(signal.SIGINT)
    _, said = command.communicate(timeout=60)
    assert command.returncode == 130 and "Traceback" not in said, said
    return said, time.monotonic() - begun


def words(clips: Path, out: Path) -> list[str]:
    return ["train", "codebook", *video(clips), *TINY, f"out={out}", "batches.workers=1"]


def test_a_killed_reader_of_data_ends_the_training_by_name_and_it_goes_on_later(
    wall_clips: Path, whole: Path, tmp_path
):
    command = begin(AT_STEP_4.format(happens=KILLED, words=words(wall_clips, tmp_path)))
    _, said = command.communicate(timeout=200)
    assert command.returncode == 1 and "Traceback" not in said
    assert "a process that reads data was killed, perhaps for want of memory (DataLoader worker (pid" in said
    assert (tmp_path / RESUME / STATE).is_file()
    train_codebook(wall_clips, tmp_path)
    assert (tmp_path / CHECKPOINT / "model.safetensors").read_bytes() == (
        whole / CHECKPOINT / "model.safetensors"
    ).read_bytes()


def test_an_interrupted_training_ends_at_once_and_names_the_folder_that_resumes(wall_clips: Path, tmp_path: Path):
    given = [word for word in words(wall_clips, tmp_path) if not word.startswith("out=")]
    command = begin(AT_STEP_4.format(happens=WAITS, words=[*given, f"paths.runs={tmp_path}"]))
    said, seconds = interrupted(command, after="at step 4")
    assert seconds < 30  # the step would wait for 60; a busy machine is no failure
    named = re.search(r"what is complete is kept\. To go on: latentdrive train codebook .* out=(\S+)", said)
    assert named is not None and (Path(named[1]) / RESUME / STATE).is_file()


def test_an_interrupted_world_ends_at_once_with_its_workers(tmp_path: Path):
    script = (
        f"from latentdrive.cli import main; main(['world', 'world=tiny', 'path={tmp_path}/w', 'out={tmp_path}/run'])"
    )
    command = begin("import sys\nif __name__ == '__main__':\n    " + script)
    said, seconds = interrupted(command, after="probe:")
    assert seconds < 30 and f"To go on: latentdrive world world=tiny path={tmp_path}/w out={tmp_path}/run" in said
