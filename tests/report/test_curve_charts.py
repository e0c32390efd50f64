"""Charts of what a training run logged."""

from latentdrive.report.curve_charts import curve_charts
from latentdrive.report.runs import read_runs
from tests.support.report import write_curve, write_run


def charts_of(tmp_path, *tags):
    run = write_run(tmp_path / "a", "train_codebook")
    for tag in tags:
        write_curve(run, tag, [1.0, 0.5])
    return curve_charts(*read_runs([run]))


def test_training_and_held_out_curves_share_a_chart_with_shuffled_codes(tmp_path):
    (chart,) = charts_of(
        tmp_path,
        "train/ego/share_of_copy",
        "held_out/ego/share_of_copy",
        "held_out/ego/share_shuffled",
        "held_out/ego/perplexity_slot_0",
    )
    assert [line["name"] for line in chart.data] == ["training", "held-out, codes of another clip", "held-out"]
    assert chart.title == "ego: share of copy" and [line["y0"] for line in chart.layout["shapes"]] == [1.0]


def test_a_quantity_is_explained_by_the_end_of_its_name(tmp_path):
    known, unknown = charts_of(tmp_path, "train/ego/perplexity", "train/a_quantity_of_tomorrow")
    assert "the number of codes is even use of all" in known.caption and unknown.caption == ""
