"""Charts of teacher and student."""

import numpy as np
import pytest

from latentdrive.report.prediction_charts import student_charts, teacher_charts


@pytest.mark.parametrize(
    ("codes", "level", "text"),
    [(8, [np.log(8)], "2.08 is a guess among 8"), (None, [], "the logarithm of their number")],
)
def test_the_level_of_a_guess_is_that_of_the_runs_codes(codes, level, text):
    (chart,) = teacher_charts({"held_out/nats": 1.0}, codes)
    assert [line["y0"] for line in chart.layout.get("shapes", [])] == pytest.approx(level)
    assert text in chart.caption


def test_a_teacher_whose_surprise_was_not_measured_has_no_chart():
    assert teacher_charts({"held_out/one_pass_nats": 1.0}, 8) == []


def test_slots_of_a_student_are_shown_in_their_order_and_its_parameters_in_millions():
    agreement, size = student_charts(
        {
            "held_out/top1_slot_10": 0.9,
            "held_out/top1_slot_02": 0.8,
            "held_out/decoded_slot_10": 0.2,
            "held_out/decoded_slot_02": 0.5,
            "held_out/baseline_marginal_top1": 0.17,
            "parameters/backbone": 3e6,
        }
    )
    alone, given = agreement.data  # decoding alone comes first
    assert alone["x"] == ["slot 2", "slot 10"] and alone["y"] == [0.5, 0.2] and given["y"] == [0.8, 0.9]
    assert (alone["name"], given["name"]) == ("decoding alone", "given the teacher's earlier codes")
    assert [line["y0"] for line in agreement.layout["shapes"]] == [0.17]
    assert size.data[0]["y"] == [3.0]
