"""Planners side by side: which may share a table, its numbers, and the notes where they cannot be
compared."""

import json
from dataclasses import replace

import numpy as np
import pytest

from latentdrive.evaluation.results import StageLinks
from latentdrive.evaluation.summary import write_evaluation_sums
from latentdrive.pdms.versions import Version
from latentdrive.planners.baselines.human import Human
from latentdrive.planners.baselines.pdm_closed import PdmClosed
from latentdrive.report.evaluations import HUMAN_DRIVER, PDM_CLOSED, groups_of, read_evaluations
from latentdrive.report.planners_section import planners_section
from latentdrive.report.runs import read_runs
from tests.support.evaluation import make_results
from tests.support.report import write_evaluation, write_run

DRIVES = ["d", "d", "e", "e"]
LATENCY = {
    "batch": 8,
    "ms_per_scene_median": 2.0,
    "ms_per_scene_p95": 3.0,
    "ms_batch_1_median": 12.5,
    "ms_batch_1_p95": 20.0,
    "device": "cpu",
    "threads": 2,
}


def grouped(folder, warn=print):
    return groups_of(read_evaluations(read_runs([folder]), warn=warn))


def names(group):
    return [member.name for member in group.members]


def test_versions_and_splits_never_share_a_table(tmp_path):
    write_evaluation(tmp_path / "a", make_results([0.5] * 4, DRIVES))
    write_evaluation(tmp_path / "b", make_results([0.6] * 4, DRIVES))
    write_evaluation(tmp_path / "old", make_results([0.5] * 4, DRIVES, version=Version.PDMS_V1_1))
    write_evaluation(tmp_path / "test", make_results([0.5] * 4, DRIVES), split="test")
    elsewhere = make_results(
        [0.5] * 4, DRIVES, tokens=("u0", "u1", "u2", "u3")
    )  # of another data set, under the same split's name
    write_evaluation(tmp_path / "other", elsewhere)
    links = StageLinks(original=np.array([-1, -1, 0, 1]), weight=np.ones(4))
    write_evaluation(tmp_path / "stages", make_results([0.5] * 4, DRIVES, links=links))
    groups = {tuple(sorted(names(group))): group for group in grouped(tmp_path)}
    assert set(groups) == {("a", "b"), ("old",), ("test",), ("other",), ("stages",)}
    assert names(groups["a", "b"]) == ["b", "a"]  # the best first
    assert groups[("old",)].title == "pdms_v1.1 on val" and groups[("stages",)].title == "epdms_v2.2 on val, two stages"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("planner", "PdmClosed"),
        ("planner_class", 5),
        ("split", ["val"]),
        ("latency", {"device": "cpu"}),
        ("latency", LATENCY | {"ms_batch_1_p95": "x"}),
        ("latents", [1]),
        ("score", 0.5),
        ("score", {"mean": 0.5}),
        ("sub_scores", {"ego_progress": None}),
        ("scenes", "four"),
        ("drives", None),
    ],
)
def test_a_summary_with_an_entry_of_another_kind_is_left_out_and_named(tmp_path, key, value):
    write_evaluation(tmp_path / "a", make_results([0.5] * 4, DRIVES))
    odd = write_evaluation(tmp_path / "odd", make_results([0.6] * 4, DRIVES))
    file = odd / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    write_evaluation_sums(odd)
    warnings = []
    (group,) = grouped(tmp_path, warn=warnings.append)
    assert names(group) == ["a"] and planners_section(group, None).table.rows
    (warning,) = warnings
    assert "left out of the tables" in warning and f"summary.json is damaged ({key}" in warning


def test_the_table_holds_the_numbers_of_the_summary(tmp_path):
    scores = make_results([0.4, 0.4, 0.8, 0.8], DRIVES, two_frame_extended_comfort=[np.nan] * 4)
    write_evaluation(tmp_path / "a", scores, planner="Made", latency=LATENCY)
    failed = replace(
        scores,
        score=np.array([0.0, 0.1, 0.0, 0.1]),
        valid=np.array([True, True, False, True]),
        failures={"t2": "no map"},
    )
    write_evaluation(tmp_path / "b", failed)
    (group,) = grouped(tmp_path)
    section = planners_section(group, None)
    table = section.table
    first, second = (dict(zip(table.columns, row.cells)) for row in table.rows)
    assert [(row.name, row.planner) for row in table.rows] == [("a", "Made"), ("b", "StandStill")]
    assert first["score"] == ("0.6000", "0.4000 to 0.8000") and first["ego progress"] == ("0.600", "")
    assert "two frame extended comfort" not in table.columns  # no scene has it
    assert first["scenes"] == ("4", "2 drives") and (first["failed (as 0)"][0], second["failed (as 0)"][0]) == (
        "0",
        "1",
    )
    assert first["ms for one scene"] == ("12.5", "p95 20") and second["ms for one scene"] == ("–", "")
    assert section.facts["latency measured on"] == "cpu, 2 threads" and section.notes == []


def test_charts_have_intervals_and_dash_planners_without_latency(tmp_path):
    results = make_results([0.4, 0.4, 0.8, 0.8], DRIVES)
    write_evaluation(tmp_path / "a", results, latency=LATENCY)
    write_evaluation(tmp_path / "b", results, planner="Human")
    (group,) = grouped(tmp_path)
    latency, bars = planners_section(group, None).charts["Score, latency and sub-scores"]
    (point,) = [trace for trace in latency.data if trace["mode"] == "markers"]
    (level,) = [trace for trace in latency.data if trace["mode"] == "lines"]
    assert (point["name"], point["x"], point["y"]) == ("a", [12.5], [pytest.approx(0.6)])
    assert latency.layout["xaxis"]["type"] == "log"
    assert point["error_y"]["array"] == pytest.approx([0.2]) and point["error_y"]["arrayminus"] == pytest.approx([0.2])
    assert level["name"] == "b" and level["y"] == pytest.approx([0.6, 0.6]) and level["line"]["dash"] == "dash"
    assert latency.layout["xaxis"]["ticktext"] == ["5", "10", "20"]  # from 12.5 / 3 to 12.5 * 3
    place = bars.data[0]["x"].index("ego progress")
    assert [trace["name"] for trace in bars.data] == ["a", "b"] and bars.data[0]["y"][place] == 0.6
    assert bars.data[0]["error_y"]["array"][place] == 0.2
    assert bars.data[0]["marker"]["color"] == point["marker"]["color"] == point["error_y"]["color"]


def test_a_planner_that_reads_a_store_has_no_point_in_the_latency_chart(tmp_path):
    """The latency of a planner that reads a store leaves out the network that filled it."""
    results = make_results([0.4, 0.4, 0.8, 0.8], DRIVES)
    write_evaluation(tmp_path / "live", results, latency=LATENCY, latents={"origin": "student"})
    write_evaluation(tmp_path / "store", results, latency=LATENCY, latents={"origin": "teacher", "store": "f"})
    (group,) = grouped(tmp_path)
    section = planners_section(group, None)
    latency, _ = section.charts["Score, latency and sub-scores"]
    drawn = {trace["name"]: trace["mode"] for trace in latency.data}
    assert drawn == {"live": "markers", "store": "lines"}
    cells = {row.name: dict(zip(section.table.columns, row.cells))["ms for one scene"] for row in section.table.rows}
    assert cells == {"live": ("12.5", "p95 20"), "store": ("12.5", "p95 20, without the network that filled its store")}


def test_without_any_latency_there_is_no_picture_of_it(tmp_path):
    for name in ("a", "b"):
        write_evaluation(tmp_path / name, make_results([0.5], ["d"]))
    (group,) = grouped(tmp_path)
    section = planners_section(group, None)
    assert [chart.title for chart in section.charts["Score, latency and sub-scores"]] == ["Sub-scores"]
    columns = dict(zip(section.table.columns, section.table.rows[0].cells))
    assert columns["score"] == ("0.5000", "one drive: no interval") and columns["scenes"] == ("1", "1 drive")
    (chart,) = section.charts["Score, latency and sub-scores"]
    assert set(chart.data[0]["error_y"]["array"]) == {None}  # no whiskers


def test_planners_that_know_the_future_are_marked_and_are_no_rivals(tmp_path):
    def write(name, score, **more):
        write_evaluation(tmp_path / name, make_results([score] * 4, DRIVES), **more)

    write("human", 0.9, planner="Human")
    write("closed", 0.95, privileged=True)
    write("oracle", 0.85, oracle_future=True)
    write("control", 0.7, latents={"permuted": 0, "store": "f"})
    write("worst", 0.1)
    write("seed_0", 0.5, planner_class="IPad")
    write("seed_1", 0.6, planner_class="IPad")
    (group,) = grouped(tmp_path)
    rows = {row.name: row for row in planners_section(group, None).table.rows}
    marks = {name: row.marks for name, row in rows.items() if row.marks}
    assert marks == {
        "human": ["privileged"],
        "closed": ["privileged"],
        "oracle": ["oracle future"],
        "control": ["permuted embeddings"],
    }
    assert rows["seed_0"].planner == rows["seed_1"].planner == "IPad"  # seeds stay apart
    assert [rival.name for rival in group.rivals()] == ["seed_1", "seed_0"]


def test_the_steps_of_refined_plans_have_a_column_where_a_planner_refines(tmp_path):
    refined = replace(
        make_results([0.0, 0.9, 0.0, 0.9], DRIVES), steps=np.full(4, 6.0), movement=np.array([1, 0, 1, 0.0])
    )
    write_evaluation(tmp_path / "anytime", refined)
    write_evaluation(tmp_path / "at_once", make_results([0.5] * 4, DRIVES))
    (group,) = grouped(tmp_path)
    table = planners_section(group, None).table
    cells = {row.name: row.cells[-1] for row in table.rows}
    assert table.columns[-1] == "steps of refinement" and cells["at_once"] == ("–", "")
    assert cells["anytime"][0] == "6.0" and cells["anytime"][1].startswith("movement tells failures: AUROC 1.00")


def test_the_names_of_privileged_planners_are_those_of_their_classes(tmp_path):
    """Folders of older runs name the class and say no more."""
    assert {HUMAN_DRIVER, PDM_CLOSED} == {Human.__name__, PdmClosed.__name__}
    for name in ("Human", "PdmClosed", "StandStill"):
        write_evaluation(tmp_path / name, make_results([0.5], ["d"]), planner=name)
    (group,) = grouped(tmp_path)
    assert {member.name for member in group.members if member.privileged} == {"Human", "PdmClosed"}
    assert [member.name for member in group.members if member.is_human_driver] == ["Human"]


def test_where_only_the_privileged_are_left_they_are_the_rivals(tmp_path):
    for name, score in (("human", 0.9), ("still", 0.5)):
        write_evaluation(tmp_path / name, make_results([score] * 4, DRIVES), privileged=name == "human")
    (group,) = grouped(tmp_path)
    assert [rival.name for rival in group.rivals()] == ["human", "still"]


def test_planners_scored_on_other_scenes_are_marked_with_a_note(tmp_path):
    for name in ("a", "b"):
        write_evaluation(tmp_path / name, make_results([0.5] * 4, DRIVES))
    write_evaluation(tmp_path / "limited", make_results([0.9, 0.9], ["d", "d"]))
    (group,) = grouped(tmp_path)
    section = planners_section(group, None)
    assert {row.name: row.marks for row in section.table.rows} == {"limited": ["other scenes"], "a": [], "b": []}
    assert (
        "limited 2, a 4, b 4; 2 in common" in section.notes[0]
        and "means of limited can't be compared" in section.notes[0]
    )


def test_latencies_of_two_devices_get_a_note(tmp_path):
    for name, device in (("a", "cpu"), ("b", "NVIDIA H100")):
        write_evaluation(tmp_path / name, make_results([0.5], ["d"]), latency=LATENCY | {"device": device})
    (group,) = grouped(tmp_path)
    assert "different devices (NVIDIA H100, cpu)" in planners_section(group, None).notes[0]


def test_a_damaged_evaluation_and_another_run_are_left_out_and_named(tmp_path):
    write_evaluation(tmp_path / "a", make_results([0.5], ["d"]))
    broken = write_evaluation(tmp_path / "b", make_results([0.5], ["d"]))
    (broken / "summary.json").write_text("{")
    write_run(tmp_path / "codebook", "train_codebook", metrics={})
    warnings = []
    assert [names(group) for group in grouped(tmp_path, warnings.append)] == [["a"]]
    assert "/b is left out of the tables:" in warnings[0] and "is damaged" in warnings[0]


def test_a_planner_no_better_than_one_that_sees_nothing_is_named_and_privileged_ones_are_not(tmp_path):
    for name, score, planner in (("fused", 0.2, "Transfuser"), ("straight", 0.3, "ConstantVelocity")):
        write_evaluation(tmp_path / name, make_results([score] * 4, DRIVES), planner=planner)
    write_evaluation(tmp_path / "human", make_results([0.1] * 4, DRIVES), planner=HUMAN_DRIVER)
    (group,) = grouped(tmp_path)
    assert planners_section(group, None).misses == [
        "fused scores 0.2000; the aim is more than straight, which sees nothing and scores 0.3000"
    ]
