"""`latentdrive evaluate` from the command line, on a small NAVSIM world: results, totals, failures,
submissions, comparisons."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from latentdrive.commands import evaluate, report, world
from latentdrive.config import compose
from latentdrive.data.navsim.submission import read_submission, write_submission
from latentdrive.data.pickles.reading import read_pickle
from latentdrive.data.pickles.writing import write_pickle
from latentdrive.errors import ConfigError
from latentdrive.evaluation.trajectories_file import read_trajectories
from latentdrive.types import Trajectory

WORLD = (
    "world=small",
    "processes=1",
    "world.drive_s=10",
    "world.sensors.pictures=[CAM_F0]",
    "world.sensors.cameras.CAM_F0.width=64",
    "world.sensors.cameras.CAM_F0.height=36",
    "world.sensors.cameras.CAM_F0.oversampling=1",
    "world.sensors.lidar.rings=2",
    "world.sensors.lidar.columns=8",
    "~world.splits.train",
    "~world.splits.test",
    "~world.splits.longtail",
    "world.splits.val.drives=2",
    "world.splits.val.points=8",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    world.run(compose("world", [*WORLD, f"path={folder / 'data'}", f"out={folder / 'world'}"]))
    return folder


@pytest.fixture(scope="module")
def score(home: Path) -> Callable[..., Path]:
    """Runs the verb in this process; returns its folder."""

    def call(name: str, *words: str) -> Path:
        given = [
            "data=navsim",
            f"data.path={home / 'data'}",
            "data.split.test=val",
            "processes=1",
            "device=cpu",
            "batch_size=3",
        ]
        places = [f"out={home / name}", f"stores={home / 'stores'}", f"data.cache_folder={home / 'cache'}"]
        return evaluate.run(compose("evaluate", [*given, *places, *words]))

    return call


@pytest.fixture(scope="module")
def human(score: Callable[..., Path]) -> Path:
    return score("human", "planner=human", "pictures=2")


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def test_the_verb_writes_scores_summary_pictures_and_says_what_is_next(latentdrive, home: Path, human: Path):
    done = latentdrive(
        "evaluate",
        "data=navsim",
        f"data.path={home / 'data'}",
        "data.split.test=val",
        "processes=1",
        f"stores={home / 'stores'}",
        f"data.cache_folder={home / 'cache'}",
        "planner=constant_velocity",
        "out=cv",
        "pictures=1",
    )
    assert done.returncode == 0, done.stderr
    assert "0 scenes prepared, 8 kept" in done.stdout  # by the human's run
    assert "epdms_v2.2, 8 scenes of 2 drives" in done.stdout and "95 % interval by drive" in done.stdout
    assert "more ego progress than the human driver" in done.stdout and "Next: latentdrive report" in done.stdout


def test_every_scene_has_a_row_and_the_mean_is_that_of_the_rows(human: Path):
    *rows, average = table(human)
    assert len(rows) == 8 and average["token"] == "average_all_frames" and len({row["drive"] for row in rows}) == 2
    scores = [float(row["score"]) for row in rows]
    told = summary(human)
    assert told["score"]["mean"] == pytest.approx(np.mean(scores)) == pytest.approx(float(average["score"]))
    assert told["scorer"] == "epdms_v2.2" and told["failed"] == 0 and told["planner"]["_target_"].endswith("Human")
    metrics = json.loads((human / "metrics.json").read_text())["metrics"]
    assert (
        metrics["evaluate/score"] == told["score"]["mean"]
        and metrics["evaluate/score_low"] <= metrics["evaluate/score"]
    )
    assert len(list((human / "pictures").glob("*.png"))) == min(2, sum(score < 1 for score in scores))


def test_the_human_is_compared_with_itself_in_the_audit(human: Path):
    found = summary(human)["audit"]
    assert found["progress_above_human"] == found["progress_above_human"] | {"count": 0, "of": 8}


def test_v1_has_its_own_columns_and_its_own_store(score, home: Path, human: Path):
    folder = score("v1", "planner=pdm_closed", "scorer=pdms_v1.1", "pictures=0")
    *rows, average = table(folder)
    assert average["token"] == "average" and "comfort" in average and "lane_keeping" not in average
    assert {path.name.split("_")[1] for path in (home / "stores").iterdir()} == {"v1", "v2"}
    assert all(
        float(row["ego_progress"]) == pytest.approx(1.0, abs=0.02)
        for row in rows
        if float(row["drivable_area_compliance"])
        == float(row["no_at_fault_collisions"])
        == 1  # else v1 gives no progress
    )


def test_a_submission_scores_as_the_planner_that_made_it(score, home: Path):
    own = score(
        "cv",
        "planner=constant_velocity",
        f"submission={home / 'cv.pkl'}",
        "about.team_name=us",
        "human=false",
        "pictures=0",
    )
    found = read_submission(home / "cv.pkl", seed=0)
    assert len(found.trajectories) == 8 and found.about["team_name"] == "us"
    again = score("sub", "planner=submission", f"planner.file={home / 'cv.pkl'}", "human=false", "pictures=0")
    assert table(again) == table(own)


def test_missing_extra_and_damaged_entries_of_a_submission_are_named_and_score_0(
    score, home: Path, human: Path, capsys
):
    tokens = [row["token"] for row in table(human)][:-1]
    still = Trajectory(poses=np.zeros((8, 3), np.float32), dt_s=0.5)
    write_submission(home / "odd.pkl", dict.fromkeys([*tokens[1:], "stranger"], still), about={}, second_stage={})
    content = read_pickle(home / "odd.pkl")
    content["first_stage_predictions"][0][tokens[1]].attributes["poses"] = np.zeros((7, 3), np.float32)
    write_pickle(home / "odd.pkl", content)
    folder = score("odd", "planner=submission", f"planner.file={home / 'odd.pkl'}", "human=false", "pictures=1")
    told = summary(folder)
    assert told["failed"] == 2 and set(told["failures"]) == set(tokens[:2])
    assert "holds no trajectory for it" in told["failures"][tokens[0]]
    assert "its sampling says 8 poses, it has 7" in told["failures"][tokens[1]]
    assert told["submission"]["extra_tokens"] == ["stranger"]
    first = table(folder)[0]
    assert first["valid"] == "False" and float(first["score"]) == 0 and float(first["ego_progress"]) == 0
    assert told["devkit_mean_without_failed_scenes"] == pytest.approx(told["score"]["mean"] * 8 / 6)
    assert "2 of 8 scenes failed and score 0" in capsys.readouterr().out


def test_two_evaluations_are_compared_scene_by_scene_on_the_page(score, home: Path, human: Path, capsys):
    other = score("still", "planner=stand_still", "human=false", "pictures=0")
    page = report.run(compose("report", [f"compare=['{other}','{human}']", f"out={home / 'report'}"]))
    said = capsys.readouterr().out
    assert "human minus still, epdms_v2.2: " in said and "on 8 scenes of 2 drives" in said
    html = page.read_text(encoding="utf-8")
    assert "human against still" in html and "How well it drives" in html


def test_latency_is_measured_for_those_who_see_what_a_car_sees(score, human: Path, capsys):
    told = summary(score("timed", "planner=constant_velocity", "human=false", "pictures=0"))
    assert "ms for one scene" in capsys.readouterr().out
    latency = told.pop("latency")
    assert latency["batch"] == 3 and latency["device"] == "cpu" and latency["threads"] >= 1
    assert 0 < latency["ms_batch_1_median"] <= latency["ms_batch_1_p95"] and latency["ms_per_scene_median"] > 0
    again = summary(score("timed_again", "planner=constant_velocity", "human=false", "pictures=0"))
    again.pop("latency")
    assert told == again and told["planner_class"] == "ConstantVelocity" and told["privileged"] is False
    assert "latency" not in summary(human) and summary(human)["privileged"] is True


def test_plans_are_kept_for_whoever_wants_to_draw_them(score, human: Path):
    plans = read_trajectories(human / "trajectories.npz")
    assert set(plans) == {row["token"] for row in table(human)[:-1]}
    assert all(one.poses.shape == (8, 3) and one.dt_s == 0.5 for one in plans.values())


@pytest.mark.parametrize("version", ["epdms_v2.2", "pdms_v1.1"])
def test_planners_stand_side_by_side_with_the_scenes_in_which_they_differ_most(score, home: Path, version: str):
    names = {name: f"{name}_{version}" for name in ("human", "stand_still", "constant_velocity")}
    for planner, name in names.items():
        score(name, f"planner={planner}", f"scorer={version}", "human=false", "pictures=0")
    runs = ",".join(f"'{home / name}'" for name in names.values())
    page = report.run(compose("report", [f"runs=[{runs}]", f"out={home / version}", "gallery=2"]))
    html = page.read_text(encoding="utf-8")
    assert f"Planners, {version} on val" in html and "are the best two that see what a car sees" in html
    assert html.count('alt="scene ') == html.count("camera and view from above") == 2
    assert "No picture" not in html and "can&#39;t be" not in html
    mean = summary(home / names["stand_still"])["score"]["mean"]
    assert f"<td>{mean:.4f}<small>" in html and html.count("<mark>privileged</mark>") == 1


def test_where_the_data_are_gone_the_page_says_so_and_shows_the_rest(score, home: Path, human: Path):
    other = score("gone", "planner=stand_still", "human=false", "pictures=0")

    def html() -> str:
        words = [f"compare=['{other}','{human}']", f"out={home / 'without'}", "gallery=3"]
        return report.run(compose("report", words)).read_text(encoding="utf-8")

    for hidden, said, pictures in (
        ("data", "can&#39;t be opened again:", 3),
        ("stores", "their prepared form is gone:", 0),
    ):
        (home / hidden).rename(home / "elsewhere")
        try:
            page = html()
        finally:
            (home / "elsewhere").rename(home / hidden)
        assert said in page and "Where gone and human differ most" in page and "human against gone" in page
        assert page.count("camera and view from above") == pictures  # prepared scenes show the road without the camera
    assert said not in html()


def test_scores_of_two_versions_are_not_compared(score, home: Path, human: Path):
    other = score("v1_still", "planner=stand_still", "scorer=pdms_v1.1", "human=false", "pictures=0")
    with pytest.raises(ConfigError, match=r"scored by pdms_v1\.1.*by epdms_v2\.2"):
        report.run(compose("report", [f"compare=['{other}','{human}']", f"out={home / 'refused'}"]))
    with pytest.raises(ConfigError, match="compare takes two folders"):
        report.run(compose("report", [f"compare=['{other}']", f"out={home / 'refused'}"]))


def test_a_dry_run_prepares_nothing(score, home: Path, capsys):
    before = sorted((home / "stores").glob("*"))
    folder = score("dry", "scorer=epdms_v2.0", "limit=2", "dry_run=true")
    assert "on 2 scenes" in capsys.readouterr().out
    assert not (folder / "scores.csv").exists() and sorted((home / "stores").glob("*")) == before


def test_an_unknown_score_lists_those_there_are(score):
    with pytest.raises(ConfigError, match=r"scorer=pdms: .*pdms_v1\.1, epdms_v2\.0, epdms_v2\.2"):
        score("wrong", "scorer=pdms")
