"""Teacher and student, too, end with exactly the same weights when they are killed and resumed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from latentdrive import checkpoint
from latentdrive.build import build
from latentdrive.checkpoint import Card
from latentdrive.commands import label, train
from latentdrive.config import compose
from latentdrive.errors import CheckpointError
from latentdrive.run_folder import CHECKPOINT, RESUME
from latentdrive.stages.best import BEST, KEPT_LOSS, KEPT_STEP, LAST_LOSS
from latentdrive.stages.state import STATE
from latentdrive.student.training import StudentTraining
from latentdrive.teacher.training import TeacherTraining
from tests.support.command import killed_at, weights, write_clips

torch.set_num_threads(1)
SHORT = (
    "training.schedule.steps=4",
    "training.schedule.warmup=1",
    "batches.batch_size=4",
    "batches.held_out_windows=4",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
    "threads=1",
    "save_every_steps=2",
)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What every command is told about data and places."""
    root = tmp_path_factory.mktemp("stages")
    return [
        "data=video",
        f"data.path={write_clips(root / 'clips')}",
        "data.height=48",
        "data.width=80",
        "data.options.poses=recorded",
        "data.part.train_share=0.5",
        "data.part.gap_s=0.1",
        f"paths.data={root}/data",
        f"paths.runs={root}/runs",
        f"paths.stores={root}/stores",
    ]


@pytest.fixture(scope="module")
def codes(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels of a codebook with random weights."""
    root = tmp_path_factory.mktemp("codes")
    config = compose("train_codebook", [*words, "features=pixels", "model.width=32", "model.layers=1"]).model.plain()
    torch.manual_seed(0)  # whether the loss of a teacher of these codes rises depends on them
    model = build(config)
    for book in (model.environment_book, model.ego_book):
        book.train()(torch.randn(200, 4, config["code_width"]))
    checkpoint.save(root / "codebook", model, config=config, card=Card(kind=config["_target_"]))
    return label.run(compose("label", [*words, f"model={root}/codebook", f"out={root}/out"]))


def compare(stage: type, name: str, words: list[str], root: Path) -> Path:
    """Train once without interruption, and once killed in step 3 and resumed after step 2; returns the first run."""

    def run(out: str) -> None:
        train.run(compose(name, [*words, *SHORT, f"out={root}/{out}"]))

    run("whole")
    with killed_at(stage, 3):
        run("killed")
    run("killed")
    assert "resuming after step 2 of 4" in (root / "killed" / "log.txt").read_text()
    assert weights(root / "killed") == weights(root / "whole")
    return root / "whole"


def test_teacher_and_student(words: list[str], codes: Path, tmp_path: Path):
    teacher = compare(TeacherTraining, "train_teacher", [*words, f"latents={codes}"], tmp_path / "teacher")
    labels = label.run(compose("label", [*words, f"model={teacher / CHECKPOINT}", f"out={tmp_path}/labels"]))
    compare(StudentTraining, "distill", [*words, f"latents={labels}"], tmp_path / "student")


RISING = (
    "training.schedule.steps=4",
    "training.optimizer.lr=0.3",
    "trainer.val_check_interval=1",
    "save_every_steps=1",
)


@pytest.fixture(scope="module")
def rising(words: list[str], codes: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], dict]:
    """Trains a teacher whose held-out loss rises, because it learns far too fast; returns its metrics."""
    return lambda out: train.run(compose("train_teacher", [*words, f"latents={codes}", *SHORT, *RISING, f"out={out}"]))


@pytest.fixture(scope="module")
def risen(rising: Callable[[Path], dict], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of such a run that nobody interrupted."""
    out = tmp_path_factory.mktemp("risen")
    rising(out)
    return out


def test_a_teacher_whose_held_out_loss_rises_ends_with_its_best_weights_and_says_so(risen: Path):
    card = checkpoint.read_card(risen / CHECKPOINT)
    step, best, last = (card.metrics[name] for name in (KEPT_STEP, KEPT_LOSS, LAST_LOSS))
    assert step < 4 and best < last and card.metrics["held_out/nats"] == best
    assert (
        f"the held-out loss (held_out/nats) was lowest after step {step:.0f} ({best:.3f}) and rose to {last:.3f} after "
        f"the last one: the checkpoint holds the weights of step {step:.0f}"
    ) in (risen / "log.txt").read_text()
    at_the_end = torch.load(risen / RESUME / STATE, weights_only=True)["state_dict"]
    kept = checkpoint.load(risen / CHECKPOINT)[0].state_dict()
    assert any(not torch.equal(kept[name.removeprefix("model.")], value) for name, value in at_the_end.items())


@pytest.mark.parametrize(
    ("step", "hook"),
    [(1, "validation_step"), (3, "training_step"), (4, "validation_step")],
    ids=["in the best validation", "after it", "in the last one"],
)
def test_a_killed_run_keeps_the_same_best_weights(
    step: int, hook: str, risen: Path, rising: Callable[[Path], dict], tmp_path: Path
):
    with killed_at(TeacherTraining, step, hook):
        rising(tmp_path)
    rising(tmp_path)
    assert weights(tmp_path) == weights(risen)
    assert checkpoint.read_card(tmp_path / CHECKPOINT).metrics == checkpoint.read_card(risen / CHECKPOINT).metrics


def test_a_new_run_knows_nothing_of_an_earlier_ones_best_weights(
    risen: Path, rising: Callable[[Path], dict], tmp_path: Path
):
    shutil.copytree(risen / RESUME, tmp_path / RESUME)
    (tmp_path / RESUME / STATE).unlink()  # as messages advise for starting again
    best = torch.load(tmp_path / RESUME / BEST, weights_only=True)
    torch.save(best | {"loss": 0.0}, tmp_path / RESUME / BEST)
    rising(tmp_path)
    assert weights(tmp_path) == weights(risen)


def test_damaged_best_weights_are_named(risen: Path, rising: Callable[[Path], dict], tmp_path: Path):
    shutil.copytree(risen / RESUME, tmp_path / RESUME)
    file = tmp_path / RESUME / BEST
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"best\.ckpt can't be read: remove .*resume to start again"):
        rising(tmp_path)
