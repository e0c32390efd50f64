"""Runs and checkpoints made before the modules moved open again once they are converted."""

import json
import shutil
from pathlib import Path

import convert_runs
import pytest

from latentdrive import checkpoint
from latentdrive.cli import VERBS
from latentdrive.config import compose, from_yaml, to_yaml
from latentdrive.errors import CheckpointError
from latentdrive.identity import identity_of, same_id
from tests.support.paths import CHECKPOINTS, ROOT

# Composed by the last version before the move: [{"words": the command as it is typed now, "config": ...}].
BEFORE = json.loads((ROOT / "tests/tools/configurations_before_the_move.json").read_text(encoding="utf-8"))
MOVED = {
    "latentdrive.codebook.model": "latentdrive.codebook.model",
    "latentdrive.backbones": "latentdrive.codebook.features",
}


# Overrides that give the defaults of before where another default was chosen since.
OF_THEN = {
    "data=video": ["data.block_s=2.0", "data.source.drives=file"],
    "data=comma2k19": ["data.part.gap_s=0.5"],
}


@pytest.mark.parametrize("run", BEFORE, ids=lambda run: run["words"])
def test_a_converted_configuration_is_the_one_that_the_same_command_composes_now(run):
    words = run["words"].split()
    verb = next(verb for verb in (" ".join(words[:2]), words[0]) if verb in VERBS)
    defaults = [override for word in words for override in OF_THEN.get(word, [])]
    now = compose(VERBS[verb][1], [*words[len(verb.split()) :], *defaults, "out=runs/x"]).plain()
    then = convert_runs.converted_run(run["config"])
    hint = {"next": None}  # the command to type next is for people and decides nothing
    assert identity_of(then | hint) == identity_of(now | hint)  # keys that came later are left out at their default
    assert convert_runs.is_present(then) and not convert_runs.is_present(run["config"])


def old_checkpoint(folder: Path) -> str:
    """The shipped codebook as it was before the move; returns its fingerprint of then."""
    shutil.copytree(CHECKPOINTS / "world_codebook", folder)
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    for now, then in MOVED.items():
        text = text.replace(now, then)
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    former = card.pop("former_ids")
    old = convert_runs.earlier_fingerprint(checkpoint.Card(**card), from_yaml(text))
    assert former == {card["fingerprint"]: [old]}  # the id that the shipped card lists is the one of before
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    card |= {"fingerprint": old, "kind": "latentdrive.codebook.model.Codebook", "format": 1}
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return old


def test_a_converted_checkpoint_loads_lists_its_former_id_and_is_converted_once(tmp_path: Path, capsys):
    old = old_checkpoint(tmp_path / "codebook")
    with pytest.raises(CheckpointError, match=r"format 1, this version reads 2: convert it: .*convert_runs.py"):
        checkpoint.load(tmp_path / "codebook")
    assert convert_runs.main([str(tmp_path)]) == 0
    model, card = checkpoint.load(tmp_path / "codebook")
    shipped = checkpoint.read_card(CHECKPOINTS / "world_codebook")
    assert (card.fingerprint, card.former_ids, card.kind) == (shipped.fingerprint, shipped.former_ids, "Codebook")
    assert same_id(old, model.codebook_id, model.former_ids)
    before = (tmp_path / "codebook/card.json").read_bytes()
    assert convert_runs.main([str(tmp_path)]) == 0
    assert (tmp_path / "codebook/card.json").read_bytes() == before
    assert "0 folders and files converted" in capsys.readouterr().out.splitlines()[-1]


def test_a_checkpoint_names_its_converted_parent_and_the_parents_former_id(tmp_path: Path):
    old = old_checkpoint(tmp_path / "codebook")
    old_checkpoint(tmp_path / "child")
    card = json.loads((tmp_path / "child/card.json").read_text(encoding="utf-8"))
    (tmp_path / "child/card.json").write_text(json.dumps(card | {"parents": {"codebook": old}}), encoding="utf-8")
    assert convert_runs.main([str(tmp_path)]) == 0
    child, parent = (checkpoint.read_card(tmp_path / name) for name in ("child", "codebook"))
    assert child.parents == {"codebook": parent.fingerprint}
    assert child.former_ids[parent.fingerprint] == [old]


def test_an_altered_checkpoint_is_refused_by_name_and_stays_as_it_is(tmp_path: Path, capsys):
    old_checkpoint(tmp_path / "codebook")
    file = tmp_path / "codebook/config.yaml"
    altered = file.read_text(encoding="utf-8").replace("codes: 16", "codes: 17")
    file.write_text(altered, encoding="utf-8")
    assert convert_runs.main([str(tmp_path)]) == 1
    assert "was altered" in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == altered


def test_a_run_gets_its_configuration_its_saved_settings_and_its_fingerprint(tmp_path: Path):
    old = old_checkpoint(tmp_path / "run/checkpoint")
    run = BEFORE[0]["config"]
    settings = {"model": run["model"], "training": run["training"], "batches": run["batches"], "init": old}
    (tmp_path / "run/config.yaml").write_text(to_yaml(run), encoding="utf-8")
    (tmp_path / "run/metrics.json").write_text(json.dumps({"fingerprint": old}), encoding="utf-8")
    (tmp_path / "run/resume").mkdir()
    (tmp_path / "run/resume/settings.yaml").write_text(to_yaml(settings), encoding="utf-8")
    assert convert_runs.main([str(tmp_path)]) == 0
    fingerprint = checkpoint.read_card(tmp_path / "run/checkpoint").fingerprint
    saved = from_yaml((tmp_path / "run/resume/settings.yaml").read_text(encoding="utf-8"))
    now = compose("train_codebook", ["data=world", "seed=3", "out=runs/x"]).plain()
    assert {name: saved[name] for name in ("model", "training")} == {name: now[name] for name in ("model", "training")}
    assert saved["init"] == fingerprint
    assert json.loads((tmp_path / "run/metrics.json").read_text(encoding="utf-8"))["fingerprint"] == fingerprint
    texts = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert convert_runs.main([str(tmp_path)]) == 0
    assert texts == {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}


def test_a_folder_that_is_not_there_is_named(capsys):
    assert convert_runs.main(["nowhere"]) == 2
    assert "there is no folder nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("interrupted", ["write_text", "write_card"])
def test_a_conversion_that_was_interrupted_is_finished_by_the_next_one(tmp_path: Path, monkeypatch, interrupted: str):
    old = old_checkpoint(tmp_path / "codebook")

    def stopped(*arguments) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if interrupted == "write_text":  # the card is new, the configuration is not
            write_card = convert_runs.write_card
            patch.setattr(convert_runs, "write_card", lambda *given: (write_card(*given), stopped()))
        else:
            patch.setattr(convert_runs, "write_card", stopped)
        with pytest.raises(KeyboardInterrupt):
            convert_runs.main([str(tmp_path)])
    assert convert_runs.main([str(tmp_path)]) == 0
    model, _ = checkpoint.load(tmp_path / "codebook")
    assert same_id(old, model.codebook_id, model.former_ids)


@pytest.mark.parametrize(
    ("name", "text"),
    [("card.json", "["), ("card.json", "[]"), ("config.yaml", "a: ["), ("config.yaml", "a: &a {b: *a}")],
)
def test_a_broken_folder_is_refused_by_name_and_the_others_are_converted(tmp_path: Path, capsys, name: str, text: str):
    old_checkpoint(tmp_path / "broken")
    (tmp_path / "broken" / name).write_text(text, encoding="utf-8")
    old_checkpoint(tmp_path / "whole")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/model.safetensors").touch()
    assert convert_runs.main([str(tmp_path)]) == 1
    checkpoint.load(tmp_path / "whole")
    refused = [line for line in capsys.readouterr().err.splitlines() if line.startswith("refused: ")]
    assert len(refused) == 1 and "broken" in refused[0]


def test_a_card_of_something_else_is_left_alone_and_no_card_takes_anothers_former_id(tmp_path: Path, capsys):
    (tmp_path / "card.json").write_text('{"face":{"eyes":"blue"}}', encoding="utf-8")
    old = old_checkpoint(tmp_path / "codebook")
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil/model.safetensors").touch()
    (tmp_path / "evil/config.yaml").write_text("{}", encoding="utf-8")
    claim = {"kind": "x", "fingerprint": "evil", "weights_sha256": "", "format": 2, "former_ids": {"evil": [old]}}
    (tmp_path / "evil/card.json").write_text(json.dumps(claim), encoding="utf-8")
    old_checkpoint(tmp_path / "child")
    card = json.loads((tmp_path / "child/card.json").read_text(encoding="utf-8"))
    (tmp_path / "child/card.json").write_text(json.dumps(card | {"parents": {"codebook": old}}), encoding="utf-8")
    assert convert_runs.main([str(tmp_path)]) == 1
    assert "both claim to have been" in capsys.readouterr().err
    assert (tmp_path / "card.json").read_text(encoding="utf-8") == '{"face":{"eyes":"blue"}}'
    assert checkpoint.read_card(tmp_path / "child").parents == {"codebook": old}
