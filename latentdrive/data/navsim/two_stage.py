"""Both stages of a NAVSIM v2 split (navhard) as one source: original scenes, and the synthetic ones that follow them.

After navsim_logs.py and navsim_synthetic.py, which hold one stage each; the split's mapping joins them.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from latentdrive.data.navsim.log_folder import Progress
from latentdrive.data.navsim.scene_filter import SecondStage
from latentdrive.data.navsim.scene_source import NavsimLogs
from latentdrive.data.navsim.scenes import Cut, Maps
from latentdrive.data.navsim.synthetic import SyntheticScenes
from latentdrive.errors import ConfigError, NoScenes
from latentdrive.types import Scene, SceneTruth


class TwoStageScenes:
    """Scenes of both stages by token, those of the first stage first; a SceneSource.

    second_stages: entries of the split's mapping whose scenes are all there. incomplete: of the other entries, by their token of
    now: why they are left out. Half an entry is not kept: its score would be one of other scenes under the same name.
    """

    def __init__(self, first: NavsimLogs, second: SyntheticScenes) -> None:
        self.first, self.second, self.maps = first, second, first.maps
        self.second_stages, self.incomplete = _complete(first.split.second_stages, first.tokens, second.tokens)
        if not self.second_stages:
            name, reason = next(iter(self.incomplete.items()))
            raise NoScenes(
                f"none of the {len(self.incomplete):,} entries of the mapping of {first.split.name} is whole, the first one: {name}: "
                f"{reason}. Give the logs and the synthetic scenes that were made for this split"
            )
        originals = [token for one in self.second_stages for token in (one.now, one.previous)]
        self._followed = {token: one.now for one in self.second_stages for pair in one.followers for token in pair}
        self.tokens: tuple[str, ...] = (*originals, *self._followed)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, token: str) -> Scene:
        """What the car sees. Raises UnreadableScene."""
        return self._stage(token)[token]

    def truth(self, token: str) -> SceneTruth:
        """What scoring may know. Raises UnreadableScene and MapError."""
        return self._stage(token).truth(token)

    def drive(self, token: str) -> str:
        """Name of the log of the original scene: what follows it is resampled with it."""
        return self.first.drive(self._followed.get(token, token))

    def location(self, token: str) -> Path:
        """The log or the file that a scene is read from."""
        return self._stage(token).location(token)

    def start(self, token: str) -> tuple[int, Float64[np.ndarray, "3"]]:
        """Time of now in microseconds, and the rear axle's pose, global. Raises UnreadableScene."""
        cut: Cut = self.second.read(token).cut if token in self._followed else self.first.cut(token)
        return int(cut.log.timestamps_us[cut.now]), cut.log.poses[cut.now]

    def summary(self) -> str:
        """What was found, in a sentence."""
        text = (
            f"{len(self.tokens) - len(self._followed):,} original scenes and {len(self._followed):,} synthetic ones that follow them, "
            f"in {len(self.second_stages):,} entries of the split's mapping"
        )
        if self.incomplete:
            name, reason = next(iter(self.incomplete.items()))
            text += f"; {len(self.incomplete):,} entries are left out, the first one: {name}: {reason}"
        return text

    def _stage(self, token: str) -> NavsimLogs | SyntheticScenes:
        return self.second if token in self._followed else self.first


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
    at_least: Sequence[int] | None,
    cache_folder: str,
    processes: int,
    max_unreadable: float,
    progress: Progress | None = None,
) -> TwoStageScenes | SyntheticScenes:
    """Both stages of a split; where none is named, the synthetic scenes alone, which no mapping joins to any others.

    path: of the synthetic scenes, logs: the folder that holds navsim_logs/ and sensor_blobs/ of the original ones. The rest: as in
    NavsimLogs and SyntheticScenes. Raises ConfigError for a split that has one stage, NoScenes where a stage is not there.
    """
    shared = {
        "split": split, "splits": splits, "maps": maps, "cameras": cameras, "camera_frames": camera_frames, "lidar": lidar,
        "at_least": at_least, "cache_folder": cache_folder, "max_unreadable": max_unreadable, "progress": progress,
    }  # fmt: skip
    if split is None:
        return SyntheticScenes(path=path, **shared)
    first = NavsimLogs(path=logs, data_split=data_split, filter=None, processes=processes, **shared)
    if not first.split.second_stages:
        raise ConfigError(
            f"split {split} has one stage (no reactive_all_mapping): take it with data=navsim, or name a split of two stages"
        )
    return TwoStageScenes(first, SyntheticScenes(path=path, **shared))


def _complete(
    listed: Sequence[SecondStage], originals: Sequence[str], synthetic: Sequence[str]
) -> tuple[tuple[SecondStage, ...], dict[str, str]]:
    """Entries whose scenes are all there and belong to no entry before; and why each of the others is left out."""
    first, second = set(originals), set(synthetic)
    taken: set[str] = set()
    whole: list[SecondStage] = []
    left_out: dict[str, str] = {}
    for number, entry in enumerate(listed, 1):
        pair, followers = (entry.now, entry.previous), [token for both in entry.followers for token in both]
        mine = (*pair, *followers)
        absent = [token for token in pair if token not in first] + [token for token in followers if token not in second]
        twice = [token for place, token in enumerate(mine) if token in taken or token in mine[:place]]
        reasons = {
            f"it names {_some(absent)} of {len(mine)} scenes that are not there": absent,
            f"it names {_some(twice)} that the mapping has named before": twice,
            "no scene follows it": not followers,
        }
        if found := [reason for reason, problem in reasons.items() if problem]:
            name = entry.now if entry.now not in left_out else f"{entry.now} (entry {number})"
            left_out[name] = "; ".join(found)
        else:
            whole.append(entry)
            taken.update(mine)
    return tuple(whole), left_out


def _some(tokens: Sequence[str]) -> str:
    return f"{len(tokens)} ({', '.join(tokens[:3])}{', ...' if len(tokens) > 3 else ''})"
