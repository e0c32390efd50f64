"""The val split as the gate and `compare-backends` need it: opened for a planner, prepared for the score."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from latentdrive.config import Config
from latentdrive.data.clips.data_set import DataSet
from latentdrive.evaluation.planned_split import PreparedSplit
from latentdrive.evaluation.preparing import prepare_split, version_of
from latentdrive.evaluation.split import open_split
from latentdrive.kinds import Count
from latentdrive.pdms.storage.store import store_name
from latentdrive.pdms.versions import Version
from latentdrive.run_folder import progress
from latentdrive.types import FROZEN, SensorNeeds


@dataclass(**FROZEN)
class ScoreOptions:
    """How scenes are prepared and scored. scenes: the first so many of the split."""

    version: Version
    scenes: int
    stores: Path
    processes: int
    memory_gb: float


def score_options(cfg: Config) -> ScoreOptions:
    """The keys scorer, scenes, stores, processes and memory_gb of a verb. Raises ConfigError."""
    return ScoreOptions(
        version=version_of(cfg.scorer),
        scenes=cfg.value("scenes", Count),
        stores=Path(cfg.stores).expanduser(),
        processes=cfg.value("processes", Count),
        memory_gb=float(cfg.memory_gb),
    )


def val_split(data: DataSet, needs: SensorNeeds, options: ScoreOptions, say: Callable[[str], None]) -> PreparedSplit:
    """The first scenes of the val split. Scenes that can't be prepared are planned and not scored."""
    name = data.split_of("val")
    scenes = open_split(data, split=name, version=options.version, needs=needs, limit=options.scenes, progress=progress)
    return prepare_split(
        options.stores / store_name(data.scenes.id_of(name), options.version.rules),
        scenes,
        version=options.version,
        processes=options.processes,
        memory_gb=options.memory_gb,
        batch=1,
        device="cpu",
        say=say,
    )
