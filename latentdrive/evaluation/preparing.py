"""A split made ready for planning and scoring: its scenes are prepared once, in a store that all planners share."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from latentdrive.errors import ConfigError, StoreError
from latentdrive.evaluation.planned_split import PreparedSplit
from latentdrive.evaluation.scoring import with_extended_comfort
from latentdrive.evaluation.second_stage import second_stages
from latentdrive.evaluation.split import SplitScenes
from latentdrive.pdms.prepare import prepare_scene
from latentdrive.pdms.scene import ScoringScene
from latentdrive.pdms.storage.building import build_store
from latentdrive.pdms.storage.store import ScoringStore
from latentdrive.pdms.versions import Version
from latentdrive.run_folder import progress


def version_of(name: str) -> Version:
    """The version behind `scorer=NAME`. Raises ConfigError for an unknown name."""
    try:
        return Version(name)
    except ValueError:
        raise ConfigError(f"scorer={name} is unknown: choose one of {', '.join(Version)}") from None


def prepare_split(
    place: Path,
    scenes: SplitScenes,
    *,
    version: Version,
    processes: int,
    memory_gb: float,
    batch: int,
    device: str,
    say: Callable[[str], None],
) -> PreparedSplit:
    """Prepare the scenes that the store lacks. Scenes that cannot be prepared keep their reason.

    place: of the store. processes, memory_gb: what preparing may use. batch, device: see PreparedSplit. say: is told
    what was prepared. Where no score can follow from any scene, nothing is prepared.
    """
    complete = with_extended_comfort
    if scenes.unscorable:
        prepared, unprepared = _nothing(place, scenes.unscorable), dict.fromkeys(scenes.tokens, scenes.unscorable)
    else:
        prepared, unprepared = _stored(place, scenes, version, processes, memory_gb, say)
        if scenes.entries and any(token not in unprepared for token in scenes.tokens):
            scenes, complete = second_stages(scenes, prepared, unprepared)
    return PreparedSplit(
        scenes=scenes,
        prepared=prepared,
        unprepared=unprepared,
        complete=complete,
        version=version,
        batch=batch,
        device=device,
    )


def _stored(
    place: Path, scenes: SplitScenes, version: Version, processes: int, memory_gb: float, say: Callable[[str], None]
) -> tuple[Callable[[str], ScoringScene], dict[str, str]]:
    """Opens a prepared scene by its token; and why others could not be prepared."""
    rules = version.rules
    report = build_store(
        place,
        scenes.source,
        scenes.tokens,
        partial(prepare_scene, rules=rules),
        rules=rules,
        processes=processes,
        memory_gb=memory_gb,
        progress=progress,
        waiting=say,
    )
    for line in report.lines():
        say(f"{place}: {line}")
    return ScoringStore(place, rules=rules).get, report.failed


def _nothing(place: Path, reason: str) -> Callable[[str], ScoringScene]:
    def prepared(token: str) -> ScoringScene:
        raise StoreError(f"scene {token} was not prepared into {place}: {reason}")

    return prepared
