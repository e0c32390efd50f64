"""A training that diverges ends by name, and what was saved before stays."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from latentdrive.codebook.training import CodebookTraining
from latentdrive.errors import Diverged
from latentdrive.run_folder import CHECKPOINT, METRICS, RESUME
from latentdrive.stages.state import STATE
from tests.support.command import train_codebook, weights

UNJUDGED = "training.judges.held_out=null"


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_state_before(
    wall_clips: Path, whole: Path, tmp_path: Path
):
    step = CodebookTraining.training_step

    def nan_at_six(self: CodebookTraining, *given: Any) -> Tensor:
        return step(self, *given) * (torch.nan if self.global_step == 6 else 1.0)

    said = r"step 7 of 10: the loss is nan; the state before it is kept in .*last\.ckpt"
    with patch.object(CodebookTraining, "training_step", nan_at_six), pytest.raises(Diverged, match=said):
        train_codebook(wall_clips, tmp_path, "save_every_steps=1", UNJUDGED)
    assert not (tmp_path / CHECKPOINT).exists() and not (tmp_path / METRICS).exists()
    train_codebook(wall_clips, tmp_path, "save_every_steps=1", UNJUDGED)
    assert "resuming after step 6 of 10" in (tmp_path / "log.txt").read_text()
    assert weights(tmp_path) == weights(whole)


def test_weights_that_are_no_numbers_are_never_saved(wall_clips: Path, tmp_path: Path):
    with pytest.raises(Diverged, match=r"step \d+ of 10: .* Lower training\.optimizer\.lr"):
        train_codebook(wall_clips, tmp_path, "save_every_steps=1", UNJUDGED, "training.optimizer.lr=1e30")
    state = tmp_path / RESUME / STATE
    saved = torch.load(state, weights_only=True)["state_dict"] if state.is_file() else {}
    assert all(torch.isfinite(value).all() for value in saved.values() if value.is_floating_point())
    assert not (tmp_path / CHECKPOINT).exists()
