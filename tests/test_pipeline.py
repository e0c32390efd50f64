"""Steps of a pipeline: what a folder says about its step, which steps are pending, and what is removed for them."""

from pathlib import Path

import pytest

from latentdrive.config import from_yaml, to_yaml
from latentdrive.errors import ConfigError
from latentdrive.pipeline import State, Step, pending, remove_outdated
from latentdrive.run_folder import CONFIG, METRICS


@pytest.fixture
def steps(tmp_path: Path) -> list[Step]:
    """Three reports, of which the second one makes a page elsewhere."""
    return [
        Step(
            name=name,
            verb="report",
            overrides=(f"title={name}",),
            out=tmp_path / name,
            makes=tmp_path / "page.html" if name == "second" else None,
        )
        for name in ("first", "second", "third")
    ]


def leave(step: Step, *, metrics: bool = True) -> None:
    """What a run of the step leaves behind."""
    step.out.mkdir(parents=True, exist_ok=True)
    (step.out / CONFIG).write_text(to_yaml(step.cfg))
    if metrics:
        (step.out / METRICS).write_text('{"metrics": {}}')
        if step.makes is not None:
            step.makes.touch()


def test_a_step_is_the_command_that_anybody_could_type(steps, tmp_path):
    assert steps[0].words == ["report", "title=first", f"out={tmp_path / 'first'}"]
    assert steps[0].cfg.command == f"latentdrive report title=first out={tmp_path / 'first'}"
    odd = Step(name="odd", verb="report", overrides=(), out=tmp_path / "a, b's [1]")
    assert odd.cfg.out == str(tmp_path / "a, b's [1]")


def test_an_override_that_the_verb_does_not_have_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="unknown key titel; did you mean title"):
        _ = Step(name="x", verb="report", overrides=("titel=x",), out=tmp_path).cfg


def test_the_folder_says_how_far_a_step_has_come(steps):
    step = steps[1]
    assert step.state is State.MISSING
    leave(step, metrics=False)
    assert step.state is State.BEGUN
    leave(step)
    assert step.state is State.FINISHED
    step.makes.unlink()
    assert step.state is State.BEGUN
    leave(step)
    content = from_yaml((step.out / CONFIG).read_text())
    (step.out / CONFIG).write_text(to_yaml(content | {"title": "another"}))
    assert step.state is State.STALE


def test_a_class_that_moved_to_another_module_is_no_other_configuration(tmp_path):
    step = Step(name="doctor", verb="doctor", overrides=("data=world",), out=tmp_path / "doctor")
    leave(step)
    file = step.out / CONFIG
    target = step.cfg.data.plain()["_target_"]
    file.write_text(file.read_text().replace(target, f"latentdrive.elsewhere.{target.rpartition('.')[2]}"))
    assert target not in file.read_text() and step.state is State.FINISHED


def test_every_step_after_one_that_is_not_finished_is_pending(steps):
    assert pending(steps) == steps
    for step in steps:
        leave(step)
    assert pending(steps) == []
    (steps[1].out / METRICS).unlink()
    assert pending(steps) == steps[1:]


def test_only_a_first_step_that_can_be_resumed_keeps_its_folder(steps):
    for step in steps:
        leave(step)
    (steps[0].out / METRICS).unlink()
    assert remove_outdated(steps) == ["second", "third"]
    assert steps[0].out.is_dir() and not steps[1].makes.exists()
    (steps[0].out / CONFIG).write_text("title: another\n")
    assert remove_outdated(steps) == ["first"] and remove_outdated(steps) == []


@pytest.mark.parametrize("damaged", [b"", b"a: [", b"- a", b"title: \xff", b"day: 2001-13-45"])
def test_a_configuration_that_cannot_be_read_is_stale(steps, damaged):
    leave(steps[0])
    (steps[0].out / CONFIG).write_bytes(damaged)
    assert steps[0].state is State.STALE


@pytest.mark.parametrize("damaged", [b"", b'{"metrics": {', b"{}", b"[1]", b"\xff"])
def test_numbers_that_cannot_be_read_are_removed_and_the_step_is_begun(steps, damaged):
    leave(steps[0])
    (steps[0].out / METRICS).write_bytes(damaged)
    assert steps[0].state is State.BEGUN and pending(steps) == steps
    assert remove_outdated(steps) == []
    assert (steps[0].out / CONFIG).exists() and not (steps[0].out / METRICS).exists()


def test_a_folder_that_is_a_link_is_refused_and_nothing_is_removed(steps, tmp_path):
    for step in steps:
        leave(step)
    (steps[0].out / CONFIG).write_text("title: another\n")
    steps[0].out.rename(tmp_path / "elsewhere")
    steps[0].out.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"first is a link to a folder.*remove the link"):
        remove_outdated(steps)
    assert (tmp_path / "elsewhere" / METRICS).exists() and steps[2].state is State.FINISHED
