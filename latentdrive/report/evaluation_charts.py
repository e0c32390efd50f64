"""Charts of an evaluation's numbers: the total and its sub-scores with intervals, and what the audit counted.

Beside sections.py, which puts them on the page.
"""

from collections.abc import Mapping
from pathlib import Path
from textwrap import wrap

import numpy as np
from PIL import Image

from latentdrive.report.charts import Chart, bars
from latentdrive.report.drawings import picture

PICTURES = "pictures"  # folder of an evaluation's pictures
LINE = 17  # letters of a name below an axis
START, AUDIT = "evaluate/", "audit/"
COUNTS = ("failed", "scenes")


def evaluation_charts(metrics: Mapping[str, float]) -> list[Chart]:
    """Two charts, or fewer where nothing was measured. metrics: as `evaluate` writes them."""
    names = [name.removeprefix(START) for name in metrics if name.startswith(START)]
    kept = [name for name in names if name not in COUNTS and not name.endswith(("_low", "_high"))]
    charts = []
    if kept:
        values = {spoken(name): metrics[f"{START}{name}"] for name in kept}
        within = {
            spoken(name): (metrics[f"{START}{name}_low"], metrics[f"{START}{name}_high"])
            for name in kept
            if f"{START}{name}_low" in metrics
        }
        failed, scenes = (int(metrics.get(f"{START}{name}", 0)) for name in COUNTS)
        charts.append(bars(
            "How well it drives",
            f"The total and what it is made of, as means over {scenes:,} scenes, 1 is best; {failed:,} that failed count as 0. Whiskers: "
            "95 % intervals by drive.",
            values, within=within, across=True,
        ))  # fmt: skip
    shares = {spoken(name.removeprefix(AUDIT)): share for name, share in metrics.items() if name.startswith(AUDIT)}
    if shares:
        charts.append(bars(
            "What the mean hides",
            "Shares of scenes: where the planner gains more progress than the human driver, drives backwards, changes its mind between "
            "two scenes, reaches the highest score, stands still, or plans in another frame than the car's.",
            shares, percent=True, across=True,
        ))  # fmt: skip
    return charts


def spoken(name: str) -> str:
    """A column's name as words."""
    return name.replace("_", " ")


def spoken_in_lines(name: str) -> str:
    """The same for an axis with many names, in lines below each other."""
    return "<br>".join(wrap(spoken(name), LINE))


def score_pictures(folder: Path) -> list[str]:
    """Pictures of an evaluation's worst scenes as data addresses, worst first; none where none were drawn."""
    found = []
    for file in sorted((folder / PICTURES).glob("*.png")):
        pixels = np.asarray(Image.open(file).convert("RGB"))
        found.append(picture(np.ascontiguousarray(pixels.transpose(2, 0, 1))))
    return found
