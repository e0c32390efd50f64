"""Teacher and student, too, end with exactly the same weights when they are killed and resumed."""

from pathlib import Path

import pytest
import torch

from latentdrive import checkpoint
from latentdrive.build import build
from latentdrive.checkpoint import Card
from latentdrive.commands import label, train
from latentdrive.config import compose
from latentdrive.run_folder import CHECKPOINT
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
