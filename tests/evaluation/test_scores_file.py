"""scores.csv starts with the devkit's columns, ends with an average, and reads back the same
numbers."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from latentdrive.errors import ConfigError
from latentdrive.evaluation.scores_file import read_scores, write_scores
from latentdrive.pdms.versions import Version
from tests.support.evaluation import make_results

V2_COLUMNS = [
    "token",
    "valid",
    "no_at_fault_collisions",
    "drivable_area_compliance",
    "driving_direction_compliance",
    "traffic_light_compliance",
    "ego_progress",
    "time_to_collision_within_bound",
    "lane_keeping",
    "history_comfort",
    "two_frame_extended_comfort",
    "score",
]
V1_COLUMNS = [
    "token",
    "valid",
    "no_at_fault_collisions",
    "drivable_area_compliance",
    "ego_progress",
    "time_to_collision_within_bound",
    "comfort",
    "driving_direction_compliance",
    "score",
]


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("version", "columns"), [(Version.EPDMS_V2_2, V2_COLUMNS), (Version.PDMS_V1_1, V1_COLUMNS)])
def test_the_devkits_columns_come_first_in_its_order(tmp_path, version, columns):
    write_scores(tmp_path / "scores.csv", make_results([0.5], ["d"], version=version))
    header = (tmp_path / "scores.csv").read_text().splitlines()[0].split(",")
    assert header[: len(columns)] == columns
    assert header[len(columns) :] == [
        "drive",
        "progress_m",
        "reference_progress_m",
        "collision_step",
        "collision_track",
        "ttc_step",
    ]


def test_the_last_row_is_the_average_with_failed_scenes_as_0(tmp_path):
    failed = make_results(
        [0.5, 0.7, 0.0],
        ["d", "d", "e"],
        valid=np.array([True, True, False]),
        failures={"t2": "no map"},
        two_frame_extended_comfort=[np.nan, 1.0, 0.0],
    )
    write_scores(tmp_path / "scores.csv", failed)
    *_, failed_row, average = rows_of(tmp_path / "scores.csv")
    assert failed_row["valid"] == "False" and float(failed_row["score"]) == 0.0
    assert average["token"] == "average_all_frames" and average["valid"] == "False"
    assert float(average["score"]) == pytest.approx(0.4)
    assert float(average["two_frame_extended_comfort"]) == 0.5  # of the two scenes that have one


def test_the_average_of_v1_has_the_name_of_v1(tmp_path):
    write_scores(tmp_path / "scores.csv", make_results([0.5], ["d"], version=Version.PDMS_V1_1))
    assert rows_of(tmp_path / "scores.csv")[-1]["token"] == "average"


def test_what_was_written_is_read_back_to_the_last_digit(tmp_path):
    written = make_results(
        [1 / 3, 0.1],
        ["a, b", "c"],
        collision_track=("cone", ""),
        collision_step=np.array([12, -1]),
        two_frame_extended_comfort=[np.nan, 1.0],
        valid=np.array([True, False]),
        failures={"t1": "NaN"},
        progress_m=np.array([np.nan, 2 / 3]),
    )
    write_scores(tmp_path / "scores.csv", written)
    again = read_scores(tmp_path / "scores.csv", written.version, written.failures)
    for name in ("tokens", "drives", "collision_track", "failures", "version"):
        assert getattr(again, name) == getattr(written, name)
    for name in ("score", "valid", "progress_m", "reference_progress_m", "collision_step", "ttc_step"):
        np.testing.assert_array_equal(getattr(again, name), getattr(written, name))
    for name, values in written.terms.items():
        np.testing.assert_array_equal(again.terms[name], values)


def test_a_file_of_another_version_is_refused(tmp_path):
    write_scores(tmp_path / "scores.csv", make_results([0.5], ["d"], version=Version.PDMS_V1_1))
    with pytest.raises(
        ConfigError, match=r"is not a result of epdms_v2\.2: it lacks the columns traffic_light_compliance"
    ):
        read_scores(tmp_path / "scores.csv", Version.EPDMS_V2_2, {})


def test_a_file_that_was_cut_is_refused(tmp_path):
    file = tmp_path / "scores.csv"
    write_scores(file, make_results([0.5, 0.6], ["d", "d"]))
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ConfigError, match="is cut short: expected average_all_frames in its last row"):
        read_scores(file, Version.EPDMS_V2_2, {})


@pytest.mark.parametrize(
    ("written", "changed", "reason"),
    [
        (",True,", ",TRUE,", "'TRUE' is neither True nor False"),
        (",0.25,", ",inf,", "inf is no finite number"),
        (",0.25,", ",1e400,", "1e400 is no finite number"),
        (",0.25,", ",nan,", "nan is no finite number"),
        ("\nt1,", "\nt0,", "the token t0 has several rows"),
    ],
)
def test_a_cell_that_no_evaluation_writes_is_refused(tmp_path, written, changed, reason):
    write_scores(tmp_path / "scores.csv", made := make_results([0.25, 0.5], ["a", "b"]))
    text = (tmp_path / "scores.csv").read_text()
    assert written in text
    (tmp_path / "scores.csv").write_text(text.replace(written, changed))
    with pytest.raises(ConfigError, match=reason):
        read_scores(tmp_path / "scores.csv", made.version, {})


def test_a_refined_plan_has_two_more_columns_that_read_back(tmp_path):
    results = make_results([0.5, 0.0], ["d", "e"])
    results = replace(results, steps=np.array([4.0, np.nan]), movement=np.array([1 / 3, np.nan]))
    write_scores(tmp_path / "scores.csv", results)
    assert [(row["steps"], row["movement"]) for row in rows_of(tmp_path / "scores.csv")[:2]] == [
        ("4.0", "0.3333333333333333"),
        ("", ""),
    ]
    read = read_scores(tmp_path / "scores.csv", results.version, {})
    np.testing.assert_array_equal(read.steps, results.steps)
    np.testing.assert_array_equal(read.movement, results.movement)
    write_scores(tmp_path / "scores.csv", make_results([0.5], ["d"]))
    assert read_scores(tmp_path / "scores.csv", results.version, {}).steps is None
