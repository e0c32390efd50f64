"""The demo's bookkeeping: what is finished, what has to be made again, and the commands that it prints."""

import json
from pathlib import Path

import pytest

from latentdrive.commands import demo
from latentdrive.commands.demo import finished, plan
from latentdrive.config import compose


@pytest.fixture
def walked(tmp_path, monkeypatch):
    """Runs the demo with verbs that only leave their metrics; returns the steps that were run, in order."""
    ran = []

    def verb(cfg):
        out = Path(cfg.out)
        out.mkdir(parents=True)
        (out / "metrics.json").write_text(json.dumps({"command": cfg.command, "metrics": {"held_out/nats": 1.5}}))
        ran.append(out.name)

    for module in (demo.world, demo.train, demo.label, demo.report):
        monkeypatch.setattr(module, "run", verb)

    def walk(*overrides):
        ran.clear()
        demo.run(compose("demo", ["demo=smoke", f"out={tmp_path / 'walk'}", *overrides]))
        return list(ran)

    return walk, tmp_path / "walk"


ALL = ["world", "codebook", "label_codebook", "teacher", "label_teacher", "student", "label_student", "report"]


def test_every_step_runs_once(walked):
    walk, _ = walked
    assert walk() == ALL
    assert walk() == []


def test_a_step_that_is_missing_is_made_again_with_all_that_follow(walked):
    walk, out = walked
    walk()
    (out / "teacher" / "metrics.json").unlink()
    (out / "teacher").rmdir()
    assert walk() == ALL[3:]


def test_a_dry_run_prints_the_commands_and_runs_nothing(walked, capsys):
    walk, _ = walked
    assert walk("dry_run=true") == []
    said = capsys.readouterr().out
    assert "Step 8 of 8" in said and "latentdrive train teacher" in said


def test_a_step_counts_as_finished_only_with_its_very_command(tmp_path):
    step = plan(compose("demo", ["demo=smoke", f"out={tmp_path}"]))[0]
    assert not finished(step.cfg)
    (tmp_path / "world").mkdir()
    for command, expected in ((step.cfg.command, True), (step.cfg.command + " seed=9", False)):
        (tmp_path / "world" / "metrics.json").write_text(json.dumps({"command": command}))
        assert finished(step.cfg) is expected


def test_the_numbers_at_the_end_are_those_of_the_runs(walked):
    walk, out = walked
    walk()
    assert demo.summary(out) == ["teacher's surprise by the true codes: 1.50 nats a slot"]
