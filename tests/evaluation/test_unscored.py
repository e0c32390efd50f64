"""`latentdrive evaluate` where nothing can be scored (NAVSIM's private test data), and where boxes lack numbers."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentdrive.commands import evaluate
from latentdrive.config import compose
from latentdrive.data.navsim.submission import read_submission, write_submission
from latentdrive.errors import ConfigError, NoPlans
from latentdrive.evaluation.summary import SUMS, read_evaluation
from latentdrive.planners.baselines.constant_velocity import ConstantVelocity
from latentdrive.types import SensorNeeds, Trajectory
from tests.support.navsim_fixture import frames, token, write_log, write_sensors, write_split
from tests.support.street import street

PRIVATE = ("anns", "roadblock_ids", "traffic_lights", "map_location")


def run(root: Path, *words: str) -> Path:
    settings = ["data=navsim", f"data.path={root}", "data.split.test=test", "planner=constant_velocity"]
    places = [f"out={root / 'run'}", f"store={root / 'store'}", f"data.cache_folder={root / 'cache'}"]
    few = ["processes=1", "device=cpu", "pictures=0", "human=false", "data.source.processes=1"]
    return evaluate.run(compose("evaluate", [*settings, *places, *few, *words]))


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def private_data(root: Path, *lacking: str, count: int = 6) -> Path:
    """Logs of six frames that lack these keys, the last frame being the last one that is seen."""
    for log in ("north", "east"):
        content = frames(log, count)
        for entry in content:
            for key in lacking:
                del entry[key]
        write_log(root, log, content)
    write_split(root / "splits", "test", num_future_frames=0, has_route=False)
    return root


@pytest.mark.parametrize("version", ["pdms_v1.1", "epdms_v2.2"])
def test_private_data_are_planned_and_the_submission_is_the_result(tmp_path: Path, capsys, version: str):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / SUMS).write_text("of the scores of an earlier run in this folder\n")
    folder = run(private_data(tmp_path, *PRIVATE), f"scorer={version}")
    with pytest.raises(ConfigError, match="holds plans and a submission, and no scores"):
        read_evaluation(folder)
    expected = {token(log, k) for log in ("north", "east") for k in (3, 4, 5)}
    assert set(read_submission(folder / "submission.pkl", seed=0).trajectories) == expected
    numbers, output = summary(folder), capsys.readouterr().out
    assert (numbers["scenes"], numbers["planned"], numbers["scored"], numbers["failures"]) == (6, 6, 0, {})
    assert "has no annotations" in numbers["unscored"] and "score" not in numbers
    assert "NOTHING CAN BE SCORED" in output and "The submission is the result" in output
    assert "score 0" not in output and not (folder / "scores.csv").exists() and "Audit" not in output
    assert f"Next: hand in {folder / 'submission.pkl'}" in output


@pytest.mark.parametrize("lacking", [*PRIVATE, "future", "map"])
def test_each_thing_that_a_score_needs_may_be_missing_alone(tmp_path: Path, lacking: str):
    keys = () if lacking in ("future", "map") else (lacking,)
    root = private_data(tmp_path, *keys, count=6 if lacking in ("anns", "future") else 20)
    folder = run(root, f"submission={tmp_path / 's.pkl'}")
    numbers = summary(folder)
    assert numbers["planned"] == numbers["scenes"] == (6 if lacking in ("anns", "future") else 34)
    assert len(read_submission(tmp_path / "s.pkl", seed=0).trajectories) == numbers["planned"]


def test_scores_of_an_earlier_run_do_not_stay_beside_a_submission(tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/scores.csv").write_text("token,valid,score\n")
    folder = run(private_data(tmp_path, *PRIVATE))
    assert not (folder / "scores.csv").exists()


@pytest.mark.parametrize("planner", ["human", "submission"])
def test_a_run_without_any_trajectory_is_a_failure(tmp_path: Path, planner: str):
    words = [f"planner={planner}"]
    if planner == "submission":
        plan = Trajectory(poses=np.zeros((8, 3), np.float32), dt_s=0.5)
        write_submission(tmp_path / "other.pkl", {"stranger": plan}, about={}, second_stage=None)
        words.append(f"planner.file={tmp_path / 'other.pkl'}")
    with pytest.raises(NoPlans, match=r"planned none of 6 scenes, so there is nothing to score and nothing to submit"):
        run(private_data(tmp_path, *PRIVATE), *words)
    assert not (tmp_path / "run/summary.json").exists() and not (tmp_path / "run/submission.pkl").exists()


def test_a_submission_without_trajectories_is_not_written(tmp_path: Path):
    short = Trajectory(poses=np.zeros((3, 3), np.float32), dt_s=0.5)
    for second_stage in (None, {}):
        with pytest.raises(NoPlans, match=r"needs trajectories, and none of 1 can be used; the first one is a: NAVSIM"):
            write_submission(tmp_path / "s.pkl", {"a": short}, about={}, second_stage=second_stage)
        with pytest.raises(NoPlans, match=r"none of 0 can be used$"):
            write_submission(tmp_path / "s.pkl", {}, about={}, second_stage=second_stage)
    assert not (tmp_path / "s.pkl").exists()


@pytest.mark.parametrize("version", ["pdms_v1.1", "epdms_v2.2"])
def test_a_car_of_unknown_velocity_is_hit_all_the_same(tmp_path: Path, capsys, version: str):
    known, unknown = street(tmp_path / "known"), street(tmp_path / "unknown", math.nan)
    folders = [run(root, f"scorer={version}") for root in (known, unknown)]
    assert (folders[0] / "scores.csv").read_text() == (folders[1] / "scores.csv").read_text()
    numbers = summary(folders[1])
    if version == "pdms_v1.1":  # v2 forgives what the human does too
        assert numbers["sub_scores"]["no_at_fault_collisions"]["mean"] == 0.0
    assert numbers["boxes"] == {
        "left_out": 0,
        "estimated": 11,
        "scenes_left_out": {},
        "scenes_estimated": {token("north", 3): 11},
    }
    assert "annotated boxes without velocity or heading: 11 in 1 scene. They count" in capsys.readouterr().out
    assert summary(folders[0])["boxes"]["estimated"] == 0


def test_a_box_that_must_go_is_counted_in_the_scores_own_output(tmp_path: Path, capsys):
    folder = run(street(tmp_path, place=math.nan), "scorer=pdms_v1.1")
    assert summary(folder)["boxes"]["scenes_left_out"] == {token("north", 3): 1}
    assert "annotated boxes without place or size: 1 in 1 scene. Nothing" in capsys.readouterr().out
    assert summary(folder)["sub_scores"]["no_at_fault_collisions"]["mean"] == 0.0  # the track goes on over the gap


def test_a_score_of_complete_scenes_alone_says_so(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ConstantVelocity, "needs", SensorNeeds(cameras=("cam_f0",), frames="now", lidar=False))
    root = street(tmp_path, count=16)
    write_split(root / "splits", "test")
    write_sensors(root, "north", 16, cameras=("CAM_F0",))
    (root / "sensor_blobs/mini/north/CAM_F0" / f"{token('north', 4)}.jpg").unlink()
    assert summary(run(root))["failed"] == 1
    assert "COMPLETE SCENES ONLY" not in capsys.readouterr().out
    numbers = summary(run(root, "data.scenes.complete_only=true"))
    assert (numbers["failed"], numbers["scenes"]) == (0, 2) and numbers["stamp"]["incomplete_scenes"] == 1
    output = capsys.readouterr().out
    assert output.count("COMPLETE SCENES ONLY: 1 scene with a missing sensor file left out") == 2
    assert "this is no score of test and can't be compared with one" in output
    assert "0 scenes prepared, 2 kept" in output  # the prepared scenes of the whole split serve


def test_a_score_is_stamped_with_what_can_make_two_scores_differ(tmp_path: Path, capsys):
    stamp = summary(run(street(tmp_path), "limit=1", "scorer=pdms_v1.1"))["stamp"]
    assert (stamp["scorer"], stamp["split"], stamp["data_split"], stamp["limit"]) == ("pdms_v1.1", "test", "mini", 1)
    assert stamp["filter"] | {"num_history_frames": 4, "num_future_frames": 10, "tokens": 1} == stamp["filter"]
    assert stamp["input_frames"] == {"rate_hz": 2.0, "camera_frames": "none"} and "substrate" not in stamp
    assert stamp["traffic"].startswith("replayed") and stamp["linear_algebra"].startswith("checked: numpy")
    assert stamp["scenes"] == 1 and len(stamp["scene_list"]) == 12 and stamp["latentdrive"]
    output = capsys.readouterr().out
    for words in (
        "scored by pdms_v1.1 of latentdrive",
        "on the first 1 of split test: 1 scene (list ",
        "filter: 4 + 10 frames, with a route",
        "input frames at 2 Hz, camera frames: none; traffic replayed from the log (non-reactive); linear algebra",
    ):
        assert words in output
