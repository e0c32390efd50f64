"""Which scenes are evaluated. First step of `evaluate`, before planning.py."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from latentdrive.data.clips.data_set import ClipData
from latentdrive.data.navsim.scene_filter import SecondStage
from latentdrive.data.navsim.two_stage import TwoStageScenes
from latentdrive.errors import ConfigError, NoScenes, UnreadableClip
from latentdrive.pdms.versions import Version
from latentdrive.types import FROZEN, SceneSource, SensorNeeds


@dataclass(**FROZEN)
class Scenes:
    """What is evaluated. tokens: in order. drives: of each, the token itself where the drive can't be said.

    entries: of a split of two stages, which scenes follow which; tokens are theirs. left_out: entries that can't be scored, by their token of now,
    with the reason. Both are empty where there is one stage.
    """

    source: SceneSource
    tokens: tuple[str, ...]
    drives: tuple[str, ...]
    entries: tuple[SecondStage, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)

    def of_entries(self, entries: Iterable[SecondStage]) -> "Scenes":
        """The scenes of these entries alone."""
        kept = tuple(entries)
        named = {token for entry in kept for pair in entry.pairs for token in pair}
        return replace(self._only(named), entries=kept)

    def first_stage(self) -> "Scenes":
        """The original scenes, as scenes of one stage; all of them where there is no other."""
        if not self.entries:
            return self
        return replace(self._only({token for entry in self.entries for token in entry.pairs[0]}), entries=())

    def _only(self, named: set[str]) -> "Scenes":
        rows = [row for row, token in enumerate(self.tokens) if token in named]
        tokens, drives = (tuple(names[row] for row in rows) for names in (self.tokens, self.drives))
        return replace(self, tokens=tokens, drives=drives)


def open_split(
    data: ClipData, settings: Mapping[str, Any], *, split: str | None, version: Version, needs: SensorNeeds, limit: int | None,
    progress: Callable,
) -> Scenes:  # fmt: skip
    """The scenes of a split, with the sensors that the planner needs and no others. settings: of data.scenes, as configured.

    limit: the first so many scenes, or entries of a mapping where there are two stages. Raises ConfigError where the data have no
    splits, or no sensors for a planner that needs some, and for two stages by another version than EPDMS v2.2.
    """
    source = open_source(data, settings, split=split, needs=needs, progress=progress)
    two_stages = isinstance(source, TwoStageScenes)
    if two_stages and version is not Version.EPDMS_V2_2:
        raise ConfigError(
            f"scorer={version}: two stages are scored by {Version.EPDMS_V2_2} alone (v1 has one stage, and v2.0's total needs sub-scores "
            f"before the human filter); leave scorer out, or take the first stage alone with data=navsim"
        )
    tokens = tuple(source.tokens)[: None if two_stages else limit]
    if not tokens:
        raise NoScenes(f"{data.path}: no scene to evaluate")
    scenes = Scenes(source=source, tokens=tokens, drives=tuple(_drive(source, token) for token in tokens))
    if not two_stages:
        return scenes
    return replace(scenes.of_entries(source.second_stages[:limit]), left_out=source.incomplete)


def open_source(
    data: ClipData, settings: Mapping[str, Any], *, split: str | None, needs: SensorNeeds, progress: Callable
) -> SceneSource:  # fmt: skip
    """The same as a source of all its scenes, whatever is scored. Raises ConfigError and NoScenes as `open_split` does."""
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
    return data.open_scenes(**changes)


def _drive(source: Any, token: str) -> str:
    try:
        return source.drive(token)
    except UnreadableClip:
        return token  # it fails when it is prepared, and is named there
