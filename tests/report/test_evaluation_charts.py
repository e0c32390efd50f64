"""What the page shows of an evaluation."""

import numpy as np
from PIL import Image

from latentdrive.report.runs import read_runs
from latentdrive.report.sections import run_section
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


def test_an_evaluation_shows_its_scores_with_intervals_its_audit_and_its_pictures(tmp_path):
    folder = write_run(tmp_path / "a", "evaluate", metrics=METRICS, scorer="epdms_v2.2")
    (folder / "pictures").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "pictures" / "01_t.png")
    (run,) = read_runs([folder])
    section = run_section(run, None, [])
    scores, hidden = section.charts["What was measured"]
    assert dict(zip(scores.data[0]["y"], scores.data[0]["x"])) == {"score": 0.8, "ego progress": 0.9}
    assert scores.data[0]["error_x"]["arrayminus"] == [0.1, 0.0]
    assert "over 40 scenes" in scores.caption and "Scenes that failed count as 0, here 2." in scores.caption
    assert dict(zip(hidden.data[0]["y"], hidden.data[0]["x"])) == {"standing still": 0.25}
    assert section.facts["score"] == "epdms_v2.2" and len(section.pictures) == 1
    assert section.pictures[0].startswith("data:image/jpeg;base64,")
