"""The data that runs name are opened only where the person who reports allows it."""

import io
from pathlib import Path

import pytest

from latentdrive.build import RUN_DATA, locate
from latentdrive.config import compose, configs_folder
from latentdrive.errors import ConfigError
from latentdrive.report.run_data import RunData
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
    with pytest.raises(ConfigError, match=r"/their/clips were not opened; opens=true allows it"):
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
