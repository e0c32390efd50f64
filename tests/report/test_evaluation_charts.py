"""What the page shows of an evaluation, and of two compared with each other."""

import numpy as np
from PIL import Image

from latentdrive.evaluation.comparison import compare
from latentdrive.report.charts import GREEN, GREY, ORANGE
from latentdrive.report.comparison_section import comparison_section
from latentdrive.report.runs import read_runs
from latentdrive.report.sections import run_section
from tests.support.evaluation import make_results
from tests.support.report import write_run

METRICS = {
    "evaluate/score": 0.8,
    "evaluate/score_low": 0.7,
    "evaluate/score_high": 0.85,
    "evaluate/ego_progress": 0.9,
    "evaluate/ego_progress_low": 0.9,
    "evaluate/ego_progress_high": 0.9,
    "audit/standing_still": 0.25,
    "evaluate/failed": 2.0,
    "evaluate/scenes": 40.0,
}
DRIVES = [f"d{number // 2}" for number in range(20)]


def test_an_evaluation_shows_its_scores_with_intervals_its_audit_and_its_pictures(tmp_path):
    folder = write_run(tmp_path / "a", "evaluate", metrics=METRICS, scorer="epdms_v2.2")
    (folder / "pictures").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "pictures" / "01_t.png")
    (run,) = read_runs([folder])
    section = run_section(run, None, [])
    scores, hidden = section.charts["What was measured"]
    assert dict(zip(scores.data[0]["y"], scores.data[0]["x"])) == {"score": 0.8, "ego progress": 0.9}
    assert scores.data[0]["error_x"]["arrayminus"] == [0.1, 0.0]
    assert "over 40 scenes" in scores.caption and "the 2 scenes that failed count as 0" in scores.caption
    assert dict(zip(hidden.data[0]["y"], hidden.data[0]["x"])) == {"standing still": 0.25}
    assert section.facts["score"] == "epdms_v2.2" and len(section.pictures) == 1
    assert section.pictures[0].startswith("data:image/jpeg;base64,")


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
