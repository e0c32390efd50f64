"""Runs as verbs leave them, made by hand: folders, metrics, events, and a dictionary whose codes
mean something."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from latentdrive.codebook.judging.dictionary import ARROWS, Dictionary
from latentdrive.config import to_yaml
from latentdrive.evaluation.results import Results
from latentdrive.evaluation.scores_file import SCORES, write_scores
from latentdrive.evaluation.summary import SUMMARY, as_text, summarise, write_evaluation_sums

CODES = 4


def write_run(folder: Path, verb: str, *, metrics: dict[str, float] | None = None, **written: Any) -> Path:
    """A run folder; unfinished without metrics."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml({"verb": verb, "out": str(folder)}))
    if metrics is not None:
        content = {"verb": verb, "command": f"latentdrive {verb}", "commit": "abc", "seconds": 12.0, "metrics": metrics}
        (folder / "metrics.json").write_text(json.dumps(content | written))
    return folder


def write_curve(folder: Path, tag: str, values: list[float], *, first_step: int = 0) -> None:
    """One logged scalar, one value a step."""
    with SummaryWriter(str(folder)) as writer:
        for step, value in enumerate(values, first_step):
            writer.add_scalar(tag, value, step)


def make_dictionary(*, poses: bool = True, flow: bool = True) -> Dictionary:
    """Code 0 goes straight, 1 turns left, 2 turns right, 3 is never said; 1 and 2 follow each
    other."""
    ego = np.array([[0, 0], [1, 1], [2, 2], [1, 1], [2, 2], [0, 0]])
    motion = np.zeros((6, 4))
    motion[:, 0], motion[:, 2] = 5.0, np.array([0.0, 0.1, -0.1, 0.1, -0.1, 0.0])[ego[:, 0] * 0 + np.arange(6)]
    follows = np.zeros((CODES, CODES), int)
    follows[1, 2] = follows[2, 1] = 4
    follows[0, 1] = follows[2, 0] = 2
    examples = np.array([[0, 5], [1, 3], [2, -1], [-1, -1]])
    return Dictionary(
        ego=ego,
        motion=motion if poses else 0 * motion,
        known=np.full(6, poses),
        flow=np.full((6, 2, *ARROWS), 0.01 if flow else np.nan),
        window=np.array([0, 0, 0, 1, 1, 1]),
        place=np.array([0, 1, 2, 0, 1, 2]),
        follows=follows,
        examples=examples,
        pictures=np.random.default_rng(0).integers(0, 256, (CODES, 2, 3, 3, 32, 48), np.uint8),
        transplants=np.random.default_rng(1).integers(0, 256, (2, 4, 3, 32, 48), np.uint8),
        transition_s=0.5,
        codebook_id="b1",
    )


def write_evaluation(folder: Path, results: Results, planner: str = "StandStill", **about: Any) -> Path:
    """A folder as `evaluate` leaves it, without the data it was made of; about: more of
    summary.json."""
    write_run(folder, "evaluate", metrics={}, scorer=str(results.version))
    write_scores(folder / SCORES, results)
    about = {"planner": {"_target_": f"latentdrive.planners.made.{planner}"}, "split": "val", **about}
    (folder / SUMMARY).write_text(as_text(summarise(results, [], about)))
    write_evaluation_sums(folder)
    return folder
