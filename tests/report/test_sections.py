"""The section of a run, whatever it measured."""

import pytest

from latentdrive.config import to_yaml
from latentdrive.report.runs import read_runs
from latentdrive.report.sections import run_section
from tests.support.report import write_curve, write_run


def section_of(run):
    (read,) = read_runs([run])
    return run_section(read, None, [])


def test_a_number_below_its_aim_is_listed_with_the_distance(tmp_path):
    run = write_run(tmp_path / "a", "train_codebook", metrics={"held_out/ego_perplexity_slot_0": 1.5})
    assert section_of(run).misses == ["ego codes in use, poorest slot: 1.50; the aim is at least 3, missed by 1.50"]


def test_an_unfinished_run_shows_its_curves_with_a_note(tmp_path):
    run = write_run(tmp_path / "a", "train_codebook")
    write_curve(run, "train/loss", [1.0, 0.5])
    section = section_of(run)
    assert list(section.charts) == ["How training went"]
    assert section.notes == ["This run has not finished; its log so far is shown."]


@pytest.mark.parametrize("verb", ["train_codebook", "train_teacher", "distill", "label", "world", "a_verb_of_tomorrow"])
def test_every_kind_of_run_has_a_section_whatever_it_measured(tmp_path, verb):
    section = section_of(write_run(tmp_path / "a", verb, metrics={"held_out/nats": 2.0, "held_out/top1_slot_03": 0.5}))
    assert section.kind == verb.replace("_", " ") and section.facts["command"] == f"latentdrive {verb}"


def test_a_teachers_chart_takes_the_number_of_codes_from_the_configuration(tmp_path):
    run = write_run(tmp_path / "a", "train_teacher", metrics={"held_out/nats": 1.0})
    (run / "config.yaml").write_text(to_yaml({"verb": "train_teacher", "model": {"codes": 8}}))
    (chart,) = section_of(run).charts["What was measured"]
    assert "a guess among 8 codes" in chart.caption
