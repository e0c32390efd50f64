"""The command line: verbs, overrides, sweeps, help, and what it says when something is wrong."""

import subprocess
import sys

import pytest

from latentdrive import cli

QUICK = ("features=pixels", "model.width=16", "model.heads=2", "dry_run=true")


def test_importing_the_command_line_takes_neither_torch_nor_hydra():
    code = (
        "import latentdrive.cli, sys; print([m for m in ('torch', 'hydra', 'omegaconf', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("words", [[], ["--help"], ["help"]])
def test_without_a_verb_all_verbs_are_listed_in_the_order_of_the_walk(words, capsys):
    cli.main(words)
    shown = capsys.readouterr().out
    places = [shown.index(f"  {verb}") for verb in cli.VERBS]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("typed", "near"), [("reprot", "report"), ("train codebok", "train codebook"), ("distil", "distill")]
)
def test_an_unknown_verb_gets_the_nearest_one_and_status_2(typed, near, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(typed.split())
    assert stopped.value.code == 2
    assert f"unknown verb {typed!r}; did you mean {near!r}?" in capsys.readouterr().err


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_says_what_the_verb_does_what_it_needs_and_its_options(verb, capsys):
    cli.main([*verb.split(), "--help"])
    shown = capsys.readouterr().out
    assert cli.VERBS[verb][2] in shown and f"latentdrive {verb}" in shown and "out=FOLDER" in shown


def test_help_lists_the_options_of_a_group_with_their_first_sentence(capsys):
    cli.main(["train", "codebook", "--help"])
    shown = capsys.readouterr().out
    assert "data=..." in shown and "  video                Any driving video" in shown
    assert "with true poses of the camera and the car's own speed\n" in shown  # a sentence over two lines
    assert shown.count("latentdrive train codebook: ") == 1


def failure(verb, overrides, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.run_verb(verb, overrides)
    assert stopped.value.code == 1
    return capsys.readouterr().err


def test_an_unknown_key_gets_the_nearest_one(capsys):
    output = failure("train codebook", ["model.widht=3"], capsys)
    assert output.startswith("latentdrive train codebook: unknown key model.widht; did you mean model.width?")


def test_an_unknown_option_lists_what_there_is(capsys):
    output = failure("train codebook", ["data=vidoe"], capsys)
    options = "comma2k19, kitti, navhard, navsim, scenarios, video, world"
    assert f"data=vidoe: there is no such option, data may be {options}; did you mean data=video?" in output


def test_a_value_that_nobody_gave_is_asked_for_by_its_name(capsys):
    assert "data.path has no value: give it on the command line, as data.path=..." in failure(
        "train codebook", ["data=video"], capsys
    )


def test_a_key_that_nobody_reads_is_an_error(capsys, tmp_path):
    output = failure("train codebook", [*QUICK, f"out={tmp_path}", "+favourite_colour=blue"], capsys)
    assert "nothing reads favourite_colour" in output


def test_cfg_job_prints_the_configuration_and_runs_nothing(latentdrive, tmp_path):
    done = latentdrive("train", "codebook", "seed=7", "--cfg", "job")
    assert done.returncode == 0 and "seed: 7" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_every_run_of_a_sweep_gets_a_folder_and_a_command_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = []
    monkeypatch.setattr("latentdrive.commands.report.run", lambda cfg: commands.append((cfg.out, cfg.command)))
    cli.run_verb("report", ["-m", "seed=3,4", "out=both"])
    assert commands == [
        ("both/0", "latentdrive report seed=3 out=both"),
        ("both/1", "latentdrive report seed=4 out=both"),
    ]


@pytest.mark.parametrize("path", ["runs/a", "runs/it's, here", "runs/lr=0.1", "runs/ä (b)[1]"])
def test_bare_paths_of_report_arrive_as_they_were_typed(path, tmp_path, monkeypatch):
    (tmp_path / path).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    runs = []
    monkeypatch.setattr("latentdrive.commands.report.run", lambda cfg: runs.append(cfg.runs))
    cli.main(["report", path, "title=mine"])
    assert runs == [[path]]


def test_a_full_disk_is_said_in_a_sentence(monkeypatch, capsys):
    def full(cfg):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("latentdrive.commands.report.run", full)
    assert "the disk is full while writing a file; what was there before is intact" in failure("report", [], capsys)


def test_an_interruption_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(cfg):
        raise KeyboardInterrupt

    monkeypatch.setattr("latentdrive.commands.report.run", interrupted)
    with pytest.raises(SystemExit) as stopped:
        cli.run_verb("report", [])
    assert stopped.value.code == 130
    said = capsys.readouterr().err
    assert "what is complete is kept. To go on: latentdrive report out=runs/report/20" in said


def test_an_error_that_nobody_foresaw_keeps_its_traceback(monkeypatch):
    def bug(cfg):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("latentdrive.commands.report.run", bug)
    with pytest.raises(ZeroDivisionError):
        cli.run_verb("report", [])


@pytest.mark.parametrize("named", ["runs/a run/checkpoint", "ltf"])
def test_a_planners_folder_stands_for_the_option_that_opens_it(named, tmp_path, monkeypatch):
    from latentdrive.commands import evaluate

    monkeypatch.chdir(tmp_path)
    (tmp_path / "ltf").mkdir()
    seen = []
    monkeypatch.setattr(evaluate, "run", lambda cfg: seen.append(cfg.planner.folder))
    cli.main(["evaluate", f"planner={named}"])
    assert seen == [named]


def test_a_network_that_is_yet_to_be_trained_cannot_be_evaluated(capsys, tmp_path):
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "planner=ego_mlp", f"out={tmp_path}/out", f"data.path={tmp_path}"])
    assert "train it with latentdrive train planner" in capsys.readouterr().err


def test_a_planner_that_learns_nothing_cannot_be_trained(capsys, tmp_path):
    with pytest.raises(SystemExit):
        cli.main(["train", "planner", "planner=human", f"out={tmp_path}/out"])
    assert "learns nothing, it is only evaluated" in capsys.readouterr().err


def test_help_lists_of_planners_only_what_the_verb_takes(capsys):
    cli.main(["evaluate", "--help"])
    evaluates = capsys.readouterr().out
    cli.main(["train", "planner", "--help"])
    trains = capsys.readouterr().out
    assert "  human " in evaluates and "  ltf_tiny " not in evaluates
    assert "  ltf_tiny " in trains and "  human " not in trains
