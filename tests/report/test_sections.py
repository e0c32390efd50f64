"""What a section shows of a run's numbers."""

import numpy as np
import pytest

from latentdrive.config import to_yaml
from latentdrive.report.dictionary_section import dictionary_section
from latentdrive.report.runs import read_runs
from latentdrive.report.sections import run_section
from tests.support.report import make_dictionary, write_curve, write_run

CODEBOOK = {
    "held_out/share_of_copy": 0.5,
    "held_out/cost_ego_shuffled": 0.4,
    "held_out/cost_copy": 1.0,
    "held_out/ego_perplexity": 9.0,
    "held_out/ego_perplexity_slot_0": 1.5,
    "held_out/ego_perplexity_slot_1": 8.0,
    "probe/ego codes/yaw change/linear": 0.8,
    "probe/present frame/yaw change/linear": 0.1,
    "probe/ego codes/forward displacement/linear": 0.61,
}


def section_of(run, dictionary=None):
    (read,) = read_runs([run])
    return run_section(read, dictionary, [])


def charts(section):
    return {chart.title: chart for group in section.charts.values() for chart in group}


def test_errors_are_shown_as_shares_of_copying(tmp_path):
    shown = charts(section_of(write_run(tmp_path / "a", "train_codebook", metrics=CODEBOOK)))["Do the codes matter?"]
    bar = shown.data[0]
    assert dict(zip(bar["y"], bar["x"])) == {
        "true codes": 0.5,
        "ego codes of another clip": 0.7,
        "copy the present frame": 1.0,
    }


def test_a_slot_below_the_threshold_has_another_colour(tmp_path):
    shown = charts(section_of(write_run(tmp_path / "a", "train_codebook", metrics=CODEBOOK)))["Ego codes in use"]
    paint = dict(zip(shown.data[0]["x"], shown.data[0]["marker"]["color"]))
    assert paint["slot 1"] == paint["all slots"] != paint["slot 0"]


def test_the_leakage_matrix_has_a_row_for_each_input_and_gaps_where_nothing_was_measured(tmp_path):
    shown = charts(section_of(write_run(tmp_path / "a", "train_codebook", metrics=CODEBOOK)))
    cells = shown["What leaks where (a linear fit)"].data[0]
    assert cells["y"] == ["ego codes", "present frame"] and cells["z"][0][:2] == [0.61, 0.8]
    assert cells["z"][1][:3] == [None, 0.1, None]


def test_a_number_below_its_aim_is_listed_with_the_distance(tmp_path):
    misses = section_of(write_run(tmp_path / "a", "train_codebook", metrics=CODEBOOK)).misses
    assert misses == ["ego codes in use, poorest slot: 1.50; the aim is at least 3, missed by 1.50"]


def test_a_transplant_is_shown_with_the_r2_of_the_reader_itself(tmp_path):
    transplants = {
        f"probe/transplant/{target}/{key}": value
        for target in ("forward displacement", "yaw change")
        for key, value in (("correlation_with_code", 0.9), ("correlation_with_frame", 0.1), ("reader_r2", 0.8))
    }
    shown = charts(section_of(write_run(tmp_path / "a", "train_codebook", metrics=CODEBOOK | transplants)))
    chart = shown["Does a code mean the same elsewhere?"]
    assert [bar["y"] for bar in chart.data] == [[0.9, 0.9], [0.1, 0.1]]
    assert "R² 0.80 for forward displacement, 0.80 for yaw change" in chart.caption


@pytest.mark.parametrize(
    ("model", "level", "text"), [({"codes": 8}, [np.log(8)], "2.08 is a guess among 8"), ({}, [], "")]
)
def test_the_level_of_a_guess_is_that_of_the_runs_codes(tmp_path, model, level, text):
    run = write_run(tmp_path / "a", "train_teacher", metrics={"held_out/nats": 1.0})
    (run / "config.yaml").write_text(to_yaml({"verb": "train_teacher", "model": model}))
    (chart,) = section_of(run).charts["What was measured"]
    assert [line["y0"] for line in chart.layout.get("shapes", [])] == pytest.approx(level)
    assert text in chart.caption


def test_training_and_held_out_curves_share_a_chart_with_shuffled_codes(tmp_path):
    run = write_run(tmp_path / "a", "train_codebook")
    for tag in (
        "train/ego/share_of_copy",
        "held_out/ego/share_of_copy",
        "held_out/ego/share_shuffled",
        "held_out/ego/perplexity_slot_0",
    ):
        write_curve(run, tag, [1.0, 0.5])
    section = section_of(run)
    (shown,) = section.charts["How training went"]
    assert [line["name"] for line in shown.data] == ["training", "held-out, codes of another clip", "held-out"]
    assert section.notes == ["This run has not finished; its log so far is shown."]


@pytest.mark.parametrize("verb", ["train_teacher", "distill", "label", "world", "a_verb_of_tomorrow"])
def test_every_kind_of_run_has_a_section_whatever_it_measured(tmp_path, verb):
    section = section_of(write_run(tmp_path / "a", verb, metrics={"held_out/nats": 2.0, "held_out/top1_slot_03": 0.5}))
    assert section.kind == verb.replace("_", " ") and section.facts["command"] == f"latentdrive {verb}"


def test_a_code_is_named_by_what_the_car_does_when_it_appears():
    section = dictionary_section(make_dictionary(), scale_known=True)
    names = {card.code: card.name for card in section.cards}
    assert names[0] == "as usual" and names[1].endswith("left") and names[2].endswith("right")
    assert "turns 5.7° left (usually goes straight)" in section.cards[1].meaning
    assert section.unused == [3]


def test_what_follows_a_code_is_named_with_its_share():
    cards = dictionary_section(make_dictionary(), scale_known=True).cards
    assert [(code, share) for code, _, share in cards[2].followers] == [
        (1, pytest.approx(2 / 3)),
        (0, pytest.approx(1 / 3)),
    ]


def test_without_poses_and_flow_pictures_alone_explain_the_codes():
    section = dictionary_section(make_dictionary(poses=False, flow=False), scale_known=True)
    assert "no poses" in section.intro
    assert all((card.fan, card.flow, card.meaning) == ("", "", "") and card.strips for card in section.cards)


def test_the_page_says_that_metres_of_estimated_poses_are_a_guess():
    assert "metres are a guess" in dictionary_section(make_dictionary(), scale_known=False).intro


def test_usage_is_shown_slot_by_slot():
    chart = dictionary_section(make_dictionary(), scale_known=True).charts[0]
    np.testing.assert_allclose(np.array(chart.data[0]["z"], float), [[1 / 3, 1 / 3, 1 / 3, 0]] * 2, atol=1e-4)
