"""What the `scenes:` node of a data configuration says: which decision points there are, and how they are opened.

Each kind of source has a subclass beside it (data/navsim/scene_settings.py,
data/scenarios/scene_source.py). `DataSet` and the commands read these fields and never look into
the source that is built from them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from latentdrive.errors import ConfigError
from latentdrive.identity import digest
from latentdrive.progress import Progress
from latentdrive.types import SceneSource, SensorNeeds


@dataclass(frozen=True, kw_only=True)
class SceneSettings(ABC):
    """Settings of one source of decision points. path: folder or file that it reads.
    max_unreadable: share of its files that may fail.

    Every other field belongs to one of two groups. Those that `content` returns decide which scenes
    there are and what their truth is. The rest (sensors, cache, processes) decides how a scene is
    opened, and never which scenes there are.
    """

    has_sensors: ClassVar[bool] = False

    path: str
    max_unreadable: float

    @abstractmethod
    def content(self) -> dict[str, Any]:
        """Everything that decides the scenes and their truth, as plain values."""

    @abstractmethod
    def open(self, progress: Progress | None = None) -> SceneSource:
        """The source. progress: shows how far reading new files has come. Raises NoScenes."""

    def stamps(self) -> list[tuple[str, int, int]]:
        """Name, size and time of change of the files that every scene's truth is read from, beside its own file."""
        return []

    @property
    def pictures_at_least(self) -> Sequence[int] | None:
        """Height and width in pixels that pictures may be decoded down to; None where they come
        whole, or there are none.
        """
        return None

    def with_split(self, split: str) -> "SceneSettings":
        """The same settings for another split. Raises ConfigError where the data have no splits."""
        raise ConfigError(f"{self.path} has no splits: leave data.split.test={split} out, and all its scenes are taken")

    def with_sensors(self, needs: SensorNeeds) -> "SceneSettings":
        """The same settings with these sensors opened and no others. Raises ConfigError where the
        data have none of them.
        """
        if needs.cameras or needs.lidar:
            raise ConfigError(
                f"{self.path} has no pictures and no LiDAR, and {', '.join(needs.cameras) or 'LiDAR'} is asked for: "
                "choose a planner that needs no sensors, or data that have them (data=navsim)"
            )
        return self

    def id_of(self, split: str | None) -> str:
        """12 hexadecimal digits over what decides the scenes of a split (None: all scenes), without the sensors."""
        return digest(self.content() | {"split": split}, 12)
