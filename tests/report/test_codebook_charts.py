"""Charts of a codebook's numbers."""

from latentdrive.report.codebook_charts import codebook_charts

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


def charts(**more: float) -> dict:
    return {chart.title: chart for chart in codebook_charts(CODEBOOK | more)}


def test_errors_are_shown_as_shares_of_copying():
    (bar,) = charts()["Do the codes matter?"].data
    assert dict(zip(bar["y"], bar["x"])) == {
        "true codes": 0.5,
        "ego codes of another clip": 0.7,
        "copy the present frame": 1.0,
    }


def test_a_slot_below_the_threshold_has_another_colour():
    (bar,) = charts()["Ego codes in use"].data
    paint = dict(zip(bar["x"], bar["marker"]["color"]))
    assert paint["slot 1"] == paint["all slots"] != paint["slot 0"]


def test_the_leakage_matrix_has_a_row_for_each_input_and_gaps_where_nothing_was_measured():
    (cells,) = charts()["What leaks where (a linear fit)"].data
    assert cells["y"] == ["ego codes", "present frame"] and cells["z"][0][:2] == [0.61, 0.8]
    assert cells["z"][1][:3] == [None, 0.1, None]


def test_a_transplant_is_shown_with_the_r2_of_the_reader_itself():
    transplants = {
        f"probe/transplant/{target}/{key}": value
        for target in ("forward displacement", "yaw change")
        for key, value in (("correlation_with_code", 0.9), ("correlation_with_frame", 0.1), ("reader_r2", 0.8))
    }
    chart = charts(**transplants)["Does a code mean the same elsewhere?"]
    assert [bar["y"] for bar in chart.data] == [[0.9, 0.9], [0.1, 0.1]]
    assert "R² 0.80 for forward displacement, 0.80 for yaw change" in chart.caption


def test_where_nothing_was_measured_there_is_no_chart():
    assert codebook_charts({}) == []
