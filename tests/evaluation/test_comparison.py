"""Two evaluations, paired by token: which differences are shown, which are not, and which pairs are
refused."""

import numpy as np
import pytest

from latentdrive.errors import ConfigError
from latentdrive.evaluation.comparison import compare, compare_folders, is_shown
from latentdrive.evaluation.scores_file import SCORES, write_scores
from latentdrive.evaluation.summary import SUMMARY, as_text, devkit_mean, flat, intervals, read_evaluation, summarise
from latentdrive.evaluation.terminal import score_table
from latentdrive.pdms.versions import Version
from tests.support.evaluation import make_results

DRIVES = [f"d{number // 2}" for number in range(20)]


def write(folder, results):
    folder.mkdir(parents=True)
    write_scores(folder / SCORES, results)
    (folder / SUMMARY).write_text(as_text(summarise(results, [], {})))
    return folder


def test_a_steady_difference_is_shown_though_the_scenes_differ_far_more():
    base = np.linspace(0.0, 0.9, 20)
    comparison = compare(
        make_results(base.tolist(), DRIVES), make_results((base + 0.05).tolist(), DRIVES), names=("a", "b")
    )
    total = comparison.differences["score"]
    assert total.mean == pytest.approx(0.05) and is_shown(total) and total.drives == 10
    assert (
        "b minus a, epdms_v2.2: +0.0500 [+0.0500, +0.0500] on 20 scenes of 10 drives (shown)" in comparison.sentence()
    )
    assert "sub-scores that differ: ego progress" in comparison.sentence()


def test_a_difference_whose_interval_contains_0_is_not_shown():
    rest = np.where(np.arange(20) // 2 % 2, 0.6, 0.4)  # by drive: better in half of them
    comparison = compare(make_results([0.5] * 20, DRIVES), make_results(rest.tolist(), DRIVES), names=("a", "b"))
    assert (
        not is_shown(comparison.differences["score"]) and "not shown: the interval contains 0" in comparison.sentence()
    )


def test_one_drive_alone_shows_nothing():
    comparison = compare(make_results([0.1, 0.2], ["d", "d"]), make_results([0.9, 0.9], ["d", "d"]), names=("a", "b"))
    assert not is_shown(comparison.differences["score"])
    assert comparison.sentence() == (
        "b minus a, epdms_v2.2: +0.7500 (one drive: no interval) on 2 scenes of 1 drive "
        "(not shown: one drive says nothing about others); no sub-score differs"
    )


def test_logs_of_one_recording_are_one_drive():
    logs = [f"2021.05.25.14.16.10_veh-35_{start:05d}_{start + 99:05d}" for start in (0, 200)]
    a, b = make_results([0.1, 0.2], logs), make_results([0.9, 0.9], logs)
    assert compare(a, b, names=("a", "b")).differences["score"].drives == summarise(a, [], {})["drives"] == 1


def test_one_drive_has_no_interval_in_a_file_or_on_the_terminal(tmp_path):
    results = make_results([0.25, 0.75], ["d", "d"])
    _, summary = read_evaluation(write(tmp_path / "a", results))
    assert summary["score"] == {"mean": 0.5, "low": None, "high": None, "scenes": 2, "drives": 1}
    numbers = flat(summary | {"audit": {}})
    assert numbers["evaluate/score"] == 0.5 and numbers["evaluate/score_low"] is numbers["evaluate/score_high"] is None
    text = score_table(summary)
    assert "epdms_v2.2, 2 scenes of 1 drive" in text and "1 drives" not in text
    assert "one drive: no interval" in text and "0.5000 to 0.5000" not in text
    earlier = {"mean": 0.5, "low": 0.5, "high": 0.5, "scenes": 2, "drives": 1}  # as earlier versions wrote it
    assert "0.5000 to 0.5000" not in score_table(summary | {"score": earlier})
    two = summarise(make_results([0.25, 0.75], ["d", "e"]), [], {})
    assert "0.2500 to 0.7500" in score_table(two) and flat(two)["evaluate/score_low"] == 0.25


def test_scenes_are_paired_by_token_and_the_others_are_counted():
    a = make_results([0.1, 0.2, 0.3], ["x", "y", "z"])
    b = make_results([0.9, 0.4], ["z", "x"], tokens=("t2", "t0"))
    comparison = compare(a, b, names=("a", "b"))
    assert comparison.scenes == 2 and comparison.only == (1, 0)
    assert comparison.means["score"] == pytest.approx((0.2, 0.65))
    assert comparison.differences["score"].mean == pytest.approx((0.3 + 0.6) / 2)


def test_a_sub_score_that_one_of_two_lacks_is_paired_without_that_scene():
    a = make_results([0.5] * 3, ["x", "y", "z"], two_frame_extended_comfort=[np.nan, 0.0, 0.0])
    b = make_results([0.5] * 3, ["x", "y", "z"], two_frame_extended_comfort=[1.0, 1.0, np.nan])
    comparison = compare(a, b, names=("a", "b")).differences["two_frame_extended_comfort"]
    assert comparison.values == 1 and comparison.mean == 1.0


def test_two_splits_are_refused():
    with pytest.raises(ConfigError, match="share no scene"):
        compare(make_results([0.1], ["x"]), make_results([0.1], ["x"], tokens=("other",)), names=("a", "b"))


def test_two_versions_are_refused_with_both_named(tmp_path):
    a = write(tmp_path / "a", make_results([0.5], ["d"]))
    b = write(tmp_path / "b", make_results([0.5], ["d"], version=Version.PDMS_V1_1))
    with pytest.raises(ConfigError, match=r"a was scored by epdms_v2\.2, .*b by pdms_v1\.1"):
        compare_folders(a, b)


def test_folders_of_the_same_name_get_different_short_names(tmp_path):
    folders = [write(tmp_path / name / "run", make_results([0.5], ["d"])) for name in ("a", "b")]
    assert compare_folders(*folders).names == ("a/run", "b/run")


def test_a_folder_without_an_evaluation_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no finished evaluation: summary\.json is missing"):
        compare_folders(tmp_path, tmp_path)


def test_a_summary_lists_failures_and_the_mean_that_the_devkit_prints(tmp_path):
    results = make_results(
        [0.6, 0.8, 0.0], ["d", "e", "f"], valid=np.array([True, True, False]), failures={"t2": "no map"}
    )
    again, summary = read_evaluation(write(tmp_path / "a", results))
    assert again.failures == summary["failures"] == {"t2": "no map"} and summary["failed"] == 1
    assert summary["score"]["mean"] == pytest.approx(1.4 / 3) and summary["score"]["drives"] == 3
    assert summary["devkit_mean_without_failed_scenes"] == pytest.approx(0.7) == devkit_mean(results)
    assert summary["scorer"] == "epdms_v2.2"


def test_intervals_resample_drives_and_leave_out_what_no_scene_has():
    results = make_results([0.0, 0.0, 1.0, 1.0], ["a", "a", "b", "b"], two_frame_extended_comfort=[np.nan] * 4)
    means = intervals(results.averaged())
    assert (means["score"].low, means["score"].high) == (0.0, 1.0) and "two_frame_extended_comfort" not in means
