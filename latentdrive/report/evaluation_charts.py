"""Charts of one evaluation: the total and its sub-scores with intervals, the counts of the audit,
and the worst scenes."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import wrap

import numpy as np

from latentdrive.counting import counted
from latentdrive.data.navsim.sensor_files import read_image
from latentdrive.errors import UnreadableScene
from latentdrive.evaluation.pictures import PICTURES
from latentdrive.report.charts import Chart, bars
from latentdrive.report.drawings import picture

LINE = 17  # letters in a line of a name below an axis
START, AUDIT = "evaluate/", "audit/"  # prefixes of names in metrics.json
COUNTS = ("failed", "scenes")


def evaluation_charts(metrics: Mapping[str, float]) -> list[Chart]:
    """The scores, and the shares that the audit counted; fewer charts where less was measured."""
    return [*_scores(metrics), *_audit(metrics)]


def _scores(metrics: Mapping[str, float]) -> list[Chart]:
    names = [name.removeprefix(START) for name in metrics if name.startswith(START)]
    means = [name for name in names if name not in COUNTS and not name.endswith(("_low", "_high"))]
    if not means:
        return []
    within = {
        in_words(name): (metrics[f"{START}{name}_low"], metrics[f"{START}{name}_high"])
        for name in means
        if metrics.keys() >= {f"{START}{name}_low", f"{START}{name}_high"}  # a run on one drive has no interval
    }
    failed, scenes = (int(metrics.get(f"{START}{name}", 0)) for name in COUNTS)
    caption = (
        f"The total score and its sub-scores, as means over {counted(scenes, 'scene')}; 1 is best. Scenes that "
        f"failed count as 0, here {failed:,}. Whiskers: 95 % intervals by drive."
    )
    values = {in_words(name): metrics[f"{START}{name}"] for name in means}
    return [bars("How well it plans", caption, values, within=within, across=True)]


def _audit(metrics: Mapping[str, float]) -> list[Chart]:
    shares = {in_words(name.removeprefix(AUDIT)): share for name, share in metrics.items() if name.startswith(AUDIT)}
    if not shares:
        return []
    caption = (
        "Share of scenes in which the planner makes more progress than the human driver, drives "
        "backwards, changes its plan "
        "between two scenes, reaches the highest score, stands still, or plans in another frame than the ego frame."
    )
    return [bars("What the mean hides", caption, shares, percent=True, across=True)]


def in_words(name: str) -> str:
    """The name of a column as words."""
    return name.replace("_", " ")


def in_wrapped_words(name: str) -> str:
    """The name of a column in several lines, for an axis with many names."""
    return "<br>".join(wrap(in_words(name), LINE))


def score_pictures(folder: Path) -> list[str]:
    """Pictures of an evaluation's worst scenes as data addresses, worst first; empty if none were
    drawn. A damaged one is left out."""
    addresses = []
    for file in sorted((folder / PICTURES).glob("*.png")):
        try:
            pixels, _ = read_image(file, None)
        except UnreadableScene:
            continue
        addresses.append(picture(np.ascontiguousarray(pixels.transpose(2, 0, 1))))
    return addresses
