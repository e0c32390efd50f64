"""What the page shows of two evaluations compared with each other."""

import numpy as np

from latentdrive.evaluation.comparison import compare
from latentdrive.report.charts import GREEN, GREY, ORANGE
from latentdrive.report.comparison_section import comparison_section
from tests.support.evaluation import make_results

DRIVES = [f"d{number // 2}" for number in range(20)]


def test_one_drive_is_drawn_without_whiskers_and_shows_nothing():
    a, b = make_results([0.1, 0.2], ["d", "d"]), make_results([0.9, 0.9], ["d", "d"])
    section = comparison_section(compare(a, b, names=("old", "new")))
    differences, _ = section.charts["What differs"]
    assert set(differences.data[0]["error_x"]["array"]) == {None} and set(differences.data[0]["marker"]["color"]) == {
        GREY
    }
    assert section.facts["score"] == "+0.7500 (one drive: no interval), 2 scenes of 1 drive, not shown"


def test_a_comparison_colours_what_is_shown_and_greys_what_is_not():
    base = np.linspace(0.2, 0.8, 20)
    a = make_results(base.tolist(), DRIVES, lane_keeping=np.ones(20), history_comfort=np.arange(20) // 2 % 2)
    b = make_results(
        (base + 0.1).tolist(), DRIVES, lane_keeping=np.zeros(20), history_comfort=1 - np.arange(20) // 2 % 2
    )
    section = comparison_section(compare(a, b, names=("old", "new")))
    differences, means = section.charts["What differs"]
    paint = dict(zip(differences.data[0]["y"], differences.data[0]["marker"]["color"]))
    assert (paint["score"], paint["lane keeping"], paint["history comfort"]) == (GREEN, ORANGE, GREY)
    assert section.title == "new against old" and section.kind == "comparison"
    assert section.facts["score"] == "+0.1000 [+0.1000, +0.1000], 20 scenes of 10 drives, shown"
    assert section.facts["history comfort"].endswith("not shown")
    assert [trace["name"] for trace in means.data] == ["old", "new"] and section.facts["score by"] == "epdms_v2.2"
