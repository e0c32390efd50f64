"""The scenes in which two planners differ most. Where data are gone, the page says so and shows the
numbers."""

import numpy as np

from latentdrive.evaluation.trajectories_file import TRAJECTORIES, write_trajectories
from latentdrive.report.evaluations import read_evaluations
from latentdrive.report.gallery import gallery, most_different
from latentdrive.report.run_data import RunData
from latentdrive.report.runs import read_runs
from latentdrive.types import Trajectory
from tests.support.evaluation import make_results
from tests.support.report import write_evaluation


def allowed(folder):
    return RunData(True, caches=folder / "cache")


def pair(folder):
    return read_evaluations(read_runs([folder / "a", folder / "b"]), warn=print)


def test_the_largest_differences_come_first_whoever_is_better():
    a = make_results([0.1, 0.9, 0.5, 0.5], ["d", "e", "f", "g"])
    b = make_results([0.3, 0.2, 0.5, 1.0], ["d", "e", "f", "g"])
    assert most_different(a, b, 6) == [(1, 1), (3, 3), (0, 0)]  # 0.7, 0.5, 0.2; t2 does not differ
    assert most_different(a, b, 2) == [(1, 1), (3, 3)] and most_different(a, b, 0) == []


def test_scenes_are_paired_by_token_and_failed_ones_are_left_out():
    a = make_results([0.0, 0.6, 0.6], ["d", "e", "f"], valid=np.array([False, True, True]), failures={"t0": "no"})
    b = make_results([0.1, 1.0, 1.0], ["f", "d", "x"], tokens=("t2", "t0", "elsewhere"))
    assert most_different(a, b, 6) == [(2, 0)]


def test_among_equal_differences_drives_take_turns():
    a, b = (make_results([score] * 6, ["d", "d", "d", "e", "e", "f"]) for score in (0.0, 1.0))
    assert [row for row, _ in most_different(a, b, 4)] == [0, 3, 5, 1]


def test_sub_scores_that_differ_are_listed_with_both_values(tmp_path):
    write_evaluation(
        tmp_path / "a", make_results([0.2], ["d"], lane_keeping=[1.0], two_frame_extended_comfort=[np.nan])
    )
    write_evaluation(tmp_path / "b", make_results([0.7], ["d"], lane_keeping=[0.0]))
    shown = gallery(*pair(tmp_path), allowed(tmp_path), count=6, why="Two.")
    (scene,) = shown.scenes
    assert shown.names == ("a", "b") and shown.about.startswith("Two. ") and "1 of 1 that both have" in shown.about
    assert scene.scores == (0.2, 0.7) and (scene.token, scene.drive) == ("t0", "d")
    assert scene.differing == [
        ("ego progress", "0.20", "0.70"),
        ("lane keeping", "1.00", "0.00"),
        ("two frame extended comfort", "none", "1.00"),
    ]


def test_without_plans_or_prepared_scenes_the_numbers_are_shown_with_the_reason(tmp_path):
    for name, score in (("a", 0.2), ("b", 0.7)):
        write_evaluation(tmp_path / name, make_results([score], ["d"]))
    shown = gallery(*pair(tmp_path), allowed(tmp_path), count=6, why="")
    assert [TRAJECTORIES in note and "is missing" in note for note in shown.notes] == [True, True]
    assert shown.scenes[0].picture == "" and shown.scenes[0].scores == (0.2, 0.7)
    for name in ("a", "b"):
        still = {"t0": Trajectory(poses=np.zeros((8, 3)), dt_s=0.5)}
        write_trajectories(tmp_path / name / TRAJECTORIES, still)
    (note,) = gallery(*pair(tmp_path), allowed(tmp_path), count=6, why="").notes
    assert note.startswith("Scenes can't be drawn:")


def test_two_that_agree_everywhere_have_no_gallery(tmp_path):
    for name in ("a", "b"):
        write_evaluation(tmp_path / name, make_results([0.5], ["d"]))
    assert gallery(*pair(tmp_path), allowed(tmp_path), count=6, why="") is None
