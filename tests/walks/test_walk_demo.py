"""The whole walk through the command line: world, codebook, labels, teacher, labels, student, labels, report."""

import json
import re
from pathlib import Path

from latentdrive import checkpoint

STEPS = ("world", "codebook", "label_codebook", "teacher", "label_teacher", "student", "label_student", "report")


def test_the_demo_walks_every_step_ends_with_a_report_and_repeats_nothing(latentdrive, tmp_path: Path, request):
    done = latentdrive("demo", "demo=smoke", "out=walk", timeout_s=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    said = [line for line in done.stdout.splitlines() if line.startswith("Step ")]
    assert [line.split(":")[0] for line in said] == [f"Step {number} of 8" for number in range(1, 9)]
    assert re.search(r"Result: walk/report\.html\nNext: open walk/report\.html", done.stdout)

    out = tmp_path / "walk"
    for step in STEPS:
        written = json.loads((out / step / "metrics.json").read_text())
        assert written["command"].startswith("latentdrive ") and written["commit"]
        assert (out / step / "config.yaml").is_file() and (out / step / "log.txt").is_file()
    ids = [checkpoint.read_card(out / who / "checkpoint") for who in ("codebook", "teacher", "student")]
    assert ids[1].parents["codebook"] == ids[2].parents["codebook"] == ids[0].fingerprint
    html = (out / "report.html").read_text(encoding="utf-8")
    for part in ("What each ego code means", "What leaks where", "Agreement, slot by slot", "Which code follows which"):
        assert part in html

    again = latentdrive("demo", "demo=smoke", "out=walk", timeout_s=600)
    assert again.returncode == 0 and again.stdout.count("finished before") == len(STEPS)

    dom = request.getfixturevalue("in_browser")(out / "report.html")
    assert 'data-errors=""' in dom and f'data-drawn="{dom.count("data-chart=")}"' in dom
