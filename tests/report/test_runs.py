"""Which folders are runs, and what is read from them."""

import pytest

from latentdrive.errors import ConfigError
from latentdrive.report.runs import read_runs
from latentdrive.report.sections import run_section
from tests.support.report import write_curve, write_run


def test_runs_are_found_by_name_by_pattern_and_below_a_folder_each_once(tmp_path):
    a, b = (write_run(tmp_path / "runs" / name, "label", metrics={}) for name in ("a", "b"))
    for paths in ([a, b], [tmp_path / "runs"], [f"{tmp_path}/runs/*"], [a, tmp_path, b]):
        assert sorted(run.path.name for run in read_runs(paths)) == ["a", "b"]


def test_checkpoints_and_reports_below_a_run_are_no_runs(tmp_path):
    run = write_run(tmp_path / "demo" / "codebook", "train_codebook", metrics={})
    write_run(tmp_path / "demo" / "report", "report", metrics={})
    (run / "checkpoint").mkdir()
    (run / "checkpoint" / "config.yaml").write_text("_target_: x\nverb: y\n")
    assert [run.name for run in read_runs([tmp_path])] == ["demo/codebook"]


@pytest.mark.parametrize(
    ("make", "problem"), [(False, "it does not exist"), (True, r"it holds no config\.yaml with a verb")]
)
def test_a_path_that_is_not_a_run_is_refused_with_its_name(tmp_path, make, problem):
    if make:
        (tmp_path / "x").mkdir()
    with pytest.raises(ConfigError, match=f"x is not a run folder: {problem}"):
        read_runs([tmp_path / "x"])


def test_no_run_at_all_says_what_to_type():
    with pytest.raises(ConfigError, match="at least one run, for example: latentdrive report runs/"):
        read_runs([])


def test_a_damaged_metrics_file_is_named(tmp_path):
    (write_run(tmp_path / "a", "label") / "metrics.json").write_text("{")
    with pytest.raises(ConfigError, match=r"metrics\.json is not JSON"):
        read_runs([tmp_path])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seconds", "x"),
        ("seconds", 10**400),
        ("parts", []),
        ("parts", {"train": 3}),
        ("frames", 5),
        ("data", None),
        ("stores", ["a"]),
        ("metrics", [1]),
    ],
)
def test_a_metrics_file_with_an_entry_of_another_kind_is_named(tmp_path, key, value):
    write_run(tmp_path / "a", "label", metrics={}, **{key: value} if key != "metrics" else {})
    if key == "metrics":
        (tmp_path / "a/metrics.json").write_text('{"metrics": [1]}')
    with pytest.raises(ConfigError, match=rf"metrics\.json is not as a run wrote it \({key}="):
        read_runs([tmp_path])


def test_metrics_are_finite_numbers(tmp_path):
    odd = {"a": float("nan"), "b": 10**400, "c": "0.5", "d": None, "e": [1.0], "f": 2}
    (run,) = read_runs([write_run(tmp_path / "a", "train_codebook", metrics=odd)])
    assert run.metrics == {"f": 2.0}


@pytest.mark.parametrize("model", ["4", "[4]", "{codes: four}", "{codes: 0}", "{codes: .nan}"])
def test_a_number_of_codes_that_is_none_counts_as_unknown(tmp_path, model):
    run = write_run(tmp_path / "a", "train_teacher", metrics={"held_out/nats": 2.0, "kept/step": 3})
    (run / "config.yaml").write_text(f"verb: train_teacher\nmodel: {model}\n")
    (run,) = read_runs([run])
    assert run.codes is None and run_section(run, None, []).charts


@pytest.mark.parametrize(
    "text", ["- a\n- b\n", "just words", "", "verb: [train]\n", "model: {verb: label}\n", "a: [", "\x07"]
)
def test_a_configuration_of_somebody_else_is_passed_over(tmp_path, text):
    write_run(tmp_path / "mine", "label", metrics={})
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.yaml").write_text(text)
    warnings = []
    assert [run.path.name for run in read_runs([tmp_path], warn=warnings.append)] == ["mine"] and warnings == []


@pytest.mark.parametrize("content", [b"verb: [", b"\xff\xfe"])
def test_a_run_whose_configuration_is_damaged_is_left_out_and_named(tmp_path, content):
    write_run(tmp_path / "mine", "label", metrics={})
    (write_run(tmp_path / "hurt", "label", metrics={}) / "config.yaml").write_bytes(content)
    warnings = []
    assert [run.path.name for run in read_runs([tmp_path], warn=warnings.append)] == ["mine"]
    assert len(warnings) == 1 and f"left out: {tmp_path}/hurt/config.yaml can't be read as YAML" in warnings[0]


def test_an_unfinished_run_has_curves_and_no_metrics(tmp_path):
    run = write_run(tmp_path / "a", "train_codebook")
    write_curve(run, "train/loss", [3.0, 2.0])
    (read,) = read_runs([run])
    assert not read.finished and read.metrics == {} and read.verb == "train codebook"
    assert read.curves["train/loss"][1].tolist() == [3.0, 2.0]


def test_a_step_that_a_resumed_run_wrote_twice_counts_once(tmp_path):
    run = write_run(tmp_path / "a", "distill", metrics={"held_out/kl": 0.5, "note": "text is no number"})
    write_curve(run, "train/loss", [3.0, 2.0, 9.0])
    write_curve(run, "train/loss", [1.5, 1.0], first_step=2)
    (read,) = read_runs([run])
    assert read.curves["train/loss"][0].tolist() == [0, 1, 2, 3]
    assert read.metrics == {"held_out/kl": 0.5}


def test_values_logged_again_unchanged_after_their_phase_are_left_out(tmp_path):
    run = write_run(tmp_path / "a", "train_codebook")
    write_curve(run, "train/motion/share_of_copy", [1.0, 0.8, 0.8, 0.7, 0.7, 0.7])
    write_curve(run, "train/constant", [2.0, 2.0])
    (read,) = read_runs([run])
    assert read.curves["train/motion/share_of_copy"][0].tolist() == [0, 1, 2, 3]
    assert read.curves["train/constant"][0].tolist() == [0, 1]
