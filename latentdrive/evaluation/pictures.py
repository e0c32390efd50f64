"""Pictures of the scenes with the lowest scores: which scenes are chosen, and what is drawn of
each."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from latentdrive.drawing.scored_scene import scored_scene_picture
from latentdrive.evaluation.planned_split import PlannedSplit, PreparedSplit
from latentdrive.evaluation.results import Results
from latentdrive.evaluation.score_losses import score_losses
from latentdrive.files import write_atomic
from latentdrive.statistics import recording_of

PICTURES = "pictures"  # folder of the pictures, in that of the evaluation


def worst_rows(results: Results, count: int) -> list[int]:
    """Rows of the scored scenes with the lowest totals below 1, worst first.

    The worst scene of each drive comes before the second ones, so that six pictures are not six
    moments of one drive. Scenes that failed are left out: they are listed with their reasons
    elsewhere.
    """
    ascending = np.argsort(results.score, kind="stable").tolist()
    order = [row for row in ascending if results.valid[row] and results.score[row] < 1]
    drives: set[str] = set()
    first, others = [], []
    for row in order:
        drive = recording_of(results.drives[row])
        (others if drive in drives else first).append(row)
        drives.add(drive)
    chosen = [*first, *others][: max(0, count)]
    return sorted(chosen, key=lambda row: (results.score[row], row))


def write_worst_pictures(
    folder: Path, split: PreparedSplit, planned: PlannedSplit, human: PlannedSplit | None, *, count: int
) -> list[Path]:
    """Draw the `count` worst scenes into `folder`, worst first. human: the driver on the same
    split, where known."""
    paths = []
    for number, row in enumerate(worst_rows(planned.scored.results, count), 1):
        pixels = _picture(split, planned, human, row)
        token = planned.scored.results.tokens[row]
        paths.append(folder / f"{number:02d}_{_file_name(token)}.png")
        write_atomic(paths[-1], lambda new, pixels=pixels: Image.fromarray(pixels).save(new, format="png"))
    return paths


def _picture(
    split: PreparedSplit, planned: PlannedSplit, human: PlannedSplit | None, row: int
) -> UInt8[np.ndarray, "H W 3"]:
    results, states = planned.scored.results, planned.scored.states[row]
    token = results.tokens[row]
    scene = split.prepared(token)
    plan = planned.plans.trajectories.get(token)
    driven = None if human is None else human.plans.trajectories.get(token)
    return scored_scene_picture(
        scene,
        title=f"{token}  {results.version}  score {results.score[row]:.3f}",
        notes=score_losses(scene, results, row, states),
        states=states,
        planned=None if plan is None else plan.poses,
        human=None if driven is None else driven.poses,
        hit=results.collision_track[row],
    )


def _file_name(token: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_.@" else "_" for sign in token)
