"""ema_decay averages weights, and leaves books and batch statistics as they are."""

from pathlib import Path

from latentdrive import checkpoint
from latentdrive.codebook.model import Codebook
from latentdrive.run_folder import CHECKPOINT
from tests.support.command import train_codebook


def test_a_codebook_of_averaged_weights_has_the_books_of_the_last_step(wall_clips: Path, whole: Path, tmp_path: Path):
    train_codebook(wall_clips, tmp_path, "ema_decay=0.9", "training.judges.held_out=null")
    (averaged, _), (last, _) = (checkpoint.load(run / CHECKPOINT, expect=Codebook) for run in (tmp_path, whole))
    buffers = dict(last.named_buffers())
    books = [name for name in buffers if "book" in name]
    assert books and all(buffers[name].equal(buffer) for name, buffer in averaged.named_buffers())
    weights = dict(last.named_parameters())
    assert any(not weights[name].equal(weight) for name, weight in averaged.named_parameters())
