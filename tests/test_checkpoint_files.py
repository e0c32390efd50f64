"""Models that keep files of their own: they travel in the checkpoint and are guarded like weights."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from latentdrive import checkpoint
from latentdrive.build import AllowList
from latentdrive.checkpoint import Card
from latentdrive.checkpoint_parts import SpeaksCodes, checkpoint_part
from latentdrive.errors import CheckpointError

SOURCE = __name__


@checkpoint_part
class Worded(SpeaksCodes, nn.Module):
    """A model with a word in a file and a weight; `word` may not be read from the configuration when it is loaded."""

    def __init__(self, *, word: str) -> None:
        super().__init__()
        self.word, self.weight = word, nn.Parameter(torch.zeros(2))

    def save_files(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "word.txt").write_text(self.word)

    @staticmethod
    def from_files(folder: Path) -> dict[str, str]:
        return {"word": (folder / "word.txt").read_text()}


def forbidden() -> str:
    raise AssertionError("a node that the files replace must not be built")


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.setattr("latentdrive.checkpoint.CHECKPOINT_PARTS", AllowList(prefixes=(SOURCE,), parts_only=True))
    config = {"_target_": f"{SOURCE}.Worded", "word": {"_target_": f"{SOURCE}.forbidden"}}
    card = checkpoint.save(
        tmp_path / "c", Worded(word="left"), config=config, card=Card(kind="Worded", parents={"codebook": "b1"})
    )
    return tmp_path / "c", card


def test_the_files_replace_the_configured_arguments_and_the_parent_codebook_is_known(saved):
    model, card = checkpoint.load(saved[0], expect=Worded)
    assert (model.word, model.codebook_id) == ("left", "b1")
    assert list(card.files) == ["files/word.txt"]


def test_an_altered_file_is_refused(saved):
    (saved[0] / "files/word.txt").write_text("right")
    with pytest.raises(CheckpointError, match=r"word.txt was altered"):
        checkpoint.load(saved[0])


def test_a_missing_file_is_named(saved):
    (saved[0] / "files/word.txt").unlink()
    with pytest.raises(CheckpointError, match=r"lacks files/word.txt"):
        checkpoint.load(saved[0])


def test_a_file_that_the_card_does_not_list_is_refused(saved):
    (saved[0] / "files/more.txt").write_text("read by nobody knows whom")
    with pytest.raises(CheckpointError, match=r"holds files/more.txt, which its card does not list"):
        checkpoint.load(saved[0])
    (saved[0] / "files/more.txt").rename(saved[0] / "files/.hidden")  # left behind by a program that shows folders
    checkpoint.load(saved[0])


@pytest.mark.parametrize(
    "name", ["files/../word.txt", "../secret.txt", "/etc/hostname", "model.safetensors", "files/./"]
)
def test_a_card_that_lists_files_elsewhere_is_refused_before_they_are_read(saved, monkeypatch, name):
    config = {"_target_": f"{SOURCE}.Worded", "word": {"_target_": f"{SOURCE}.forbidden"}}
    content = json.loads((saved[0] / "card.json").read_text())
    content["files"][name] = "0" * 64
    content["fingerprint"] = checkpoint.fingerprint(content["weights_sha256"], content["files"], config)
    content["card_sha256"] = ""  # as in the cards of early versions
    (saved[0] / "card.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"card.json lists files outside of .*files; copy"):
        checkpoint.load(saved[0])


def test_other_files_give_another_fingerprint(saved, tmp_path):
    config = {"_target_": f"{SOURCE}.Worded", "word": {"_target_": f"{SOURCE}.forbidden"}}
    other = checkpoint.save(tmp_path / "d", Worded(word="right"), config=config, card=Card(kind="Worded"))
    assert other.weights_sha256 == saved[1].weights_sha256 and other.fingerprint != saved[1].fingerprint
