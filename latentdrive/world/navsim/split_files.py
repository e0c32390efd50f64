"""Splits of the NAVSIM world in NAVSIM's own form: SPLIT.yaml beside scene_filter/SPLIT.yaml.

Each split is written twice: without the moments that the score finds too easy or too hard, and as
SPLIT_unfiltered with all candidate moments.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from latentdrive.files import write_atomic
from latentdrive.types import FROZEN
from latentdrive.world.navsim.decision_points import dealt
from latentdrive.world.navsim.drive_writer import PointSpec
from latentdrive.world.navsim.point_scores import PointScore, too_easy, too_hard

FILTERS = "scene_filter"  # folder of the scene filters
UNFILTERED = "_unfiltered"  # ends the name of the split from which the score has dropped nothing


@dataclass(**FROZEN)
class ScoredDrive:
    """A written drive: its card, and the scores at its candidate moments."""

    card: Mapping[str, Any]
    scores: Sequence[PointScore]


def write_split(
    folder: Path, name: str, drives: Sequence[ScoredDrive], points: PointSpec, *, data_split: str, wanted: int
) -> dict[str, int]:
    """Write a split and its unfiltered twin below `folder`. Return counts of drives, frames, moments and scenes.

    data_split: folder of the logs. wanted: number of scenes of each of the two splits, if there are
    as many candidates.
    """
    candidates = [[score.row for score in drive.scores] for drive in drives]
    scores = [score for drive in drives for score in drive.scores]
    kept = [
        [score.row for score in drive.scores if not (too_easy(score, points) or too_hard(score, points))]
        for drive in drives
    ]
    cards = [drive.card for drive in drives]
    used, scenes = _write_filter(folder, name, cards, dealt(kept, wanted), points, data_split)
    _, unfiltered = _write_filter(folder, name + UNFILTERED, cards, dealt(candidates, wanted), points, data_split)
    unusable = points.history_frames - 1 + points.future_frames  # frames of a drive at its ends
    return {
        "drives": len(drives),
        "drives_used": used,
        "frames": sum(card["frames"] for card in cards),
        "moments": sum(card["frames"] - unusable for card in cards),
        "candidates": len(scores),
        "dropped_as_too_easy": sum(too_easy(score, points) for score in scores),
        "dropped_as_too_hard": sum(too_hard(score, points) for score in scores),
        "points": scenes,
        "points_wanted": wanted,
        "points_unfiltered": unfiltered,
        "rejected_drives": sum(card["attempt"] for card in cards),
    }


def _write_filter(
    folder: Path,
    name: str,
    cards: Sequence[Mapping[str, Any]],
    chosen: Sequence[Sequence[int]],
    points: PointSpec,
    data_split: str,
) -> tuple[int, int]:
    """Write one split. chosen: rows of each drive's log. Return the numbers of drives and scenes."""
    tokens = [token for card, rows in zip(cards, chosen) for row, token, _ in card["points"] if row in rows]
    used = [card["log"] for card, rows in zip(cards, chosen) if rows]
    content = {
        "_target_": "navsim.common.dataclasses.SceneFilter",
        "_convert_": "all",
        "num_history_frames": points.history_frames,
        "num_future_frames": points.future_frames,
        "frame_interval": 1,
        "has_route": True,
        "max_scenes": None,
        "log_names": used,
        "tokens": [_Quoted(token) for token in tokens],
    }
    _write_yaml(folder / FILTERS / f"{name}.yaml", content)
    _write_yaml(folder / f"{name}.yaml", {"defaults": [{FILTERS: name}], "data_split": data_split})
    return len(used), len(tokens)


class _Quoted(str):
    """Text that YAML gets in quotes, because NAVSIM's reader takes digits around an e for a number."""


class _Dumper(yaml.SafeDumper):
    """Writes _Quoted in quotes."""


_Dumper.add_representer(_Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'"))


def _write_yaml(path: Path, content: dict) -> None:
    text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, width=120)
    write_atomic(path, lambda new: new.write_text(text, encoding="utf-8"))
