"""One run on several devices: a process for each, one folder for all."""

import json
import os
import sys
from pathlib import Path

import pytest

from latentdrive import checkpoint
from latentdrive.codebook.model import Codebook
from latentdrive.commands.train import run
from latentdrive.config import compose, from_yaml
from latentdrive.run_folder import CHECKPOINT, METRICS, RESUME
from latentdrive.stages.resume import SETTINGS
from tests.support.command import TINY, video, write_clips


def words(clips: Path) -> list[str]:
    return [*video(clips), *TINY, "trainer.devices=2", f"paths.runs={clips.parent / 'my runs'}"]


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "clips")


def test_two_devices_train_one_codebook_in_one_folder(latentdrive, clips):
    done = latentdrive("train", "codebook", *words(clips), timeout_s=500)
    assert done.returncode == 0, done.stderr
    (out,) = (
        clips.parent / "my runs/train_codebook"
    ).iterdir()  # of both processes, though each has a clock of its own
    assert from_yaml((out / RESUME / SETTINGS).read_text())["trainer"]["devices"] == 2
    assert list(clips.parent.rglob(checkpoint.WEIGHTS)) == [out / CHECKPOINT / checkpoint.WEIGHTS]
    _, card = checkpoint.load(out / CHECKPOINT, expect=Codebook)
    assert card.metrics == json.loads((out / METRICS).read_text())["metrics"]
    for text in (done.stdout, (out / "log.txt").read_text()):  # the second process says nothing
        assert text.count("Codebook: ") == text.count("Done in ") == text.count("Next: ") == 1


@pytest.mark.slow
def test_every_run_of_a_sweep_starts_the_processes_that_it_needs(latentdrive, clips):
    done = latentdrive(
        "train", "codebook", "-m", *words(clips), "seed=0,1", f"out={clips.parent}/a sweep", timeout_s=900
    )
    assert done.returncode == 0, done.stderr
    seeds = [json.loads((clips.parent / f"a sweep/{number}" / METRICS).read_text())["command"] for number in range(2)]
    assert ["seed=0" in seeds[0], "seed=1" in seeds[1]] == [True, True]


def test_a_process_of_a_further_device_writes_and_says_nothing(clips, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("latentdrive.commands.train.rank_zero_only.rank", 1)
    cfg = compose("train_codebook", [*video(clips), *TINY, f"out={tmp_path}/run", "dry_run=true"])
    assert run(cfg) == {} and capsys.readouterr().out == "" and not (tmp_path / "run").exists()


def test_after_a_run_the_command_and_the_environment_are_as_before(clips, tmp_path, monkeypatch):
    typed, seen = [*sys.argv], []
    monkeypatch.setenv("LATENTDRIVE_TEST", "kept")

    def fit(self, module, **_):
        seen.append(sys.argv)
        monkeypatch.setenv("LOCAL_RANK", "0")  # as Lightning does on several devices
        raise ZeroDivisionError

    monkeypatch.setattr("lightning.Trainer.fit", fit)
    with pytest.raises(ZeroDivisionError):
        run(compose("train_codebook", [*video(clips), *TINY, f"out={tmp_path}/a run"]))
    assert seen[0][:3] == [typed[0], "train", "codebook"] and seen[0][-1] == f"out='{tmp_path}/a run'"
    assert sys.argv == typed and "LOCAL_RANK" not in os.environ and os.environ["LATENTDRIVE_TEST"] == "kept"
