"""The data that runs name are opened only where the person who reports allows it."""

import io
from pathlib import Path

import pytest
from rich.markup import render

from latentdrive.build import locate
from latentdrive.config import compose, configs_folder
from latentdrive.errors import ConfigError
from latentdrive.report.run_data import RUN_DATA, RunData
from latentdrive.report.runs import Run


def run(folder: Path) -> Run:
    return Run(path=folder, config={"verb": "train_codebook", "data": {"path": "/their/clips"}}, written={})


def test_one_question_stands_for_all_runs(tmp_path: Path):
    asked: list[str] = []
    run_data = RunData(None, caches=tmp_path, ask=lambda question: not asked.append(question))
    run_data.allow(run(tmp_path / "a"))
    run_data.allow(run(tmp_path / "b"))
    assert len(asked) == 1 and "/their/clips" in asked[0]


@pytest.mark.parametrize(("opens", "answer"), [(None, False), (False, True)])
def test_a_no_is_a_no(tmp_path: Path, opens, answer):
    with pytest.raises(ConfigError, match=r"/their/clips' were not opened; opens=true allows it"):
        RunData(opens, caches=tmp_path, ask=lambda _: answer).allow(run(tmp_path))


def test_where_nobody_can_answer_nothing_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(ConfigError, match="were not opened"):
        RunData(None, caches=tmp_path).allow(run(tmp_path))


def test_a_wrong_answer_in_the_configuration_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="opens=maybe: expected true, false or null"):
        RunData("maybe", caches=tmp_path)


@pytest.mark.parametrize("name", sorted(RUN_DATA.names))
def test_every_data_source_exists(name: str):
    assert isinstance(locate(name, RUN_DATA), type)


@pytest.mark.parametrize("option", sorted(path.stem for path in (configs_folder() / "data").glob("*.yaml")))
def test_every_data_set_can_be_opened_again(option: str):
    def targets(value) -> list[str]:
        if isinstance(value, list):
            return [name for entry in value for name in targets(entry)]
        if not isinstance(value, dict):
            return []
        own = [value["_target_"]] if "_target_" in value else []
        return own + [name for entry in value.values() for name in targets(entry)]

    cfg = compose("doctor", [f"data={option}", "data.path=clips"])
    assert set(targets(cfg.data.plain())) <= RUN_DATA.names


@pytest.mark.parametrize("data", [None, [], "clips", 3])
def test_a_configuration_of_another_form_is_named(tmp_path: Path, data):
    odd = Run(path=tmp_path, config={"verb": "train_codebook", "data": data}, written={})
    with pytest.raises(ConfigError, match="its configuration names no data"):
        RunData(True, caches=tmp_path).allow(odd)


def test_what_a_run_calls_its_data_can_not_write_to_the_terminal(tmp_path: Path):
    asked: list[str] = []
    odd = Run(path=tmp_path, config={"data": {"path": "[/red]\x1b[2J\n"}}, written={})
    RunData(None, caches=tmp_path, ask=lambda question: not asked.append(question)).allow(odd)
    assert "\x1b" not in asked[0] and "\n" not in asked[0] and render(asked[0]).plain.count("[/red]") == 1


def test_data_are_opened_in_this_process_and_kept_in_the_caches_of_who_reports(tmp_path: Path):
    node = compose("doctor", ["data=navsim", f"data.path={tmp_path}", "data.cache_folder=/theirs"]).data.plain()
    node["source"]["processes"] = 10_000
    data = RunData(True, caches=tmp_path / "mine").build(run(tmp_path), node)
    assert data.cache_folder == tmp_path / "mine"
    assert data._source.keywords["processes"] == 1 and data._source.keywords["cache_folder"] == str(tmp_path / "mine")
