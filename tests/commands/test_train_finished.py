"""A finished run is left as it is, the seconds of all legs are counted, and a damaged resume folder is named."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from latentdrive.codebook.training import CodebookTraining
from latentdrive.config import from_yaml
from latentdrive.errors import CheckpointError, ConfigError, InUse
from latentdrive.locks import LOCK, one_writer
from latentdrive.run_folder import CHECKPOINT, CONFIG, METRICS, RESUME, RunFolder
from latentdrive.stages.resume import SETTINGS
from latentdrive.stages.state import SECONDS, STATE
from tests.support.command import train_codebook

torch.set_num_threads(1)
EVERY = "save_every_steps=4"  # does not divide the number of steps
STEPS = 10


@pytest.fixture
def clips(wall_clips: Path) -> Path:
    return wall_clips


@pytest.fixture
def finished(whole: Path, tmp_path: Path) -> Path:
    """A copy of the folder of a finished run."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def saved(out: Path) -> dict:
    return torch.load(out / RESUME / STATE, weights_only=True)


def forbid(monkeypatch: pytest.MonkeyPatch, *methods: str) -> None:
    for method in methods:
        monkeypatch.setattr(CodebookTraining, method, lambda *_, method=method: pytest.fail(f"{method} again"))


def test_a_finished_run_repeated_does_nothing_and_says_so(clips, finished, monkeypatch, capsys):
    files = [path for path in finished.rglob("*") if path.is_file() and path.name not in ("log.txt", LOCK)]
    before = {path: path.read_bytes() for path in files}
    assert saved(finished)["global_step"] == STEPS
    forbid(monkeypatch, "prepare", "training_step", "validation_step", "evaluate")
    metrics = train_codebook(clips, finished, EVERY)
    output = capsys.readouterr().out
    assert "this run is finished: all 10 steps are done" in output and "Next: latentdrive label model=" in output
    assert metrics == json.loads((finished / METRICS).read_text())["metrics"]
    assert {path: path.read_bytes() for path in before} == before
    assert {path for path in finished.rglob("*") if path.is_file()} == {
        *before,
        finished / "log.txt",
        finished / LOCK,
    }


def test_a_run_killed_while_it_was_judged_is_judged_and_trains_nothing(clips, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(CodebookTraining, "evaluate", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train_codebook(clips, tmp_path, EVERY)
    forbid(monkeypatch, "training_step")
    assert "held_out/cost_ego_shuffled" in train_codebook(clips, tmp_path, EVERY)
    assert (tmp_path / CHECKPOINT).is_dir() and (tmp_path / METRICS).is_file()


def test_a_run_whose_numbers_are_those_of_something_else_is_judged_again(clips, finished, monkeypatch):
    numbers = json.loads((finished / METRICS).read_text())["metrics"]
    (finished / METRICS).write_text('{"verb": "train_codebook", "parts": {}}')
    forbid(monkeypatch, "training_step")
    train_codebook(clips, finished, EVERY)
    judged = json.loads((finished / METRICS).read_text())["metrics"]
    held_out = {name for name in judged if name.startswith("held_out/")}
    assert held_out == {name for name in numbers if name.startswith("held_out/")}  # of the last phase, not the first
    assert {name: judged[name] for name in held_out} == pytest.approx({name: numbers[name] for name in held_out})


def test_a_training_refuses_the_folder_of_another_verb(clips, finished):
    (finished / METRICS).write_text('{"verb": "label"}')
    with pytest.raises(ConfigError, match="holds a run of `latentdrive label`, and `latentdrive train codebook` would"):
        train_codebook(clips, finished, EVERY)


def test_two_trainings_in_one_folder_are_refused(clips, finished):
    before = (finished / RESUME / STATE).read_bytes()
    with one_writer(finished), pytest.raises(InUse, match="is being written by another process"):
        train_codebook(clips, finished, EVERY, "seed=3")
    assert (finished / RESUME / STATE).read_bytes() == before


def test_a_run_that_begins_anew_in_a_used_folder_is_not_taken_for_the_finished_one(clips, finished, monkeypatch):
    for path in (finished / RESUME).iterdir():
        path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(CodebookTraining, "evaluate", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train_codebook(clips, finished, EVERY, "seed=3")
    assert not (finished / METRICS).exists() and from_yaml((finished / CONFIG).read_text())["seed"] == 3
    train_codebook(clips, finished, EVERY, "seed=3")
    assert "seed=3" in json.loads((finished / METRICS).read_text())["command"]


def test_the_seconds_of_all_legs_are_counted(clips, tmp_path, monkeypatch):
    real = CodebookTraining.training_step

    def dying(self, batch, number):
        if self.global_step == 6:
            raise ZeroDivisionError
        return real(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(CodebookTraining, "training_step", dying)
        patch.setattr(RunFolder, "seconds", property(lambda self: 5000.0))
        with pytest.raises(ZeroDivisionError):
            train_codebook(clips, tmp_path, EVERY)
    assert saved(tmp_path)["global_step"] == 4 and saved(tmp_path)[SECONDS] == 5000.0
    train_codebook(clips, tmp_path, EVERY)
    assert 5000 < json.loads((tmp_path / METRICS).read_text())["seconds"] < 6000
    assert 5000 < saved(tmp_path)[SECONDS] < 6000
    assert "Done in 5" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_text("model: [")])
def test_settings_that_can_not_be_read_are_named_with_what_to_remove(clips, finished, damage):
    damage(finished / RESUME / SETTINGS)
    with pytest.raises(
        CheckpointError, match=rf"{SETTINGS} can't be read.*: remove {finished / RESUME} to start again"
    ):
        train_codebook(clips, finished, EVERY)
