"""A training run that is killed and resumed ends with exactly the weights of an uninterrupted run."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from latentdrive import checkpoint
from latentdrive.codebook.model import Codebook
from latentdrive.codebook.training import CodebookTraining
from latentdrive.config import from_yaml
from latentdrive.errors import CheckpointError, ConfigError, MixedCodebooks
from latentdrive.run_folder import CHECKPOINT, RESUME
from latentdrive.stages.start import start_from
from latentdrive.stages.state import ORDER, STATE
from tests.support.command import TINY, Killed, killed_at, train_codebook, video, weights
from tests.support.paths import ROOT

torch.set_num_threads(1)
STEPS = 10  # motion 0 and 1, environment 2 to 4, reader 5 and 6, ego 7 to 9
UNJUDGED = "training.judges.held_out=null"  # for runs of which only the weights are looked at


@pytest.fixture
def clips(wall_clips: Path) -> Path:
    return wall_clips


@pytest.mark.parametrize(
    ("step", "every"),
    [(2, 1), (5, 1), (7, 1), (8, 3), (9, 1)],
    ids=["before environment", "before reader", "before ego", "2 steps after a save", "last step"],
)
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(
    step: int, every: int, clips: Path, whole: Path, tmp_path: Path
):
    words = (f"save_every_steps={every}", UNJUDGED)
    with killed_at(CodebookTraining, step):
        train_codebook(clips, tmp_path, *words)
    assert not (tmp_path / CHECKPOINT).exists()
    train_codebook(clips, tmp_path, *words)
    assert f"resuming after step {step // every * every} of {STEPS}" in (tmp_path / "log.txt").read_text()
    assert weights(tmp_path) == weights(whole)


def test_a_run_killed_again_and_again_ends_with_the_same_weights(clips: Path, whole: Path, tmp_path: Path):
    for step in (1, 3, 8):
        with killed_at(CodebookTraining, step):
            train_codebook(clips, tmp_path, UNJUDGED)
    train_codebook(clips, tmp_path, UNJUDGED)
    assert weights(tmp_path) == weights(whole)


def test_a_state_whose_weights_have_another_order_is_refused(clips: Path, tmp_path: Path):
    with killed_at(CodebookTraining, 3):
        train_codebook(clips, tmp_path, "save_every_steps=1", UNJUDGED)
    file = tmp_path / RESUME / STATE
    state = torch.load(file, weights_only=True)
    state[ORDER] = state[ORDER][::-1]
    torch.save(state, file)
    with pytest.raises(CheckpointError, match="of a version whose model has its weights in another order"):
        train_codebook(clips, tmp_path, "save_every_steps=1", UNJUDGED)


def test_a_run_killed_before_its_first_save_begins_anew(clips: Path, whole: Path, tmp_path: Path):
    with killed_at(CodebookTraining, 1):
        train_codebook(clips, tmp_path, "save_every_steps=5", UNJUDGED)
    train_codebook(clips, tmp_path, UNJUDGED)
    assert weights(tmp_path) == weights(whole)


def test_a_process_that_is_really_killed_resumes_with_another_number_of_workers(
    clips: Path, whole: Path, tmp_path: Path
):
    words = ["train", "codebook", *video(clips), *TINY, f"out={tmp_path}", "batches.workers=1"]
    script = f"""
import os, signal
from latentdrive.codebook.training import CodebookTraining
real = CodebookTraining.training_step
def step(self, batch, number):
    if self.global_step == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, batch, number)
CodebookTraining.training_step = step
from latentdrive.cli import main
main({words!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=500
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert (tmp_path / RESUME / STATE).is_file() and not (tmp_path / CHECKPOINT).exists()
    train_codebook(clips, tmp_path)
    assert weights(tmp_path) == weights(whole)


def test_a_run_is_not_resumed_with_other_settings(clips: Path, tmp_path: Path):
    with killed_at(CodebookTraining, 3):
        train_codebook(clips, tmp_path)
    with pytest.raises(ConfigError, match=r"another .*training\.schedule\.ego, .*seed: repeat its command"):
        train_codebook(clips, tmp_path, "training.schedule.ego=4", "seed=1")
    with pytest.raises(
        ConfigError, match=r"an unfinished run with another trainer\.precision, trainer\.gradient_clip_val:"
    ):
        train_codebook(clips, tmp_path, "trainer.precision=32-true", "trainer.gradient_clip_val=2.0")


def test_a_finished_run_is_called_finished(clips: Path, whole: Path):
    with pytest.raises(ConfigError, match=r"holds a finished run with another .*seed"):
        train_codebook(clips, whole, "seed=1")


def test_a_damaged_state_is_named(clips: Path, tmp_path: Path):
    with killed_at(CodebookTraining, 3):
        train_codebook(clips, tmp_path)
    state = tmp_path / RESUME / STATE
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=f"remove .*{RESUME} to start again"):
        train_codebook(clips, tmp_path)


def test_another_seed_gives_other_weights(clips: Path, whole: Path, tmp_path: Path):
    words = ("seed=1", "trainer.val_check_interval=1000", UNJUDGED)  # never validates, which is no error
    train_codebook(clips, tmp_path, *words)
    assert weights(tmp_path) != weights(whole)


def test_a_run_leaves_a_complete_record(whole: Path):
    numbers = json.loads((whole / "metrics.json").read_text())
    assert {"verb", "command", "commit", "seconds", "steps", "metrics", "fingerprint", "data", "parents"} <= set(
        numbers
    )
    assert numbers["command"].startswith("latentdrive train codebook data=video")
    assert numbers["steps"] == STEPS
    assert {"held_out/share_of_copy", "held_out/cost_ego_shuffled", "held_out/ego_perplexity"} <= set(
        numbers["metrics"]
    )
    assert numbers["data"]["clips"] == 6 and numbers["data"]["unreadable"] == 0
    assert numbers["data"]["poses"] == {"poses: recorded; intrinsics: none given": 6}
    model, card = checkpoint.load(whole / CHECKPOINT, expect=Codebook)
    assert card.fingerprint == numbers["fingerprint"] and card.metrics == numbers["metrics"]
    assert model.codebook_id == card.fingerprint
    assert list(whole.glob("events.out.tfevents.*"))
    assert numbers["data"]["counted"] == "6 of 6 clips" and numbers["data"]["clips_without_poses"] == 0
    log = (whole / "log.txt").read_text()
    told = log[: log.index("Done in ")].splitlines()
    assert "error as a share of copying the present frame" in log and f"all {len(numbers['metrics'])} numbers: " in log
    assert len(told) < 20 and not any("held_out/" in line or "_slot_" in line for line in told)
    assert "Next: latentdrive label model=" in log and "train: 0 of 6 clips unreadable" in log


def test_a_dry_run_trains_nothing(clips: Path, tmp_path: Path):
    assert train_codebook(clips, tmp_path, "dry_run=true") == {}
    assert "would train 10 steps" in (tmp_path / "log.txt").read_text()
    assert not (tmp_path / RESUME).exists() and not (tmp_path / CHECKPOINT).exists()


# ---- init ----


def test_a_run_can_start_from_all_weights_of_another(monkeypatch, clips: Path, whole: Path, tmp_path: Path):
    """For example first on the world, then on real video: books and statistics of features are taken over."""
    weights_at_start = {}

    def step(self, batch, number):
        weights_at_start.update({key: value.clone() for key, value in self.model.state_dict().items()})
        raise Killed

    monkeypatch.setattr(CodebookTraining, "training_step", step)
    with pytest.raises(Killed):
        train_codebook(clips, tmp_path, f"init.checkpoint={whole / CHECKPOINT}", "seed=5")
    expected = checkpoint.load(whole / CHECKPOINT)[0].state_dict()
    assert weights_at_start
    assert all(torch.equal(value, weights_at_start[key]) for key, value in expected.items())


@pytest.fixture(scope="module")
def started(wall_clips: Path, whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that started from `whole` and learned nothing: its learning rate is 0."""
    out = tmp_path_factory.mktemp("started")
    train_codebook(wall_clips, out, "training.optimizer.lr=0.0", f"init.checkpoint={whole / CHECKPOINT}")
    return out


def parameters(out: Path) -> dict[str, torch.Tensor]:
    return dict(checkpoint.load(out / CHECKPOINT)[0].named_parameters())


def test_a_start_keeps_the_reader_and_the_ego_stage(whole: Path, started: Path):
    first, kept = parameters(whole), parameters(started)
    assert all(torch.equal(kept[name], value) for name, value in first.items())


def test_parts_named_by_without_begin_anew(clips: Path, whole: Path, tmp_path: Path):
    init = [f"init.checkpoint={whole / CHECKPOINT}", "init.without=[ego_inverse,ego_book,ego_forward]"]
    train_codebook(clips, tmp_path, "training.optimizer.lr=0.0", *init)
    first, anew = parameters(whole), parameters(tmp_path)
    differing = {name.split(".")[0] for name, value in first.items() if not torch.equal(anew[name], value)}
    assert {"ego_inverse", "ego_forward"} <= differing <= {"ego_inverse", "ego_forward", "reader"}


def test_a_part_that_is_not_there_is_named(clips: Path, whole: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"init.without=\['ego_bok'\].*its parts are ego_book, "):
        train_codebook(clips, tmp_path, f"init.checkpoint={whole / CHECKPOINT}", "init.without=[ego_bok]")


def test_a_start_from_a_model_of_another_size_names_what_does_not_fit(clips: Path, whole: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match="do not fit this model, for example"):
        train_codebook(clips, tmp_path, f"init.checkpoint={whole / CHECKPOINT}", "model.codes=8")


def test_the_card_names_what_a_run_started_from(whole: Path, started: Path):
    card = checkpoint.read_card(started / CHECKPOINT)
    assert card.parents == {"init": checkpoint.read_card(whole / CHECKPOINT).fingerprint}


def test_a_start_from_a_model_of_another_codebook_is_refused(whole: Path, tmp_path: Path):
    model, card = checkpoint.load(whole / CHECKPOINT)
    config = from_yaml((whole / CHECKPOINT / checkpoint.CONFIG).read_text())
    checkpoint.save(tmp_path / "b", model, config=config, card=replace(card, parents={"codebook": "book-b"}))
    with pytest.raises(MixedCodebooks, match=r"codes of codebook book-b, the labels those of book-a"):
        start_from(model, tmp_path / "b", codebook="book-a")
    assert start_from(model, whole / CHECKPOINT, codebook="book-a") == []  # it knows no codes yet, of any codebook
