"""Checkpoints explain themselves, load strictly, and are refused when anything is missing or altered."""

import errno
import json
import os
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from latentdrive import checkpoint
from latentdrive.build import AllowList
from latentdrive.checkpoint import CARD, CONFIG, README, WEIGHTS, Card
from latentdrive.checkpoint_parts import checkpoint_part, is_checkpoint_part
from latentdrive.config import from_yaml, to_yaml
from latentdrive.errors import CheckpointError, DiskFull
from latentdrive.files import ABANDONED_S, atomic_folder, write_atomic

SOURCE = __name__


@checkpoint_part
class Line(nn.Module):
    """y = a x + b."""

    def __init__(self, *, inputs: int) -> None:
        super().__init__()
        self.map = nn.Linear(inputs, 1)
        self.same = self.map  # shared weights survive


@checkpoint_part
class Other(Line):
    """Another class with the same weights."""


class Unmarked(Line):
    """A subclass that nobody marked as safe to build."""


def touch(*, path: str) -> Line:
    """No model, though it makes one."""
    Path(path).touch()
    return Line(inputs=3)


@pytest.fixture(autouse=True)
def allow_tests(monkeypatch):
    parts = AllowList(prefixes=(SOURCE, "latentdrive."), parts_only=True)
    monkeypatch.setattr("latentdrive.checkpoint.CHECKPOINT_PARTS", parts)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    model = Line(inputs=3)
    card = Card(
        kind=f"{SOURCE}.Line",
        parents={"codebook": "b1"},
        data={"clips": 5},
        metrics={"held_out/error": 0.125},
        command="latentdrive train line",
    )
    card = checkpoint.save(tmp_path / "line", model, config={"_target_": f"{SOURCE}.Line", "inputs": 3}, card=card)
    return tmp_path / "line", model, card


def test_a_folder_needs_nothing_else_to_be_loaded(saved):
    folder, model, card = saved
    again, known = checkpoint.load(folder, expect=Line)
    assert not again.training and known == card
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values()))


def test_its_readme_says_what_it_is_and_how_good(saved):
    text = (saved[0] / README).read_text()
    for part in (
        "# line: a Line",
        "`latentdrive train line`",
        saved[2].fingerprint,
        "| held_out/error | 0.125 |",
        "clips: 5",
    ):
        assert part in text


def test_no_file_of_it_is_a_pickle(saved):
    assert sorted(path.name for path in saved[0].iterdir()) == sorted([WEIGHTS, CONFIG, CARD, README])
    assert (saved[0] / WEIGHTS).read_bytes()[8:9] == b"{"  # safetensors: a length, then JSON


def test_the_fingerprint_covers_weights_and_configuration(saved, tmp_path):
    _, model, card = saved
    config = {"_target_": f"{SOURCE}.Line", "inputs": 3}
    same = checkpoint.save(tmp_path / "a", model, config=config, card=Card(kind="Line"))
    assert same.fingerprint == card.fingerprint
    with torch.no_grad():
        model.map.bias += 1
    assert checkpoint.save(tmp_path / "b", model, config=config, card=Card(kind="Line")).fingerprint != card.fingerprint


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, CARD])
def test_a_missing_file_is_named_with_what_there_is(saved, name):
    (saved[0] / name).unlink()
    with pytest.raises(CheckpointError, match=rf"lacks {name}; it holds: .*{README}"):
        checkpoint.load(saved[0])


def test_altered_weights_are_refused(saved):
    content = bytearray((saved[0] / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (saved[0] / WEIGHTS).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors was altered: its sha256 is .*copy the folder again"):
        checkpoint.load(saved[0])


def refuses(folder, name: str, text: str, said: str) -> None:
    """Loading names what is wrong once the file `name` holds `text`."""
    (folder / name).write_text(text)
    with pytest.raises(CheckpointError, match=said):
        checkpoint.load(folder)


def test_an_altered_configuration_is_refused(saved):
    other = (saved[0] / CONFIG).read_text().replace("inputs: 3", "inputs: 4")
    refuses(saved[0], CONFIG, other, r"config\.yaml was altered")


def test_a_card_that_is_no_json_is_named(saved):
    refuses(saved[0], CARD, "{", r"card\.json is not JSON")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda card: card.pop("kind"), r"card\.json is no card of this version \(no kind\); copy the folder again"),
        (
            lambda card: card.update(colour="red"),
            r"is no card of this version \(unknown colour\); .* or update latentdrive",
        ),
        (lambda card: card.update(parents=["codebook"]), r"is no card \(parents=\['codebook'\]: expected a mapping"),
        (lambda card: card.update(files={"a": 1}), r"is no card \(files=\{'a': 1\}: expected a mapping"),
        (lambda card: card.update(fingerprint=7), r"is no card \(fingerprint=7: expected text"),
        (lambda card: card.update(metrics=[]), r"is no card \(metrics=\[\]: expected a mapping"),
    ],
)
def test_a_card_with_other_names_is_refused(saved, change, said):
    card = json.loads((saved[0] / CARD).read_text())
    change(card)
    refuses(saved[0], CARD, json.dumps(card), said)


def test_a_card_that_is_a_list_is_refused(saved):
    refuses(saved[0], CARD, "[]", r"card\.json is no card")


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "can't be read as YAML.*copy the folder again"), ("- a", "describes no model; copy the folder")],
)
def test_a_configuration_that_is_none_is_refused(saved, text, said):
    refuses(saved[0], CONFIG, text, rf"config\.yaml {said}")


def test_another_format_is_refused(saved):
    card = json.loads((saved[0] / CARD).read_text()) | {"format": 99}
    (saved[0] / CARD).write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="has format 99, this version reads 2: update latentdrive"):
        checkpoint.load(saved[0])


def test_another_class_than_expected_is_refused(saved):
    with pytest.raises(CheckpointError, match="holds a Line, expected Other: name another folder"):
        checkpoint.load(saved[0], expect=Other)


@pytest.mark.parametrize(
    "attack",
    [
        {"_target_": "latentdrive.files.os.system", "command": "touch {}"},
        {"_target_": f"{SOURCE}.os.system", "command": "touch {}"},
        {"_target_": f"{SOURCE}.Path.touch", "self": "{}"},
        {"_target_": "latentdrive.build.build", "node": {"_target_": "latentdrive.config.from_yaml", "text": "{}"}},
        {"_target_": f"{SOURCE}.touch", "path": "{}"},
        {"_target_": f"{SOURCE}.Line", "inputs": {"_target_": "latentdrive.run_folder.RunFolder", "cfg": "{}"}},
        {"_target_": f"{SOURCE}.Line", "inputs": {"_target_": "latentdrive.codebook.judging.dictionary.Dictionary"}},
        {"_target_": "latentdrive.teacher.tiny.load_tiny_qwen", "folder": "{}"},
        {"_target_": f"{SOURCE}.Line", "inputs": {"_target_": "torch.optim.sgd.torch.load", "f": "{}"}},
        {"inputs": 3},
    ],
)
def test_a_folder_whose_hashes_match_builds_models_and_nothing_else(attack, tmp_path):
    """Whoever makes a folder computes its hashes, too."""
    reached = tmp_path / "reached"
    config = from_yaml(to_yaml(attack).replace("{}", str(reached)))
    checkpoint.save(tmp_path / "c", Line(inputs=3), config=config, card=Card(kind=f"{SOURCE}.Line"))
    with pytest.raises(CheckpointError, match=r"is refused|there is no module"):
        checkpoint.load(tmp_path / "c")
    assert not reached.exists()


def test_a_subclass_does_not_inherit_the_mark(saved, tmp_path):
    assert is_checkpoint_part(Line) and not is_checkpoint_part(Unmarked) and not is_checkpoint_part(touch)
    config = {"_target_": f"{SOURCE}.Unmarked", "inputs": 3}
    checkpoint.save(tmp_path / "c", saved[1], config=config, card=Card(kind="Unmarked"))
    with pytest.raises(CheckpointError, match=r"Unmarked is refused; only a class marked with @checkpoint_part"):
        checkpoint.load(tmp_path / "c")


def test_a_class_is_refused_before_anything_is_built(saved, monkeypatch):
    monkeypatch.setattr(Line, "__init__", lambda *_, **__: pytest.fail("built"))
    with pytest.raises(CheckpointError, match="holds a Line, expected Other"):
        checkpoint.load(saved[0], expect=Other)


def test_a_configuration_that_does_not_fit_the_class_is_named_with_its_file(saved, tmp_path):
    config = {"_target_": f"{SOURCE}.Line", "inputs": 3, "colour": "red"}
    checkpoint.save(tmp_path / "c", saved[1], config=config, card=Card(kind=f"{SOURCE}.Line"))
    with pytest.raises(CheckpointError, match=r"c/config\.yaml: .*Line has no argument colour"):
        checkpoint.load(tmp_path / "c")


def test_a_run_folder_in_place_of_its_checkpoint_gets_a_hint(saved, tmp_path):
    (tmp_path / "run").mkdir()
    saved[0].rename(tmp_path / "run" / "checkpoint")
    with pytest.raises(CheckpointError, match=r"did you mean .*run/checkpoint\?"):
        checkpoint.load(tmp_path / "run")


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is no folder; a checkpoint is a folder with"):
        checkpoint.load(tmp_path / "nowhere")


def test_a_full_disk_leaves_the_old_checkpoint_as_it_was(saved, monkeypatch):
    folder, model, card = saved

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("latentdrive.checkpoint.save_file", full)
    with pytest.raises(DiskFull, match=r"the disk is full while writing .*line; what was there before is intact"):
        checkpoint.save(folder, model, config={"_target_": f"{SOURCE}.Line", "inputs": 3}, card=Card(kind="Line"))
    assert checkpoint.load(folder)[1] == card
    assert [path.name for path in folder.parent.iterdir()] == ["line"]


def test_a_full_disk_leaves_the_old_file_as_it_was(tmp_path):
    def full(path):
        path.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    write_atomic(tmp_path / "a.txt", lambda path: path.write_text("old"))
    with pytest.raises(DiskFull, match=r"while writing .*a\.txt.* free space and repeat the same command"):
        write_atomic(tmp_path / "a.txt", full)
    assert (tmp_path / "a.txt").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_an_interruption_leaves_no_half_written_folder(saved, monkeypatch):
    folder, model, card = saved

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("latentdrive.checkpoint.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(folder, model, config={"_target_": f"{SOURCE}.Line", "inputs": 3}, card=Card(kind="Line"))
    assert checkpoint.load(folder)[1] == card and len(list(folder.parent.iterdir())) == 1


@pytest.fixture
def killed(saved):
    """A process was killed while it wrote the checkpoint again: the old one has no name, the new one not yet."""
    folder, _, _ = saved
    folder.rename(folder.with_name(".line.old"))
    folder.with_name(".line.0a1b2c3d.new").mkdir()
    return saved


@pytest.mark.parametrize("read", [checkpoint.read_card, lambda folder: checkpoint.load(folder)[1]])
def test_a_checkpoint_that_lost_its_name_to_a_killed_process_is_read_and_left_as_it_is(killed, read):
    folder, _, card = killed
    assert read(folder) == card and not folder.exists()


def test_what_lost_its_name_is_kept_until_the_new_folder_has_it(killed):
    folder, _, card = killed
    with pytest.raises(ZeroDivisionError), atomic_folder(folder):
        raise ZeroDivisionError
    assert folder.is_dir() and checkpoint.load(folder)[1] == card


def test_drafts_of_killed_processes_are_removed_and_nothing_else(killed):
    folder, model, _ = killed
    (draft,) = folder.parent.glob(".line.*.new")
    others = [folder.with_name(name) for name in (".line.backup", ".line.too.old", ".linear.12345678.new")]
    for other in others:
        other.mkdir()
    long_ago = time.time() - ABANDONED_S - 1
    for path in (draft, *others):
        os.utime(path, (long_ago, long_ago))
    young = folder.with_name(".line.abcdefgh.new")
    young.mkdir()
    checkpoint.save(folder, model, config={"_target_": f"{SOURCE}.Line", "inputs": 3}, card=Card(kind="Line"))
    assert set(folder.parent.iterdir()) == {folder, young, *others}


@pytest.mark.parametrize("inputs", ["x", -3, None, [1, 2], 10**30, True])
def test_values_that_build_no_model_are_said_in_one_sentence(saved, tmp_path, inputs):
    checkpoint.save(
        tmp_path / "c", saved[1], config={"_target_": f"{SOURCE}.Line", "inputs": inputs}, card=Card(kind="L")
    )
    with pytest.raises(CheckpointError, match=r"c/config\.yaml: .*Line") as raised:
        checkpoint.load(tmp_path / "c")
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600
