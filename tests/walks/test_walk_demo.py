"""The whole walk through the command line, from the world to the report."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from latentdrive import checkpoint, cli
from latentdrive.codebook.training import CodebookTraining
from latentdrive.planners.training import PlannerTraining
from tests.support.demo import DEMO_STEPS


def test_the_demo_walks_every_step_ends_with_a_report_and_repeats_nothing(
    latentdrive, tmp_path: Path, request, monkeypatch, capsys
):
    done = latentdrive("demo", "demo=smoke", "out=walk", timeout_s=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    announced = [line for line in done.stdout.splitlines() if line.startswith("Step ")]
    assert [line.split(",")[0] for line in announced] == [
        f"Step {number:>2} of {len(DEMO_STEPS)}" for number in range(1, len(DEMO_STEPS) + 1)
    ]
    assert re.search(r"Result: walk/report\.html\nNext: open walk/report\.html", done.stdout)
    assert done.stdout.count("Next: ") == 1 and "Warning" not in done.stderr and "deprecated" not in done.stderr
    assert done.stdout.count("decoding alone (always the most frequent code") == 3
    assert len(done.stdout.splitlines()) < len(DEMO_STEPS) + 20

    out = tmp_path / "walk"
    for step in DEMO_STEPS:
        written = json.loads((out / step / "metrics.json").read_text())
        assert written["command"].startswith("latentdrive ") and written["commit"]
        assert (out / step / "config.yaml").is_file() and (out / step / "log.txt").is_file()
    ids = [checkpoint.read_card(out / who / "checkpoint") for who in ("codebook", "teacher", "student")]
    assert ids[1].parents["codebook"] == ids[2].parents["codebook"] == ids[0].fingerprint
    planner = checkpoint.read_card(out / "planner/checkpoint")
    assert planner.parents["codebook"] == ids[0].fingerprint and planner.parents["labeller"] == ids[2].fingerprint
    assert json.loads((out / "score_fused/summary.json").read_text())["latents"]["maker"] == ids[2].fingerprint
    for step, training in (("codebook", CodebookTraining), ("planner", PlannerTraining)):
        named = {headline.metric for headline in training.headlines}
        assert named <= json.loads((out / step / "metrics.json").read_text())["metrics"].keys()
    html = (out / "report.html").read_text(encoding="utf-8")
    for part in ("What each ego code means", "What leaks where", "Agreement, slot by slot", "Which code follows which"):
        assert part in html

    monkeypatch.chdir(tmp_path)
    cli.main(["demo", "demo=smoke", "out=walk"])
    assert capsys.readouterr().out.count("finished before") == len(DEMO_STEPS)
    compares(out, monkeypatch)

    dom = request.getfixturevalue("in_browser")(out / "report.html")
    assert 'data-errors=""' in dom and f'data-drawn="{dom.count("data-chart=")}"' in dom


def compares(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tools that put two models side by side find no difference between a model and itself."""
    data = ["--data", "data=world", f"paths.data={out / 'data'}", "data.rate_hz=4", "data.height=48", "data.width=80"]
    book, teacher = out / "codebook", out / "teacher"
    for tool, model, more, number in (
        ("codebooks", book, ["batches.held_out_windows=32"], ""),
        ("predictors", teacher, ["--latents", str(out / "stores/codebook")], "/nats"),
    ):
        words = [f"one={model}", f"two={model}", *data, *more, "--out", str(out / f"{tool}.json")]
        monkeypatch.setattr(sys, "argv", [f"compare_{tool}.py", *words])
        importlib.import_module(f"compare_{tool}").main()
        numbers = json.loads((out / f"{tool}.json").read_text())["numbers"]
        assert numbers[f"one{number}"]["mean"] > 0 and numbers[f"two - one{number}"]["mean"] == 0


@pytest.mark.slow
def test_the_demo_learns_something(latentdrive, tmp_path: Path):
    """`make demo`: codes matter, the teacher knows more than frequencies, the student agrees with it."""
    done = latentdrive("demo", "out=walk", timeout_s=3600)
    assert done.returncode == 0, done.stderr[-3000:]
    codebook, teacher, student = (
        json.loads((tmp_path / "walk" / who / "metrics.json").read_text())["metrics"]
        for who in ("codebook", "teacher", "student")
    )
    assert codebook["held_out/cost_ego_shuffled_low"] > 0.05
    assert codebook["probe/ego codes/yaw change/linear"] > codebook["probe/present frame/yaw change/linear"] + 0.1
    assert teacher["held_out/nats"] < teacher["held_out/baseline_marginal_nats"] - 0.5
    assert student["held_out/decoded"] > student["held_out/baseline_marginal_top1"] + 0.05
