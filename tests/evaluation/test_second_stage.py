"""`latentdrive evaluate data=navhard` on a made-up folder: two stages are planned, scored and
joined by the split's mapping.

Every car drives east at 5 m/s on an empty street, so a plan at constant velocity ends 20 m ahead of
its start. Log "north" has scenes "now" (x = 10 m) and "previous" (x = 7.5 m), which end at 30 and
27.5 m; so has log "east". Of the two scenes that follow each, one starts there and drives on; the
other starts 0.3 m farther and looks across the street, which it leaves.
"""

import csv
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentdrive.commands import evaluate
from latentdrive.config import compose
from latentdrive.data.navsim.submission import read_submission
from latentdrive.data.pickles.reading import read_pickle
from latentdrive.data.pickles.writing import write_pickle
from latentdrive.errors import ConfigError, NoScenes
from latentdrive.evaluation.comparison import compare_folders
from latentdrive.evaluation.summary import read_evaluation
from latentdrive.pdms.score import epdms_total
from tests.support.map_file import FILE_VERSION, ORIGIN, PLACE, box, line, small_map, write_index, write_map_file
from tests.support.navsim_fixture import START_US, write_log, write_split
from tests.support.navsim_fixture import frame as logged
from tests.support.synthetic import detections, write_scene
from tests.support.synthetic import frame as imagined

STREET_M = 120.0
NOW, PREVIOUS = 4, 3  # frames of a log
NOBODY = {"boxes": np.zeros((0, 7)), "names": np.zeros(0, "<U1"), "velocity_3d": np.zeros((0, 3))}
NEAR = math.exp(-(0.3**2) / (2 * 0.1))  # the bell over 0.3 m
ONE, TWO = "_stage_one", "_stage_two"


def token(log: str, what: str) -> str:
    """16 characters for original scenes, 17 for synthetic ones, as in NAVSIM."""
    return f"{log}-{what}".ljust(16 if what in ("now", "previous") else 17, "_")


def road() -> dict[str, dict]:
    """The first lane of the small map, made long; nothing else of it is used."""
    layers = small_map()
    long = box(0, -2, STREET_M, 2)
    for name in ("lanes_polygons", "lane_groups_polygons"):
        shapes = layers[name]["geometry"]
        layers[name]["geometry"] = [long, *(box(9000 + 10 * k, 0, 9009 + 10 * k, 9) for k in range(1, len(shapes)))]
    layers["baseline_paths"]["geometry"][1] = line(*((x, 0) for x in np.linspace(0, STREET_M, 25)))
    return layers


def log_frame(log: str, k: int) -> dict[str, Any]:
    """Frame k at x = 2.5 k."""
    names = {PREVIOUS: token(log, "previous"), NOW: token(log, "now")}
    return logged(log, k) | {
        "token": names.get(k, f"{log}-{k}".ljust(16, "_")),
        "roadblock_ids": ["201"],
        "traffic_lights": [],
        "ego2global_translation": np.array([ORIGIN[0] + 2.5 * k, ORIGIN[1], 0.5]),
        "ego2global_rotation": np.array([1.0, 0.0, 0.0, 0.0]),
        "ego_dynamic_state": [5.0, 0.0, 0.0, 0.0],
        "anns": {f"gt_{name}": value for name, value in NOBODY.items()} | {"instance_tokens": [], "track_tokens": []},
    }


def follow(folder: Path, log: str, what: str, x: float, *, now: int, across: bool = False, **changed: Any) -> None:
    """A synthetic scene that starts at x, at the time of frame `now`."""
    heading, frames = math.pi / 2 if across else 0.0, []
    for k in range(4):
        behind = 2.5 * (k - 3)
        place = ORIGIN + np.array([x + behind * math.cos(heading), behind * math.sin(heading)])
        ego = {
            "ego_pose": np.array([*place, heading]),
            "ego_velocity": np.array([5.0, 0.0], np.float32),
            "ego_acceleration": np.zeros(2, np.float32),
            "driving_command": np.array([0, 1, 0, 0]),
            "in_global_frame": True,
        }
        frames.append(
            imagined(k)
            | {
                "timestamp": START_US + 500_000 * (now - 3 + k),
                "roadblock_ids": ["201"],
                "traffic_lights": [],
                "ego_status": ego,
                "annotations": NOBODY | {"instance_tokens": [], "track_tokens": []},
            }
        )
    later = {"extended_detections_tracks": [detections()] * 8, "extended_traffic_light_data": [], "frames": frames}
    write_scene(folder, token(log, what), token(log, what), **later | changed)


def entry(log: str, *followers: str) -> list[Any]:
    """An entry of the mapping, whose followers are numbered."""
    pairs = [[token(log, f"now{n}"), token(log, f"previous{n}")] for n in followers]
    return [token(log, "now"), token(log, "previous"), pairs]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two logs, their synthetic scenes, the map, and splits: both (whole), odd (with entries that
    can't be scored), single."""
    root = tmp_path_factory.mktemp("navhard")
    write_index(root / "maps")
    write_map_file(root / "maps" / PLACE / FILE_VERSION / "map.gpkg", road())
    folder, originals = root / "navhard_two_stage", []
    for log in ("north", "east"):
        write_log(root, log, [log_frame(log, k) for k in range(13)], data_split="test")
        originals += [token(log, what) for what in ("previous", "now")]
        for when, frame, end_m in (("now", NOW, 30.0), ("previous", PREVIOUS, 27.5)):
            follow(folder, log, f"{when}0", end_m, now=frame)
            follow(folder, log, f"{when}1", end_m + 0.3, now=frame, across=True)
    follow(folder, "north", "now2", 30.0, now=NOW, extended_detections_tracks=[{"boxes": []}] * 8)
    follow(folder, "north", "previous2", 27.5, now=PREVIOUS)
    follow(folder, "east", "now3", 30.0, now=NOW + 4)  # 2.5 s after its previous one
    follow(folder, "east", "previous3", 27.5, now=PREVIOUS)
    mappings = {
        "both": [entry("north", "0", "1"), entry("east", "0", "1")],
        "damaged": [entry("north", "0", "1", "2"), entry("east", "0", "1")],
        "odd": [entry("north", "0", "9"), entry("east", "0", "1")],
        "apart": [entry("north", "0", "1"), entry("east", "0", "3")],
        "hopeless": [entry("north", "0", "9"), entry("east")],
    }
    for name, mapping in mappings.items():
        more = f"reactive_all_mapping: {json.dumps(mapping)}\n"
        write_split(root / "splits", name, data_split="test", more=more, num_future_frames=8, tokens=originals)
    write_split(root / "splits", "single", data_split="test", num_future_frames=8, tokens=originals)
    listed = [token(log, f"{when}0") for log in ("north", "east") for when in ("now", "previous")]
    private = {"include_synthetic_scenes": True, "reactive_synthetic_initial_tokens": listed}
    write_split(
        root / "splits",
        "private",
        data_split="test",
        more="reactive_all_mapping: null\n",
        num_future_frames=8,
        tokens=originals,
        **private,
    )
    return root


@pytest.fixture(scope="module")
def score(home: Path) -> Callable[..., Path]:
    """Runs the verb in this process; returns its folder."""

    def call(name: str, *words: str) -> Path:
        settings = [
            "data=navhard",
            f"data.path={home / 'navhard_two_stage'}",
            f"data.splits={home / 'splits'}",
            "data.split.test=both",
        ]
        settings += ["processes=1", "data.scenes.processes=1", "device=cpu", "pictures=0", "human=false"]
        places = [f"out={home / name}", f"store={home / 'store'}", f"data.cache_folder={home / 'cache'}"]
        return evaluate.run(compose("evaluate", [*settings, *places, *words]))

    return call


@pytest.fixture(scope="module")
def both(score: Callable[..., Path], home: Path) -> Path:
    return score("both", "human=true", "pictures=1", f"submission={home / 'both.pkl'}")


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "scores.csv").open(newline="") as file:
        return {row["token"]: row for row in csv.DictReader(file)}


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def totals(folder: Path) -> list[float]:
    """Stage one, stage two, combined, as the file's last rows say."""
    table = rows(folder)
    names = ("stage_one", "stage_two", "combined")
    return [float(table[f"extended_pdm_score_{name}"]["score"]) for name in names]


def test_followers_are_weighted_by_how_near_they_start_to_the_plans_end(both: Path):
    table = rows(both)
    for log in ("north", "east"):
        for when in ("now", "previous"):
            weights = [float(table[token(log, f"{when}{n}")]["weight"]) for n in (0, 1)]
            assert weights == pytest.approx([1 / (1 + NEAR), NEAR / (1 + NEAR)], abs=1e-6)
            assert table[token(log, f"{when}0")]["follows"] == token(log, when)
            assert float(table[token(log, f"{when}1")]["score"]) == 0  # it leaves the street
            assert table[token(log, when)]["follows"] == "" and float(table[token(log, when)]["weight"]) == 1


def test_the_combined_score_is_the_first_stages_times_the_weighted_second_by_hand(both: Path):
    table, first, second = rows(both), [], []
    for log in ("north", "east"):
        for when in ("now", "previous"):
            first.append(float(table[token(log, when)]["score"]))
            second.append(float(table[token(log, f"{when}0")]["score"]) / (1 + NEAR))
    assert min(first) > 0.5 and min(second) > 0.3
    products = [original * followers for original, followers in zip(first, second)]
    assert totals(both) == pytest.approx([np.mean(first), np.mean(second), np.mean(products)], abs=1e-6)
    numbers = summary(both)
    assert [numbers[stage]["score"]["mean"] for stage in ("stage_one", "stage_two")] == pytest.approx(totals(both)[:2])
    assert numbers["score"]["mean"] == pytest.approx(totals(both)[2])
    assert numbers["score"] | {"scenes": 4, "drives": 2} == numbers["score"]  # of the first stage
    lane = [numbers[stage]["sub_scores"]["lane_keeping"]["mean"] for stage in ("stage_one", "stage_two")]
    assert lane[0] == 1.0 and numbers["sub_scores"]["lane_keeping"]["mean"] == pytest.approx(lane[1])


def test_rows_fill_the_columns_of_their_stage_and_each_score_is_that_of_its_sub_scores(both: Path):
    columns = {name.removesuffix(ONE) for name in next(iter(rows(both).values())) if name.endswith(ONE)}
    assert len(columns) == 9
    last = [name for name in rows(both) if name.startswith("extended_pdm")]
    assert (
        last
        == [f"extended_pdm_score_{name}" for name in ("stage_one", "stage_two", "combined")]
        == list(rows(both))[-3:]
    )
    for name, row in rows(both).items():
        if name in last:
            continue
        own, other = (ONE, TWO) if len(name) == 16 else (TWO, ONE)
        assert not any(row[column + other] for column in columns)
        terms = {column: np.float64(row[column + own]) for column in columns}
        assert float(row["score"]) == pytest.approx(epdms_total(terms))


def test_extended_comfort_is_that_of_the_pair_in_both_stages(both: Path):
    table = rows(both)
    for what, suffix in (("now", ONE), ("previous", ONE), ("now0", TWO), ("previous0", TWO), ("previous1", TWO)):
        assert float(table[token("north", what)][f"two_frame_extended_comfort{suffix}"]) == 1.0, what


def test_the_results_say_that_traffic_is_not_reactive(both: Path):
    assert "replayed from the log in both stages (non-reactive)" in summary(both)["mapping"]["traffic"]
    metrics = json.loads((both / "metrics.json").read_text())
    assert metrics["mapping"] == summary(both)["mapping"] and metrics["mapping"]["entries"] == 2
    assert metrics["metrics"]["evaluate/score_stage_two"] == pytest.approx(totals(both)[1])
    log = (both / "log.txt").read_text()
    assert "non-reactive" in log and "2 entries of the split's mapping" in log and "stage two" in log


def test_a_limit_counts_entries_of_the_mapping(score, capsys):
    score("limited", "limit=1", "dry_run=true")
    assert "6 scenes of 1 drive" in capsys.readouterr().out


def test_the_human_driver_is_scored_in_the_first_stage_alone(both: Path):
    numbers = summary(both)
    assert numbers["audit"]["progress_above_human"]["of"] == 4 and numbers["failed"] == 0


def test_the_tool_recomputes_the_written_file_and_it_reads_back(both: Path, monkeypatch, capsys):
    import rescore

    monkeypatch.setattr(sys, "argv", ["rescore.py", str(both / "scores.csv")])
    with pytest.raises(SystemExit) as ended:
        rescore.main()
    output = capsys.readouterr().out
    assert ended.value.code == 0 and "EPDMS, two stages; 12 valid rows" in output and "12 of 12 rows agree" in output
    results, numbers = read_evaluation(both)
    assert results.averaged().means()["score"] == numbers["score"]["mean"]
    assert results.stages()[1].means()["ego_progress"] == numbers["stage_two"]["sub_scores"]["ego_progress"]["mean"]


def test_a_submission_holds_both_stages_and_scores_as_the_planner_that_made_it(score, home: Path, both: Path):
    content = read_pickle(home / "both.pkl")
    lists = [content[f"{stage}_stage_predictions"][0] for stage in ("first", "second")]
    assert [len(predictions) for predictions in lists] == [4, 8] and {len(name) for name in lists[1]} == {17}
    assert len(read_submission(home / "both.pkl", seed=0).trajectories) == 12
    again = score("again", "planner=submission", f"planner.file={home / 'both.pkl'}")
    assert rows(again) == rows(both)


def test_a_scene_without_a_plan_scores_0_is_listed_and_keeps_its_weight(score, home: Path, both: Path):
    content = read_pickle(home / "both.pkl")
    del content["second_stage_predictions"][0][token("north", "now0")]
    write_pickle(home / "less.pkl", content)
    folder = score("less", "planner=submission", f"planner.file={home / 'less.pkl'}")
    numbers, table, before = summary(folder), rows(folder), rows(both)
    assert numbers["failed"] == 1 and "holds no trajectory for it" in numbers["failures"][token("north", "now0")]
    assert numbers["devkit_mean_without_failed_scenes"] is None
    lost = table[token("north", "now0")]
    assert lost["valid"] == "False" and float(lost["score"]) == 0
    assert all(row["weight"] == before[name]["weight"] for name, row in table.items())
    # The other scene of the pair loses its extended comfort, 2 of 16; nothing else changes.
    pair, was = (float(scores[token("north", "previous0")]["score"]) for scores in (table, before))
    assert was - pair == pytest.approx(2 / 16)
    gone = float(before[token("north", "now0")]["score"]) / (1 + NEAR)
    assert totals(both)[1] - totals(folder)[1] == pytest.approx((gone + (was - pair) / (1 + NEAR)) / 4, abs=1e-6)


def test_a_scene_that_cannot_be_prepared_scores_0_is_listed_and_keeps_its_weight(score, both: Path):
    folder = score("damaged", "data.split.test=damaged")
    numbers, table = summary(folder), rows(folder)
    assert (
        list(numbers["failures"]) == [token("north", "now2")]
        and "what others do" in numbers["failures"][token("north", "now2")]
    )
    weights = [float(table[token("north", f"now{n}")]["weight"]) for n in range(3)]
    assert weights == pytest.approx([1 / (2 + NEAR), NEAR / (2 + NEAR), 1 / (2 + NEAR)], abs=1e-6)
    assert table[token("east", "now")] == rows(both)[token("east", "now")]


@pytest.mark.parametrize(
    ("split", "name", "reason"),
    [
        ("odd", token("north", "now"), r"names 2 \(north-now9_*, north-previous9_*\) of 6 scenes that are not there"),
        ("apart", token("east", "now"), r"east-now3_* starts 2\.5 s after east-previous3_* \(1 of 3 pairs\)"),
    ],
)
def test_only_an_entry_that_cannot_be_scored_is_left_out_with_its_reason(
    score, both: Path, capsys, split, name, reason
):
    folder = score(split, f"data.split.test={split}")
    (left_out,) = summary(folder)["mapping"]["left_out"].items()
    output = capsys.readouterr().out
    assert left_out[0] == name and f"  {name}: {left_out[1]}" in output and "left out: 1 entry:" in output
    assert re.search(reason, left_out[1])
    scenes = [name for name in rows(folder) if not name.startswith("extended")]
    assert len(scenes) == 6 and all(rows(folder)[name] == rows(both)[name] for name in scenes)


def test_two_evaluations_of_two_stages_are_compared_by_the_scenes_of_the_first(score, home: Path, both: Path):
    still = score("still", "planner=stand_still")
    comparison = compare_folders(both, still)
    assert (comparison.scenes, comparison.only) == (4, (0, 0))
    assert comparison.differences["score"].mean == pytest.approx(totals(still)[2] - totals(both)[2])
    words = ["data=navsim", f"data.path={home}", f"data.splits={home / 'splits'}", "data.source.processes=1"]
    with pytest.raises(ConfigError, match=r"was scored in two stages, .* in one stage"):
        compare_folders(both, score("single", *words, "data.split.test=single"))


@pytest.mark.parametrize("version", ["pdms_v1.1", "epdms_v2.0"])
def test_other_versions_have_no_two_stage_score(score, version):
    with pytest.raises(ConfigError, match=rf"scorer={version}: two stages are scored by epdms_v2\.2 alone"):
        score("refused", f"scorer={version}")


def test_a_split_of_one_stage_or_without_a_whole_entry_says_so(score):
    with pytest.raises(ConfigError, match="split single has one stage"):
        score("refused", "data.split.test=single")
    with pytest.raises(
        NoScenes, match=r"none of the 2 entries in the mapping of hopeless is whole, the first one: north-now"
    ):
        score("refused", "data.split.test=hopeless")


def test_a_split_without_a_mapping_is_planned_in_both_stages_and_not_scored(score, home: Path, capsys):
    folder = score("private", "data.split.test=private")
    numbers, output = summary(folder), capsys.readouterr().out
    assert (numbers["scenes"], numbers["planned"], numbers["scored"], numbers["failures"]) == (8, 8, 0, {})
    assert "two stages, but no mapping" in numbers["unscored"] and not (folder / "scores.csv").exists()
    assert "NOTHING CAN BE SCORED: the split has two stages, but no mapping" in output and "mean" not in output
    content = read_pickle(folder / "submission.pkl")
    lists = [content[f"{stage}_stage_predictions"][0] for stage in ("first", "second")]
    assert [len(predictions) for predictions in lists] == [4, 4] and {len(name) for name in lists[1]} == {17}
    with pytest.raises(ConfigError, match=r"holds plans and a submission, and no scores: the split has two stages"):
        read_evaluation(folder)


def test_the_stamp_names_the_second_stages_data(both: Path, score, home: Path):
    stamp = summary(both)["stamp"]
    substrate = stamp["substrate"]
    assert (substrate["folder"], substrate["scenes"]) == ("navhard_two_stage", 8)
    assert stamp["traffic"] == "replayed from the log (non-reactive)" and stamp["split"] == "both"
    log = (both / "log.txt").read_text()
    assert f"second-stage data navhard_two_stage: 8 scenes, fingerprint {substrate['fingerprint']}" in log
    assert "PDM-Closed scored 51.3 on those of 08/2025 and 56.6 on those of 03/2026" in log
    path = next((home / "navhard_two_stage/synthetic_scene_pickles").glob("*east-now0*"))
    content = path.read_bytes()
    try:
        write_pickle(path, read_pickle(path) | {"note": "another release"})
        other = summary(score("released", "limit=2"))["stamp"]["substrate"]
    finally:
        path.write_bytes(content)
    assert other["scenes"] == 8 and other["fingerprint"] != substrate["fingerprint"]


def test_without_a_split_the_synthetic_scenes_are_scored_alone(score, home: Path):
    folder = score("alone", "data.split.test=null", "limit=3")
    assert "mapping" not in summary(folder) and len(rows(folder)) == 4 and "average_all_frames" in rows(folder)
