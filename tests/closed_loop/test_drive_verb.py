"""`latentdrive drive`: a second call drives only what is missing, and gives the same numbers."""

import json
import shutil
from pathlib import Path

import pytest

from latentdrive.commands import drive
from latentdrive.config import compose
from latentdrive.errors import ConfigError
from tests.support.hand_bundle import write_bundle

FEW = ["planner=constant_velocity", "drives=1", "hazards=0", "world.drive_s=9.0"]


def test_a_second_call_drives_only_what_is_missing(tmp_path: Path):
    drive.run(compose("drive", [*FEW, f"out={tmp_path}"]))
    (result,) = (tmp_path / "drives").glob("*.json")
    first, written = result.read_bytes(), result.stat().st_mtime_ns
    drive.run(compose("drive", [*FEW, f"out={tmp_path}"]))
    assert result.stat().st_mtime_ns == written
    result.write_bytes(first.replace(b'"score"', b'"sc0re"'))  # damaged: it is driven again, to the same bytes
    drive.run(compose("drive", [*FEW, f"out={tmp_path}"]))
    assert result.read_bytes() == first


def test_planners_that_repeat_a_recording_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="repeats"):
        drive.run(compose("drive", ["planner=human", f"out={tmp_path}"]))


def test_a_network_that_was_trained_anew_drives_anew(tmp_path: Path):
    bundle = write_bundle(tmp_path / "bundle", cameras=())
    words = ["planner=bundle", f"planner.path={bundle}", *FEW[1:], f"out={tmp_path / 'run'}"]
    drive.run(compose("drive", words))
    (result,) = (tmp_path / "run/drives").glob("*.json")
    first = json.loads(result.read_text())
    assert first["failure"] == "" and first["plans"] > 10
    shutil.rmtree(bundle)
    write_bundle(bundle, cameras=(), kind="TrainedAnew")
    drive.run(compose("drive", words))
    again = json.loads(result.read_text())
    assert again["key"] != first["key"] and again["score"] == first["score"]


def test_two_planners_are_compared_on_the_same_drives_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first, second = tmp_path / "first", tmp_path / "second"
    drive.run(compose("drive", [*FEW, f"out={first}"]))
    drive.run(compose("drive", ["planner=stand_still", *FEW[1:], "replan_hz=10", f"against={first}", f"out={second}"]))
    difference = json.loads((second / "summary.json").read_text())["closed_loop"]["score_difference"]["mean"]
    scores = [json.loads(next((run / "drives").glob("*.json")).read_text())["score"] for run in (second, first)]
    assert difference == pytest.approx(scores[0] - scores[1])
    with pytest.raises(ConfigError, match="drove in another world, or ended its drives by other rules"):
        drive.run(compose("drive", [*FEW, "world.seed=7", f"against={first}", f"out={tmp_path / 'third'}"]))


def test_more_drives_leave_those_that_are_done(tmp_path: Path):
    drive.run(compose("drive", [*FEW, f"out={tmp_path}"]))
    (done,) = (tmp_path / "drives").glob("*.json")
    written = done.stat().st_mtime_ns
    drive.run(compose("drive", [FEW[0], "drives=2", *FEW[2:], f"out={tmp_path}"]))
    assert done.stat().st_mtime_ns == written and len(list((tmp_path / "drives").glob("*.json"))) == 2
