"""How a configuration describes NAVSIM scenes: `scenes:` of configs/data/navsim.yaml and configs/data/navhard.yaml.

The fields have the names of the arguments of NavsimLogs and of SyntheticScenes, which open what is described here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from latentdrive.data.maps.nuplan_maps import NuplanMaps
from latentdrive.data.navsim.opening import open_navsim_logs
from latentdrive.data.navsim.scene_source import NavsimLogs
from latentdrive.data.navsim.synthetic import SyntheticScenes
from latentdrive.data.navsim.two_stage import TwoStageScenes, open_two_stage
from latentdrive.data.scene_settings import SceneSettings
from latentdrive.progress import Progress
from latentdrive.types import SensorNeeds


@dataclass(frozen=True, kw_only=True)
class OpenSceneSettings(SceneSettings):
    """What both kinds of NAVSIM scenes share; the fields are arguments of NavsimLogs.

    complete_only: leave out scenes of which a file of the sensors is missing. It makes no scene another
    one, so prepared scenes are shared, and it is no part of `content`.
    """

    has_sensors: ClassVar[bool] = True

    data_split: str | None
    split: str | None = None
    splits: str | None
    maps: NuplanMaps | None
    cameras: Sequence[str]
    camera_frames: str
    lidar: bool
    complete_only: bool = False
    at_least: Sequence[int] | None
    cache_folder: str
    processes: int

    def content(self) -> dict[str, Any]:
        """Folders, split and maps."""
        maps = None if self.maps is None else self.maps.identity
        return {"path": self.path, "data_split": self.data_split, "splits": self.splits, "maps": maps}

    def stamps(self) -> list[tuple[str, int, int]]:
        """Those of the maps."""
        return [] if self.maps is None else self.maps.stamps()

    @property
    def pictures_at_least(self) -> Sequence[int] | None:
        """Height and width in pixels that pictures may be decoded down to; None where they come whole."""
        return self.at_least

    def with_split(self, split: str) -> "OpenSceneSettings":
        """The same settings for another split."""
        return replace(self, split=split)

    def with_sensors(self, needs: SensorNeeds) -> "OpenSceneSettings":
        """The same settings with these sensors opened and no others."""
        return replace(self, cameras=needs.cameras, camera_frames=needs.frames, lidar=needs.lidar)

    def arguments(self) -> dict[str, Any]:
        """Every field by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, kw_only=True)
class NavsimSettings(OpenSceneSettings):
    """Scenes of one split of NAVSIM logs. filter: which scenes are taken where no split is named."""

    filter: Mapping[str, Any] | None

    def content(self) -> dict[str, Any]:
        """Folders, split, filter and maps."""
        # Ids of the first scoring stores contain `_target_` and `_partial_`: without them all
        # stores would be remade.
        return super().content() | {"_target_": "NavsimLogs", "_partial_": True, "filter": self.filter}

    def open(self, progress: Progress | None = None) -> NavsimLogs:
        """The source. Raises NoScenes."""
        return open_navsim_logs(**self.arguments(), progress=progress)


@dataclass(frozen=True, kw_only=True)
class TwoStageSettings(OpenSceneSettings):
    """Both stages of a NAVSIM v2 split. path: folder of the synthetic scenes; logs: folder of the original ones."""

    logs: str

    def content(self) -> dict[str, Any]:
        """Folders of both stages, split and maps."""
        return super().content() | {"_target_": "open_two_stage", "_partial_": True, "logs": self.logs}

    def open(self, progress: Progress | None = None) -> TwoStageScenes | SyntheticScenes:
        """The source. Raises NoScenes, and ConfigError for a split of one stage."""
        return open_two_stage(**self.arguments(), progress=progress)
