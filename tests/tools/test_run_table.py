"""Tables of experiments: what runs again, what is kept and committed, what is shown; `latentdrive` is a stand-in."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from latentdrive.evaluation.scores_file import SCORES, write_scores
from latentdrive.evaluation.summary import SUMMARY, as_text, summarise
from tests.support.data import passing, write_video
from tests.support.evaluation import make_results
from tests.support.paths import ROOT
from tests.support.scenario import scenario, write_scenario

TABLE = """
pipeline:
  train: train codebook {changes}
  test: evaluate {planner} data=navsim data.split.test=test
words: {planner: "planner=submission planner.file={out}/train/plans.pkl"}
rows:
  still: {minutes: 1, seeds: false, steps: [test], planner: "planner=human"}
  small: {minutes: 2, changes: model.width=32}
  large: {minutes: 8, changes: "model.width=64 init.checkpoint={tables}/trial/small_{seed}/train/checkpoint"}
"""
# Stands for latentdrive: notes the call in calls.txt, copies made/STEP, ends with 3 for a step in fails.txt.
STAND_IN = """
import json, pathlib, shutil, sys
home = pathlib.Path(__file__).parent
words = sys.argv[1:]
out = pathlib.Path(next(word for word in words if word.startswith("out="))[4:])
with (home / "calls.txt").open("a") as calls:
    calls.write(" ".join(words) + "\\n")
if (home / "fails.txt").read_text() in ("/".join(out.parts[-2:]),):
    sys.exit(3)
out.mkdir(parents=True, exist_ok=True)
for made in (home / "made" / out.name).glob("*"):
    shutil.copy(made, out)
metrics = {"share": 0.123456, "steps": 3}
(out / "metrics.json").write_text(json.dumps({"commit": "abc", "seconds": 90.0, "metrics": metrics}))
"""
DRIVES = ["d1", "d1", "d2"]


def made(folder: Path, scores: list[float], drives: list[str], **changed) -> None:
    """What an evaluation leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    results = make_results(scores, drives, **changed)
    write_scores(folder / SCORES, results)
    (folder / SUMMARY).write_text(as_text(summarise(results, [], {"split": "test"})))


@pytest.fixture
def tools() -> SimpleNamespace:
    import run_table
    import show_table
    import table_results
    import table_rows

    return SimpleNamespace(run=run_table, show=show_table, results=table_results, rows=table_rows)


@pytest.fixture
def home(tools: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with the table `trial`, and a stand-in for latentdrive."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trial.yaml").write_text(TABLE)
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    (tmp_path / "fails.txt").write_text("")
    made(tmp_path / "made/test", [0.5, 1.0, 0.12345], DRIVES, two_frame_extended_comfort=[float("nan"), 1, 0])
    for words in (["init", "-q"], ["config", "user.name", "us"], ["config", "user.email", "us@here"]):
        subprocess.run(["git", *words], check=True)
    monkeypatch.setattr(tools.rows, "TABLES", tmp_path)
    monkeypatch.setattr(tools.run, "LATENTDRIVE", (sys.executable, str(tmp_path / "stand_in.py")))
    return tmp_path


def calls(home: Path) -> list[str]:
    """Folders that the stand-in has been called for since the last time."""
    path = home / "calls.txt"
    lines = path.read_text().splitlines() if path.is_file() else []
    path.unlink(missing_ok=True)
    return [line.split("out=runs/tables/trial/")[1] for line in lines]


def committed() -> list[str]:
    """Files of every commit, the first commit first."""
    history = subprocess.run(["git", "log", "--reverse", "--name-only", "--format=%s"], capture_output=True, text=True)
    return [line for line in history.stdout.splitlines() if line]


def test_the_cost_is_said_and_a_dry_run_stops_there(tools, home: Path, capsys):
    assert tools.run.main(["trial", "--seeds", "0", "1", "--dry-run"]) == 0
    output = capsys.readouterr().out.splitlines()
    assert [line.split() for line in output[1:6]] == [
        ["still", "–", "to", "run", "1"],
        ["small", "0", "to", "run", "2"],
        ["large", "0", "to", "run", "8"],
        ["small", "1", "to", "run", "2"],
        ["large", "1", "to", "run", "8"],
    ]
    assert output[6] == "to run: 5 of 5, about 21 minutes"
    assert not calls(home) and not (home / "docs").exists()


def test_a_finished_row_is_skipped_and_one_of_another_configuration_made_anew(tools, home: Path, capsys):
    arguments = ["trial", "--rows", "still", "small", "--no-commit"]
    assert tools.run.main(arguments) == 0
    assert calls(home) == ["still/test", "small_0/train", "small_0/test"]
    assert (
        tools.run.main([*arguments, "--", "data.path=/elsewhere/data", "paths.stores=/big"]) == 0
    )  # the same, elsewhere
    assert not calls(home) and capsys.readouterr().out.count("done before") == 2
    assert tools.run.main([*arguments, "--", "train:training.loss.pixels=0"]) == 0
    output = capsys.readouterr().out
    assert ["small", "0", "stale", "2"] in [line.split() for line in output.splitlines()]
    assert "small, seed 0: made by another configuration" in output and "still: done before" in output
    assert calls(home) == ["small_0/train", "small_0/test"]
    assert len(list((home / "runs/tables/trial").glob("small_0.*"))) == 1  # what was there before is kept aside
    old = next((home / "runs/tables/trial").glob("small_0.*")).name
    assert tools.run.main(arguments) == 0 and calls(home) == ["small_0/train", "small_0/test"]
    assert old not in {path.name for path in (home / "runs/tables/trial").iterdir()}  # and is taken up again


def test_a_row_that_begins_from_anothers_checkpoint_follows_it(tools, home: Path):
    arguments = ["trial", "--rows", "small", "large", "--no-commit"]
    assert tools.run.main(arguments) == 0 and len(calls(home)) == 4
    (home / "docs/results/trial/small_seed0.json").unlink()
    assert tools.run.main(arguments) == 0
    assert calls(home) == ["small_0/train", "small_0/test"]  # the same key again
    assert tools.run.main(["trial", "--rows", "small", "--no-commit", "--", "train:model.layers=1"]) == 0
    calls(home)
    assert tools.run.main(["trial", "--rows", "large", "--no-commit"]) == 0
    assert calls(home) == ["large_0/train", "large_0/test"]


def test_the_json_holds_all_that_pairing_needs_and_no_folder_of_this_machine(tools, home: Path):
    data = f"data.path={home / 'big data'}"
    assert (
        tools.run.main(
            [
                "trial",
                "--rows",
                "small",
                "--seeds",
                "3",
                "--no-commit",
                "--",
                f"test:data.path='{home / 'x'}'",
                f"train:{data}",
            ]
        )
        == 0
    )
    path = home / "docs/results/trial/small_seed3.json"
    record = json.loads(path.read_text())
    assert (record["table"], record["row"], record["seed"], len(record["key"])) == ("trial", "small", 3, 16)
    assert {"cores", "gpu"} <= record["machine"].keys() and str(home) not in path.read_text()
    train = record["commands"]["train"]
    assert train == {
        "command": "latentdrive train codebook model.width=32 'data.path=big data' seed=3",
        "commit": "abc",
        "seconds": 90.0,
        "metrics": {"share": 0.1235, "steps": 3},
    }
    test = record["evaluations"]["test"]
    facts = {name: test[name] for name in ("scorer", "split", "scenes", "drives", "failed", "score")}
    assert facts == {"scorer": "epdms_v2.2", "split": "test", "scenes": 3, "drives": 2, "failed": 0, "score": 0.5412}
    assert test["score_by_scene"] == [0.5, 1, 0.1235]
    assert test["sub_scores"]["two_frame_extended_comfort"] == 0.5
    assert test["sub_scores_by_scene"]["two_frame_extended_comfort"] == [None, 1, 0]
    assert test["sub_scores_by_scene"]["ego_progress"] == [0.5, 1, 0.12]
    scenes = json.loads((home / "docs/results/trial/scenes_test.json").read_text())
    assert scenes == {"drives": ["d1", "d2"], "drive_of": [0, 0, 1], "tokens": ["t0", "t1", "t2"]}


def test_sixteen_hundred_scenes_stay_below_a_hundred_kilobytes(tools, home: Path):
    made(home / "made/test", [number / 1601 for number in range(1600)], [f"d{number // 5}" for number in range(1600)])
    assert tools.run.main(["trial", "--rows", "still", "--no-commit"]) == 0
    assert (home / "docs/results/trial/still.json").stat().st_size < 100_000


def test_each_result_is_committed_alone(tools, home: Path):
    (home / "staged.txt").write_text("another's work")
    subprocess.run(["git", "add", "staged.txt"], check=True)
    assert tools.run.main(["trial", "--rows", "still", "small"]) == 0
    folder = "docs/results/trial"
    assert committed() == [
        "Result: trial, still",
        f"{folder}/scenes_test.json",
        f"{folder}/still.json",
        "Result: trial, small, seed 0",
        f"{folder}/small_seed0.json",
    ]
    status = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True).stdout.splitlines()
    assert "A  staged.txt" in status and "?? trial.yaml" in status


def test_what_a_stopped_run_wrote_is_committed_by_the_next(tools, home: Path):
    assert tools.run.main(["trial", "--rows", "still", "--no-commit"]) == 0 and not committed()
    assert tools.run.main(["trial", "--rows", "still"]) == 0
    assert committed()[0] == "Result: trial, still" and len(calls(home)) == 1


def test_a_failing_command_is_named_and_the_rest_goes_on(tools, home: Path, capsys):
    (home / "fails.txt").write_text("small_0/test")
    assert tools.run.main(["trial", "--seeds", "0", "1", "--rows", "small"]) == 1
    output = capsys.readouterr()
    assert calls(home) == ["small_0/train", "small_0/test", "small_1/train", "small_1/test"]
    assert (
        output.err == "failed: small, seed 0: test ended with status 3; its log is in runs/tables/trial/small_0/test\n"
    )
    assert [path.name for path in sorted((home / "docs/results/trial").glob("small*"))] == ["small_seed1.json"]


def test_a_row_that_can_not_be_composed_is_told_before_anything_runs(tools, home: Path, capsys):
    (home / "trial.yaml").write_text(TABLE.replace("model.width=32", "model.widht=32"))
    assert tools.run.main(["trial", "--rows", "small", "still", "--no-commit"]) == 1
    output = capsys.readouterr()
    assert "can't run        2  unknown key model.widht; did you mean model.width?" in output.out
    assert "to run: 1 of 2, about 1 minutes" in output.out and "failed: small, seed 0: unknown key" in output.err
    assert calls(home) == ["still/test"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("minutes: 2, changes", "changes"), "row small gives no minutes"),
        (("changes: model.width=32", "change: model.width=32"), "nothing says what {changes} stands for"),
        (("steps: [test]", "steps: [tset]"), "the pipeline has no step tset"),
        (("minutes: 1", "colour: red, minutes: 1"), "gives colour, which none of its commands uses"),
    ],
)
def test_a_mistake_in_a_table_is_named(tools, home: Path, capsys, wrong, message: str):
    (home / "trial.yaml").write_text(TABLE.replace(*wrong))
    assert tools.run.main(["trial"]) == 2 and message in capsys.readouterr().err
    assert tools.run.main(["trail"]) == 2 and "there is no table trail; there are trial" in capsys.readouterr().err


def test_rows_of_other_scenes_are_refused(tools, home: Path, capsys):
    assert tools.run.main(["trial", "--rows", "still", "--no-commit"]) == 0
    made(home / "made/test", [0.5, 1.0, 0.1], DRIVES, tokens=("t0", "t1", "t9"))
    assert tools.run.main(["trial", "--rows", "small", "--no-commit"]) == 1
    assert "3 scenes, this evaluation has 3, and 2 are in only one of the two" in capsys.readouterr().err
    assert not (home / "docs/results/trial/small_seed0.json").exists()


def test_time_left_is_the_estimates_times_what_rows_really_took(tools, home: Path, capsys):
    assert tools.run.main(["trial", "--no-commit"]) == 0  # each command says it took a minute and a half
    output = capsys.readouterr().out
    assert "still: done in 1.5 minutes (estimate: 1). So far 2 minutes for 1 row, 2 left: about 15 minutes" in output
    assert (
        "small, seed 0: done in 3.0 minutes (estimate: 2). So far 4 minutes for 2 rows, 1 left: about 12 minutes"
        in output
    )


@pytest.fixture
def heard():
    """Ctrl+C is heard, also where the tests run in the background of a shell that has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_stopping_it_stops_the_command_and_keeps_what_is_complete(tools, home: Path, capsys, monkeypatch, heard):
    assert tools.run.main(["trial", "--rows", "still", "--no-commit"]) == 0
    slow = "import os, pathlib, signal, sys, time\nos.kill(os.getppid(), signal.SIGINT)\ntry:\n    time.sleep(60)\n"
    slow += "except KeyboardInterrupt:\n    pathlib.Path('signal.txt').write_text('stopped')\n    sys.exit(130)\n"
    (home / "slow.py").write_text(slow)
    monkeypatch.setattr(tools.run, "LATENTDRIVE", (sys.executable, str(home / "slow.py")))
    assert tools.run.main(["trial", "--no-commit"]) == 130
    assert (home / "signal.txt").read_text() == "stopped" and "goes on from here" in capsys.readouterr().err
    assert [path.name for path in (home / "docs/results/trial").glob("*.json")].count("still.json") == 1


def test_the_tables_of_this_repository_hold_together(tools, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    for path in sorted((ROOT / "tools/tables").glob("*.yaml")):
        runs = list(tools.rows.runs_of(path.stem, rows=None, seeds=[0], extra=["data.path=data"]))
        states = {run.name: tools.run.progress_of(run) for run in runs}
        assert len({tools.rows.key_of(run) for run in runs}) == len(runs) > 0
        assert {state for state, _ in states.values()} == {tools.run.RowState.MISSING}, states
    seeds = tools.rows.runs_of("remedies", rows=["all"], seeds=[0, 1], extra=[])
    assert len({tools.rows.key_of(run) for run in seeds}) == 2


def test_real_commands_train_and_score(tools, home: Path, monkeypatch: pytest.MonkeyPatch):
    """A tiny codebook on made-up clips, and the human driver on a made-up scenario."""
    times = [number / 10 for number in range(60)]
    for number in range(3):
        write_video(
            home / f"clips/{number}.mp4", passing(number, [t * (15 + 9 * number) for t in times], (48, 80)), times
        )
    write_scenario(home / "scenarios/sd_made_scene-0001.pkl", scenario())
    tiny = (
        "features=pixels codebook=one_stage model.width=32 model.layers=1 model.heads=2 "
        "training.calibration_frames=16 training.judges.probes.reader_steps=2 "
        "training.schedule.warmup=1 training.schedule.ego=2 batches.batch_size=4 batches.workers=0 "
        "batches.held_out_windows=8 "
        "data.height=48 data.width=80 trainer.enable_progress_bar=false trainer.accelerator=cpu threads=1"
    )
    pipeline = {
        "train": f"train codebook data=video {tiny}",
        "test": "evaluate planner=human data=scenarios data.scenes.future_frames=10 scorer=pdms_v1.1 "
        "processes=1 pictures=0",
    }
    (home / "trial.yaml").write_text(json.dumps({"pipeline": pipeline, "rows": {"row": {"minutes": 1}}}))
    monkeypatch.setattr(tools.run, "LATENTDRIVE", (sys.executable, "-m", "latentdrive"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    arguments = ["trial", "--", "train:data.path=clips", "test:data.path=scenarios", f"paths.data={home / 'data'}"]
    assert tools.run.main(arguments) == 0
    record = json.loads((home / "docs/results/trial/row_seed0.json").read_text())
    assert record["commands"]["train"]["metrics"]["held_out/share_of_copy"] > 0
    test = record["evaluations"]["test"]
    assert test["scorer"] == "pdms_v1.1" and test["failed"] == 0 and test["scenes"] == len(test["score_by_scene"]) > 0
    assert committed()[0] == "Result: trial, row, seed 0"
    assert tools.run.main(arguments) == 0 and tools.show.main(["trial"]) == 0
