"""Which scenes are evaluated: those of a split, opened with the sensors that the planner needs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from latentdrive.data.clips.data_set import DataSet
from latentdrive.data.navsim.scene_filter import SecondStage
from latentdrive.errors import ConfigError, NoScenes, UnreadableClip
from latentdrive.pdms.versions import Version
from latentdrive.types import FROZEN, FirstStage, SceneSource, SensorNeeds, TwoStage


@dataclass(**FROZEN)
class SplitScenes:
    """The scenes that are evaluated, in order. drives: of each scene; its token where the drive is
    unknown.

    entries: of a split of two stages, which scenes follow which; `tokens` are then the scenes of
    these entries. left_out: why other entries cannot be scored, by the token of their present
    scene. synthetic: tokens of the second stage. All three are empty for one stage. unscorable: why no
    score can follow from these scenes; empty where one can.
    """

    source: SceneSource
    tokens: tuple[str, ...]
    drives: tuple[str, ...]
    entries: tuple[SecondStage, ...] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    synthetic: frozenset[str] = frozenset()
    unscorable: str = ""

    @property
    def skipped_second_stages(self) -> int:
        """How many second stages the split names although this source has its first stage alone."""
        return self.source.skipped_second_stages if isinstance(self.source, FirstStage) else 0

    def of_entries(self, entries: Iterable[SecondStage]) -> "SplitScenes":
        """The scenes of these entries alone."""
        chosen = tuple(entries)
        return replace(
            self._only({token for entry in chosen for pair in entry.pairs for token in pair}), entries=chosen
        )

    def first_stage(self) -> "SplitScenes":
        """The original scenes, as scenes of one stage; all scenes if there is no other stage."""
        if not self.synthetic:
            return self
        return replace(self._only(set(self.tokens) - self.synthetic), entries=(), synthetic=frozenset())

    def _only(self, tokens: set[str]) -> "SplitScenes":
        rows = [row for row, token in enumerate(self.tokens) if token in tokens]
        chosen, drives = (tuple(names[row] for row in rows) for names in (self.tokens, self.drives))
        return replace(self, tokens=chosen, drives=drives)


def open_split(
    data: DataSet,
    *,
    split: str | None,
    version: Version,
    needs: SensorNeeds,
    limit: int | None,
    progress: Callable,
) -> SplitScenes:
    """The scenes of a split, with the sensors that the planner needs and no others.

    limit: take only the first scenes, or of two stages the first entries of the mapping. Two stages
    without a mapping (NAVSIM's private test split) give all their scenes, none of which can be scored.
    Raises ConfigError where the data have no splits, or lack sensors that the planner needs, and for
    two stages with another version than EPDMS v2.2.
    """
    source = data.open_scenes(split=split, needs=needs, progress=progress)
    two_stages = isinstance(source, TwoStage)
    if two_stages and version is not Version.EPDMS_V2_2:
        raise ConfigError(
            f"scorer={version}: two stages are scored by {Version.EPDMS_V2_2} alone (v1 has one "
            "stage, and v2.0's total needs "
            "sub-scores before the human filter). Leave scorer out, or evaluate the first stage alone with data=navsim"
        )
    tokens = tuple(source.tokens)[: None if two_stages and source.second_stages else limit]
    if not tokens:
        raise NoScenes(f"{data.path}: no scene to evaluate")
    scenes = SplitScenes(source=source, tokens=tokens, drives=tuple(_drive(source, token) for token in tokens))
    if not two_stages:
        return scenes
    scenes = replace(scenes, synthetic=frozenset(source.synthetic), left_out=dict(source.incomplete))
    if not source.second_stages:
        return replace(scenes, unscorable="the split has two stages, but no mapping (reactive_all_mapping) joins them")
    return scenes.of_entries(source.second_stages[:limit])


def _drive(source: SceneSource, token: str) -> str:
    try:
        return source.drive(token)
    except UnreadableClip:
        return token  # preparing the scene fails as well, and reports the reason
