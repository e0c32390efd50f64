"""`latentdrive evaluate` from the command line, on a small NAVSIM world: results, totals, failures,
submissions, comparisons."""

import csv
import functools
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
    """Runs the command in this process; returns its folder."""

    def call(name: str, *words: str) -> Path:
        settings = [
            "data=navsim",
            f"data.path={home / 'data'}",
            "data.split.test=val",
            "processes=1",
            "device=cpu",
            "batch_size=3",
        ]
        places = [f"out={home / name}", f"stores={home / 'stores'}", f"data.cache_folder={home / 'cache'}"]
        return evaluate.run(compose("evaluate", [*settings, *places, *words]))

    return call


@pytest.fixture(scope="module")
def scored(score: Callable[..., Path]) -> Callable[..., Path]:
    """scored("stand_still", "pdms_v1.1"): the folder of a plain evaluation, which is made once for
    all tests."""

    @functools.cache
    def call(planner: str, version: str = "epdms_v2.2") -> Path:
        return score(f"{planner}_{version}", f"planner={planner}", f"scorer={version}", "human=false", "pictures=0")

    return call


@pytest.fixture(scope="module")
def human(score: Callable[..., Path]) -> Path:
    return score("human", "planner=human", "pictures=2")


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def page_of(folder: Path, *words: str) -> str:
    """The HTML of a report that is written into the folder."""
    return report.run(compose("report", ["opens=true", *words, f"out={folder}"])).read_text(encoding="utf-8")


def test_the_command_writes_scores_summary_pictures_and_says_what_is_next(latentdrive, home: Path, human: Path):
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
    assert "0 scenes prepared, 8 kept" in done.stdout  # by the human driver's run
    assert "epdms_v2.2, 8 scenes of 2 drives" in done.stdout and "95 % interval by drive" in done.stdout
    assert "more ego progress than the human driver" in done.stdout and "Next: latentdrive report" in done.stdout


def test_every_scene_has_a_row_and_the_mean_is_that_of_the_rows(human: Path):
    *rows, average = table(human)
    assert len(rows) == 8 and average["token"] == "average_all_frames" and len({row["drive"] for row in rows}) == 2
    scores = [float(row["score"]) for row in rows]
    numbers = summary(human)
    assert numbers["score"]["mean"] == pytest.approx(np.mean(scores)) == pytest.approx(float(average["score"]))
    assert numbers["scorer"] == "epdms_v2.2" and numbers["failed"] == 0
    assert numbers["planner"]["_target_"].endswith("Human")
    metrics = json.loads((human / "metrics.json").read_text())["metrics"]
    assert metrics["evaluate/score"] == numbers["score"]["mean"] >= metrics["evaluate/score_low"]
    assert len(list((human / "pictures").glob("*.png"))) == min(2, sum(score < 1 for score in scores))


def test_the_human_is_compared_with_itself_in_the_audit(human: Path):
    findings = summary(human)["audit"]
    assert findings["progress_above_human"] == findings["progress_above_human"] | {"count": 0, "of": 8}


def test_v1_has_its_own_columns_and_its_own_store(scored, home: Path, human: Path):
    *rows, average = table(scored("pdm_closed", "pdms_v1.1"))
    assert average["token"] == "average" and "comfort" in average and "lane_keeping" not in average
    assert {path.name.split("_")[1] for path in (home / "stores").iterdir()} == {"v1", "v2"}
    # Without both multipliers, v1 gives no progress.
    whole = [row for row in rows if float(row["drivable_area_compliance"]) == float(row["no_at_fault_collisions"]) == 1]
    assert all(float(row["ego_progress"]) == pytest.approx(1.0, abs=0.02) for row in whole)


@pytest.fixture(scope="module")
def submitting(score: Callable[..., Path], home: Path) -> Path:
    """Constant velocity, which also writes a submission to cv.pkl."""
    words = (f"submission={home / 'cv.pkl'}", "about.team_name=us", "human=false", "pictures=0")
    return score("submitting", "planner=constant_velocity", *words)


def test_a_submission_scores_as_the_planner_that_made_it(score, home: Path, submitting: Path):
    submission = read_submission(home / "cv.pkl", seed=0)
    assert len(submission.trajectories) == 8 and submission.about["team_name"] == "us"
    again = score("again", "planner=submission", f"planner.file={home / 'cv.pkl'}", "human=false", "pictures=0")
    assert table(again) == table(submitting)


def test_missing_extra_and_damaged_entries_of_a_submission_are_listed_and_score_0(
    score, home: Path, human: Path, capsys
):
    tokens = [row["token"] for row in table(human)][:-1]
    still = Trajectory(poses=np.zeros((8, 3), np.float32), dt_s=0.5)
    write_submission(home / "odd.pkl", dict.fromkeys([*tokens[1:], "stranger"], still), about={}, second_stage={})
    content = read_pickle(home / "odd.pkl")
    content["first_stage_predictions"][0][tokens[1]].attributes["poses"] = np.zeros((7, 3), np.float32)
    write_pickle(home / "odd.pkl", content)
    (home / "odd.pkl.sha256").unlink()  # with it, the altered file would be refused as a whole
    folder = score("odd", "planner=submission", f"planner.file={home / 'odd.pkl'}", "human=false", "pictures=1")
    numbers = summary(folder)
    assert numbers["failed"] == 2 and set(numbers["failures"]) == set(tokens[:2])
    assert "holds no trajectory for it" in numbers["failures"][tokens[0]]
    assert "its sampling says 8 poses, it has 7" in numbers["failures"][tokens[1]]
    assert numbers["submission"]["extra_tokens"] == ["stranger"]
    first = table(folder)[0]
    assert first["valid"] == "False" and float(first["score"]) == 0 and float(first["ego_progress"]) == 0
    assert numbers["devkit_mean_without_failed_scenes"] == pytest.approx(numbers["score"]["mean"] * 8 / 6)
    assert "2 of 8 scenes failed and score 0" in capsys.readouterr().out


def test_two_evaluations_are_compared_scene_by_scene_on_the_page(scored, home: Path, human: Path, capsys):
    html = page_of(home / "report", f"compare=['{scored('stand_still')}','{human}']")
    printed = capsys.readouterr().out
    assert "human minus stand_still_epdms_v2.2, epdms_v2.2: " in printed and "on 8 scenes of 2 drives" in printed
    assert "human against stand_still_epdms_v2.2" in html and "How well it plans" in html


def test_latency_is_measured_for_planners_that_see_what_a_car_sees(scored, human: Path, submitting: Path):
    numbers, again = summary(scored("constant_velocity")), summary(submitting)
    assert "ms for one scene" in (submitting / "log.txt").read_text()
    latency = numbers.pop("latency")
    assert latency["batch"] == 3 and latency["device"] == "cpu" and latency["threads"] >= 1
    assert 0 < latency["ms_batch_1_median"] <= latency["ms_batch_1_p95"] and latency["ms_per_scene_median"] > 0
    again.pop("latency")
    assert numbers == again  # apart from the latency, two runs agree
    assert numbers["planner_class"] == "ConstantVelocity" and numbers["privileged"] is False
    assert "latency" not in summary(human) and summary(human)["privileged"] is True


def test_plans_are_kept_for_drawing(human: Path):
    plans = read_trajectories(human / "trajectories.npz")
    assert set(plans) == {row["token"] for row in table(human)[:-1]}
    assert all(plan.poses.shape == (8, 3) and plan.dt_s == 0.5 for plan in plans.values())


@pytest.mark.parametrize("version", ["epdms_v2.2", "pdms_v1.1"])
def test_planners_stand_side_by_side_with_the_scenes_in_which_they_differ_most(scored, home: Path, version: str):
    folders = [scored(planner, version) for planner in ("human", "constant_velocity", "stand_still")]
    runs = ",".join(f"'{folder}'" for folder in folders)
    html = page_of(home / version, f"runs=[{runs}]", "gallery=2")
    assert f"Planners, {version} on val" in html and "are the best two that see only what a car sees" in html
    assert html.count('alt="scene ') == html.count("camera and view from above") == 2
    assert "No picture" not in html and "can&#39;t be" not in html
    mean = summary(folders[-1])["score"]["mean"]
    assert f"<td>{mean:.4f}<small>" in html and html.count("<mark>privileged</mark>") == 1


def test_where_the_data_are_gone_the_page_says_so_and_shows_the_rest(scored, home: Path, human: Path):
    other = scored("stand_still")

    def html() -> str:
        return page_of(home / "without", f"compare=['{other}','{human}']", "gallery=3")

    # Prepared scenes show the road even without the camera.
    for hidden, note, pictures in (
        ("data", "can&#39;t be opened again:", 3),
        ("stores", "can&#39;t be drawn:", 0),
    ):
        (home / hidden).rename(home / "elsewhere")
        try:
            page = html()
        finally:
            (home / "elsewhere").rename(home / hidden)
        assert note in page and f"Where {other.name} and human differ most" in page
        assert f"human against {other.name}" in page and page.count("camera and view from above") == pictures
    assert note not in html()


def test_scores_of_two_versions_are_not_compared(scored, home: Path, human: Path):
    other = scored("stand_still", "pdms_v1.1")
    with pytest.raises(ConfigError, match=r"scored by pdms_v1\.1.*by epdms_v2\.2"):
        page_of(home / "refused", f"compare=['{other}','{human}']")
    with pytest.raises(ConfigError, match="expected the folders of two evaluations"):
        page_of(home / "refused", f"compare=['{other}']")


def test_a_dry_run_prepares_nothing(score, home: Path, capsys):
    before = sorted((home / "stores").glob("*"))
    folder = score("dry", "scorer=epdms_v2.0", "limit=2", "dry_run=true")
    assert "on 2 scenes" in capsys.readouterr().out
    assert not (folder / "scores.csv").exists() and sorted((home / "stores").glob("*")) == before


def test_an_unknown_score_lists_the_known_ones(score):
    with pytest.raises(
        ConfigError, match=r"scorer=pdms is unknown: choose one of pdms_v1\.1, epdms_v2\.0, epdms_v2\.2"
    ):
        score("wrong", "scorer=pdms")
