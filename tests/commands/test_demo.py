"""The demo's bookkeeping: what is finished, what has to be made again, and the commands that it prints."""

import json
import re
import shutil
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from latentdrive import pipeline
from latentdrive.commands import demo
from latentdrive.config import compose, to_yaml
from latentdrive.data.latent_store import LatentWriter, Windows
from latentdrive.errors import ConfigError
from latentdrive.stages.best import KEPT_STEP
from latentdrive.types import LatentActions, Origin
from tests.support.demo import DEMO_STEPS
from tests.support.latent import make_info


class Interrupted(Exception):
    """Stands for Ctrl+C."""


@pytest.fixture(scope="module")
def compose_once():
    """Composing takes most of the time, and most configurations are composed by several tests."""
    return cache(lambda name, *overrides: compose(name, overrides))


@pytest.fixture
def walked(tmp_path, monkeypatch, compose_once):
    """Runs the demo with verbs that only leave their metrics and what they make; returns the steps that ran, in order.

    fails: the name of the step in which it is interrupted.
    """
    ran, interrupted_step = [], [""]
    monkeypatch.chdir(tmp_path)  # relative paths, so that the tests share composed configurations

    def verb(cfg):
        out = Path(cfg.out)
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.yaml").write_text(to_yaml(cfg))
        if cfg.out == f"walk/{interrupted_step[0]}":
            raise Interrupted
        for key in ("path", "store", "page"):
            if key in cfg and cfg[key] is not None and not ("preview" in cfg and cfg.preview):
                made = Path(cfg[key])
                assert not made.exists()
                made.mkdir(parents=True)
        (out / "metrics.json").write_text(json.dumps({"command": cfg.command, "metrics": {"held_out/nats": 1.5}}))
        ran.append(out.name)

    monkeypatch.setattr(pipeline, "compose", lambda name, overrides: compose_once(name, *overrides))
    for module in (demo.world, demo.train, demo.label, demo.evaluate, demo.report):
        monkeypatch.setattr(module, "run", verb)

    def walk(*overrides, fails=""):
        ran.clear()
        interrupted_step[0] = fails
        with pytest.raises(Interrupted) if fails else nullcontext():
            demo.run(compose("demo", ["demo=smoke", "out=walk", *overrides]))
        return list(ran)

    return walk, Path("walk")


ALL = list(DEMO_STEPS)


def test_every_step_runs_once(walked):
    walk, _ = walked
    assert walk() == ALL
    assert walk() == []


def test_a_step_that_is_missing_is_made_again_with_all_that_follow(walked):
    walk, out = walked
    walk()
    shutil.rmtree(out / "teacher")
    assert walk() == ALL[5:]


@pytest.mark.parametrize(("made", "first"), [("data/world", 0), ("stores/teacher", 6), ("report.html", len(ALL) - 1)])
def test_a_step_whose_work_is_missing_is_made_again_with_all_that_follow(walked, made, first):
    walk, out = walked
    walk()
    (out / made).rmdir()
    assert walk() == ALL[first:]


def test_a_step_with_other_settings_is_made_again_with_all_that_follow_and_says_so(walked, capsys):
    walk, _ = walked
    walk()
    assert walk("demo.teacher=['training.schedule.steps=9']") == ALL[5:]
    assert f"no longer fits, removed: {', '.join(ALL[5:])}" in capsys.readouterr().out
    assert walk("demo.teacher=['training.schedule.steps=9']") == []
    assert walk("demo.teacher=['training.schedule.steps=9']", "seed=1") == ALL


def test_a_number_that_has_changed_in_the_yaml_files_counts_as_another_setting(walked):
    walk, out = walked
    walk()
    file = out / "codebook" / "config.yaml"
    file.write_text(file.read_text().replace("commitment: 0.25", "commitment: 0.5"))
    assert walk() == ALL[3:]


def test_an_interrupted_step_goes_on_and_what_follows_is_made_from_it(walked, capsys):
    walk, out = walked
    walk()
    changed = "demo.codebook=['training.schedule.ego=3']"
    walk(changed, fails="codebook")
    assert [path.name for path in (out / "stores").iterdir()] == []  # nothing that the next codebook did not make
    capsys.readouterr()
    (out / "codebook" / "resume").mkdir()
    assert walk(changed) == ALL[3:]
    assert (out / "codebook" / "resume").is_dir() and "removed" not in capsys.readouterr().out


def test_a_dry_run_prints_the_commands_and_runs_nothing(walked, capsys):
    walk, _ = walked
    assert walk("dry_run=true") == []
    output = capsys.readouterr().out
    assert f"Step {len(ALL)} of {len(ALL)}" in output and "latentdrive train teacher" in output


def test_the_numbers_at_the_end_are_those_of_the_runs(walked):
    walk, out = walked
    walk()
    assert demo.summary(out) == ["the teacher's surprise by the true codes is 1.50 nats a slot"]


def write_labels(out, name, origin, codes, times):
    """Held-out labels as a step of the demo writes them."""
    info = make_info(origin=origin, codes=4, transitions=1, codes_per_transition=2)
    latents = LatentActions(
        codes=torch.tensor(codes),
        environment=None,
        logits=None,
        features=None,
        codebook_id=info.codebook_id,
        origin=origin,
    )
    windows = Windows(
        keys=["clip"],
        drives=["drive"],
        clip=np.zeros(len(times), int),
        t0_s=np.array(times),
        latents=latents,
        known=np.ones((len(times), len(info.known)), bool),
    )
    writer = LatentWriter(out / "stores" / name / "val", info)
    writer.add(windows, next_clip=1, unreadable=[])
    writer.finish()


def test_agreement_is_told_decoding_alone_beside_both_guesses(tmp_path):
    """The share in which the student is given the teacher's codes (held_out/top1) is no headline."""
    times = [0.0, 0.5, 1.0, 1.5]
    write_labels(tmp_path, "codebook", Origin.INVERSE_DYNAMICS, [[0, 1], [0, 1], [0, 2], [3, 3]], times)
    write_labels(tmp_path, "teacher", Origin.TEACHER, [[0, 1], [0, 0], [0, 0], [0, 0]], times)
    write_labels(tmp_path, "student", Origin.STUDENT, [[0, 1], [1, 1], [1, 1], [1, 1]], times)
    for name in ("teacher", "student"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps({"metrics": {"held_out/top1": 0.93}}))
    assert list(demo._agreement_lines(tmp_path)) == [
        "the teacher names 50.0% of the codes of what happened, decoding alone (always the most frequent code 62.5%, "
        "the last transition repeated 62.5%, known in 75% of the windows)",
        "the student names 25.0% of the teacher's codes, decoding alone (always the most frequent code 87.5%, the last "
        "transition repeated 75.0%, known in 75% of the windows)",
        "the student names 37.5% of the codes of what happened, decoding alone (always the most frequent code 62.5%, "
        "the last transition repeated 62.5%, known in 75% of the windows)",
    ]


def test_weights_that_were_kept_because_the_loss_rose_are_told(tmp_path):
    for name in ("codebook", "teacher", "student"):
        (tmp_path / name).mkdir()
        numbers = {KEPT_STEP: 150.0} if name == "teacher" else {}
        (tmp_path / name / "metrics.json").write_text(json.dumps({"metrics": numbers}))
    told = list(demo._predictor_lines(tmp_path))
    assert told == ["the teacher's held-out loss rose: its checkpoint holds the weights of step 150"]


def test_each_step_is_one_line_with_the_time_that_is_left(walked, capsys):
    walk, _ = walked
    walk()
    lines = capsys.readouterr().out.splitlines()
    steps = [line for line in lines if line.startswith("Step ")]
    assert lines[: len(ALL)] == steps and [line.split(",")[0] for line in steps] == [
        f"Step {number:>2} of {len(ALL)}" for number in range(1, len(ALL) + 1)
    ]
    assert all(re.match(r"Step .* of 15, about \d+ (s|min) left: ", line) for line in steps)
    assert sum(line.startswith("Next: ") for line in lines) == 1 and lines[-1].startswith("Next: ")


def test_every_step_has_a_measured_time(walked):
    for name in ("smoke", "default"):
        assert list(compose("demo", [f"demo={name}"]).demo.seconds) == ALL


def test_a_folder_with_other_runs_is_left_alone(walked):
    walk, out = walked
    (out / "codebook/checkpoint").mkdir(parents=True)
    with pytest.raises(ConfigError, match="holds folders that no demo made"):
        walk()
    assert (out / "codebook/checkpoint").is_dir()


def test_a_dry_run_before_is_no_other_run(walked):
    walk, _ = walked
    assert walk("dry_run=true") == []
    assert walk() == ALL


@pytest.mark.parametrize("damaged", ["", '{"metrics": {', "{}"])
def test_a_step_whose_numbers_are_damaged_is_made_again_with_all_that_follow(walked, damaged):
    walk, out = walked
    walk()
    (out / "teacher" / "metrics.json").write_text(damaged)
    assert walk() == ALL[5:]
    assert walk() == []


@pytest.mark.parametrize("damaged", [b"", b"- demo", b"verb: [", b"\xff"])
def test_a_folder_whose_configuration_cannot_be_read_counts_as_no_demo(walked, damaged):
    walk, out = walked
    (out / "codebook").mkdir(parents=True)
    (out / "config.yaml").write_bytes(damaged)
    with pytest.raises(ConfigError, match="holds folders that no demo made"):
        walk()
