"""Scores (PDMS v1.1) of the human and of constant velocity at the candidate moments of a drive.

NAVSIM leaves out scenes that are too easy and scenes that its own human fails; split_files.py keeps
the others. The log is read back from the disk as data=navsim reads it. Scores are stored beside the
card of the drive, so a world that is finished later, or whose splits are written again, is not
scored again.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from latentdrive.data.navsim.log import read_log
from latentdrive.data.navsim.scenes import Cut, open_truth
from latentdrive.errors import UnreadableScene
from latentdrive.files import write_atomic
from latentdrive.pdms.prepare import prepare_scene
from latentdrive.pdms.scorer import Scorer
from latentdrive.pdms.straight_ahead import straight_ahead
from latentdrive.pdms.versions import Version
from latentdrive.plain_files import read_json
from latentdrive.types import FROZEN, RoadMap, Trajectory
from latentdrive.world.navsim.drive_writer import PointSpec

DIGITS = 6  # decimal places of a score in the file


@dataclass(**FROZEN)
class PointScore:
    """The scores at one moment. row: its row in the log."""

    row: int
    human: float
    constant_velocity: float


def score_points(
    log: Path, rows: Sequence[int], road_map: RoadMap, points: PointSpec, *, log_hz: float
) -> list[PointScore]:
    """Score the given rows of a log. A moment that cannot be prepared scores 0.

    road_map: in the global frame. log_hz: rate of the log. Raises UnreadableLogFile.
    """
    if not rows:
        return []
    frames, times_s = read_log(log), np.arange(1, points.horizon + 1) / log_hz
    scenes, poses, scored = [], [], []
    for row in rows:
        cut = Cut(
            log=frames,
            token=frames.tokens[row].decode(),
            drive=log.stem,
            first=row - points.history_frames + 1,
            now=row,
            end=row + points.future_frames + 1,
        )
        truth = open_truth(cut, log, {road_map.name: road_map})
        try:
            scenes.append(prepare_scene(truth, Version.PDMS_V1_1.rules))
        except UnreadableScene:  # its route cannot be followed, so no planner can drive there, not even the human
            continue
        scored.append(row)
        straight = straight_ahead(truth.frames[truth.now].velocity, times_s)
        poses.append(np.stack([truth.human.poses[: points.horizon], straight.astype(np.float64)]))
    scores_at = {row: (0.0, 0.0) for row in rows}
    if scored:
        scorer = Scorer(scenes, version=Version.PDMS_V1_1)
        scores = scorer.score(Trajectory(poses=np.stack(poses), dt_s=1 / log_hz)).score
        scores_at |= dict(zip(scored, scores.tolist(), strict=True))
    return [
        PointScore(row=row, human=round(human, DIGITS), constant_velocity=round(straight, DIGITS))
        for row, (human, straight) in scores_at.items()
    ]


def write_scores(path: Path, scores: Sequence[PointScore]) -> None:
    """Store scores, atomically."""
    text = json.dumps([asdict(score) for score in scores], indent=1) + "\n"
    write_atomic(path, lambda new: new.write_text(text, encoding="utf-8"))


def read_scores(path: Path, rows: Sequence[int]) -> list[PointScore] | None:
    """Read stored scores; None if there are none, or if they are damaged or of other rows."""
    try:
        scores = [PointScore(**fields) for fields in read_json(path)]
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return scores if [score.row for score in scores] == list(rows) else None


def too_easy(score: PointScore, points: PointSpec) -> bool:
    """Return whether constant velocity scores too well."""
    return score.constant_velocity > points.constant_velocity_at_most


def too_hard(score: PointScore, points: PointSpec) -> bool:
    """Return whether the human itself scores badly where constant velocity does not score too well."""
    return not too_easy(score, points) and score.human < points.human_at_least
