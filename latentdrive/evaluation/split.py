"""Which scenes are evaluated, and where what the score needs of them is kept. First step of `evaluate`, before planning.py."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from latentdrive.data.clip_data import ClipData
from latentdrive.errors import ConfigError, NoScenes, UnreadableClip
from latentdrive.pdms.versions import Rules
from latentdrive.types import FROZEN, SceneSource, SensorNeeds

SENSOR_KEYS = ("cameras", "camera_frames", "lidar", "at_least", "cache_folder", "processes", "max_unreadable")
DIGITS = 12  # of a store's name


@dataclass(**FROZEN)
class Scenes:
    """What is evaluated. tokens: in order. drives: by token, the token itself where the drive can't be said."""

    source: SceneSource
    tokens: tuple[str, ...]
    drives: tuple[str, ...]


def open_split(
    data: ClipData, settings: Mapping[str, Any], *, split: str | None, needs: SensorNeeds, limit: int | None, progress: Callable
) -> Scenes:  # fmt: skip
    """The scenes of a split, with the sensors that the planner needs and no others. settings: of data.scenes, as configured.

    Raises ConfigError where the data have no splits, or no sensors for a planner that needs some.
    """
    changes: dict[str, Any] = {}
    if split is not None:
        if "split" not in settings:
            raise ConfigError(f"{data.path} has no splits: leave split={split} out, all its scenes are evaluated")
        changes["split"] = split
    if "cameras" in settings:
        changes |= {
            "cameras": list(needs.cameras),
            "camera_frames": needs.frames,
            "lidar": needs.lidar,
            "progress": progress,
        }
    elif needs.cameras or needs.lidar:
        raise ConfigError(
            f"{data.path} has no pictures and no lidar, and this planner wants {needs.cameras or 'lidar'}"
        )
    source = data.open_scenes(**changes)
    tokens = tuple(source.tokens)[:limit]
    if not tokens:
        raise NoScenes(f"{data.path}: no scene to evaluate")
    return Scenes(source=source, tokens=tokens, drives=tuple(_drive(source, token) for token in tokens))


def store_name(settings: Mapping[str, Any], *, split: str | None, rules: Rules) -> str:
    """Folder name of the prepared scenes: the same for all planners on the same scenes by the same rules.

    settings: of data.scenes; what changes no truth is left out.
    """
    told = {key: value for key, value in settings.items() if key not in SENSOR_KEYS} | {
        "split": split or settings.get("split")
    }
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()
    return f"scoring_v{rules.generation}_{digest[:DIGITS]}"


def _drive(source: Any, token: str) -> str:
    try:
        return source.drive(token)
    except UnreadableClip:
        return token  # it fails when it is prepared, and is named there
