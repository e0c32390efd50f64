"""Both stages of a NAVSIM v2 split (navhard) as one source: original scenes, and the synthetic ones that follow them.

After scene_source.py and synthetic.py, which hold one stage each; the split's mapping joins them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from latentdrive.counting import counted
from latentdrive.data.navsim.opening import open_navsim_logs
from latentdrive.data.navsim.scene_filter import SecondStage
from latentdrive.data.navsim.scene_source import NavsimLogs
from latentdrive.data.navsim.scenes import Maps
from latentdrive.data.navsim.synthetic import SyntheticScenes
from latentdrive.errors import ConfigError, NoScenes
from latentdrive.progress import Progress
from latentdrive.types import BoxCounts, Scene, SceneTruth


class TwoStageScenes:
    """Scenes of both stages by token, first stage first (a SceneSource, TwoStage).

    second_stages: entries of the split's mapping whose scenes are all there. incomplete: why the
    other entries are left out, by their token of now. Half an entry is never used, because its
    score would come from other scenes under the same name. synthetic: tokens of the second stage.
    NAVSIM's private test split has no mapping: all its scenes are there to be planned, and no score
    follows from them.
    """

    def __init__(self, first: NavsimLogs, second: SyntheticScenes) -> None:
        self.first, self.second, self.maps = first, second, first.maps
        self.second_stages, self.incomplete = _complete(first.split.second_stages, first.tokens, second.tokens)
        if self.incomplete and not self.second_stages:
            name, reason = next(iter(self.incomplete.items()))
            raise NoScenes(
                f"none of the {counted(len(self.incomplete), 'entry', 'entries')} in the mapping of "
                f"{first.split.name} is whole, the first one: {name}: {reason}. Give the logs and the synthetic "
                "scenes that were made for this split"
            )
        originals = [token for entry in self.second_stages for token in (entry.now, entry.previous)]
        # Synthetic scene → the original scene that it follows.
        self._original = {
            token: entry.now for entry in self.second_stages for pair in entry.followers for token in pair
        }
        self.synthetic = tuple(self._original) or second.tokens
        self._synthetic = frozenset(self.synthetic)
        self.tokens: tuple[str, ...] = (*(originals or first.tokens), *self.synthetic)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, token: str) -> Scene:
        """What the car sees. Raises UnreadableScene."""
        return self._stage(token)[token]

    def truth(self, token: str) -> SceneTruth:
        """What scoring may know. Raises UnreadableScene and MapError."""
        return self._stage(token).truth(token)

    def drive(self, token: str) -> str:
        """Name of the original scene's log, for the synthetic scenes that follow it as well."""
        original = self._original.get(token, token)
        return (self.second if original in self._synthetic else self.first).drive(original)

    def location(self, token: str) -> Path:
        """The log or the file that a scene is read from."""
        return self._stage(token).location(token)

    def start(self, token: str) -> tuple[int, Float64[np.ndarray, "3"]]:
        """Time of now in microseconds, and the rear axle's pose, global. Raises UnreadableScene."""
        return self._stage(token).start(token)

    def description(self) -> dict[str, Any]:
        """What decides both stages, for the stamp of a score."""
        first, second = self.first.description(), self.second.description()
        incomplete = first["incomplete_scenes"] + second["incomplete_scenes"]
        return first | second | {"incomplete_scenes": incomplete}

    def box_counts(self, token: str) -> BoxCounts:
        """What is known of the boxes of a scene. Raises UnreadableScene."""
        return self._stage(token).box_counts(token)

    def summary(self) -> str:
        """The numbers of scenes and entries that were found, in a sentence."""
        text = (
            f"{counted(len(self.tokens) - len(self.synthetic), 'original scene')} and {len(self.synthetic):,} "
            "synthetic ones"
        )
        if not self.second_stages:
            return f"{text}; the split has no mapping, so they can be planned, but no score follows from them"
        text += f" that follow them, in {counted(len(self.second_stages), 'entry', 'entries')} of the split's mapping"
        if self.incomplete:
            name, reason = next(iter(self.incomplete.items()))
            text += f"; left out: {counted(len(self.incomplete), 'entry', 'entries')}, the first one: {name}: {reason}"
        return text

    def _stage(self, token: str) -> NavsimLogs | SyntheticScenes:
        return self.second if token in self._synthetic else self.first


def open_two_stage(
    *,
    path: str,
    logs: str,
    data_split: str | None,
    split: str | None,
    splits: str | None,
    maps: Maps | None,
    cameras: Sequence[str],
    camera_frames: str,
    lidar: bool,
    complete_only: bool = False,
    at_least: Sequence[int] | None,
    cache_folder: str,
    processes: int,
    max_unreadable: float,
    progress: Progress | None = None,
) -> TwoStageScenes | SyntheticScenes:
    """Both stages of a split; without a split, all synthetic scenes alone.

    Only a split's mapping joins the stages. path: folder of the synthetic scenes. logs: folder that
    holds navsim_logs/ and sensor_blobs/ of the original ones. Other arguments: as in NavsimLogs and
    SyntheticScenes. Raises ConfigError for a split of one stage, NoScenes if a stage is missing.
    """
    shared = {
        "split": split,
        "splits": splits,
        "maps": maps,
        "cameras": cameras,
        "camera_frames": camera_frames,
        "lidar": lidar,
        "complete_only": complete_only,
        "at_least": at_least,
        "cache_folder": cache_folder,
        "max_unreadable": max_unreadable,
        "progress": progress,
    }
    if split is None:
        return SyntheticScenes(path=path, **shared)
    first = open_navsim_logs(path=logs, data_split=data_split, filter=None, processes=processes, **shared)
    if not first.split.has_second_stage:
        raise ConfigError(
            f"split {split} has one stage (no reactive_all_mapping, and its filter includes no synthetic scenes): open "
            "it with data=navsim, or name a split of two stages"
        )
    return TwoStageScenes(first, SyntheticScenes(path=path, **shared))


def _complete(
    entries: Sequence[SecondStage], originals: Sequence[str], synthetic: Sequence[str]
) -> tuple[tuple[SecondStage, ...], dict[str, str]]:
    """Entries whose scenes are all there and in no earlier entry; and why each of the others is left out."""
    first, second = set(originals), set(synthetic)
    taken: set[str] = set()
    complete: list[SecondStage] = []
    left_out: dict[str, str] = {}
    for number, entry in enumerate(entries, 1):
        pair, followers = (entry.now, entry.previous), [token for both in entry.followers for token in both]
        tokens = (*pair, *followers)
        absent = [token for token in pair if token not in first] + [token for token in followers if token not in second]
        twice = [token for place, token in enumerate(tokens) if token in taken or token in tokens[:place]]
        problems = {
            f"it names {_some(absent)} of {counted(len(tokens), 'scene')} that are not there": absent,
            f"it names {_some(twice)} that the mapping has named before": twice,
            "no scene follows it": not followers,
        }
        if reasons := [reason for reason, applies in problems.items() if applies]:
            name = entry.now if entry.now not in left_out else f"{entry.now} (entry {number})"
            left_out[name] = "; ".join(reasons)
        else:
            complete.append(entry)
            taken.update(tokens)
    return tuple(complete), left_out


def _some(tokens: Sequence[str]) -> str:
    return f"{len(tokens)} ({', '.join(tokens[:3])}{', ...' if len(tokens) > 3 else ''})"
