"""What decision points a data set holds, and what is missing of them: findings for `doctor`.

Opens the index of every split, lists folders to see which sensor files are there, and reads a few
scenes to estimate how long all of them take.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from latentdrive.counting import counted
from latentdrive.data.clips.data_set import DataSet
from latentdrive.data.maps.nuplan_maps import NuplanMaps
from latentdrive.data.navsim.frames import CAMERAS, LIDAR
from latentdrive.data.navsim.opening import counts_of
from latentdrive.data.navsim.scene_settings import OpenSceneSettings
from latentdrive.data.navsim.scene_source import NavsimLogs
from latentdrive.data.navsim.sensor_files import SensorFiles
from latentdrive.errors import ConfigError, LatentDriveError, MapError, NoScenes, UnreadableClip
from latentdrive.findings import Finding, good, lacking, wrong
from latentdrive.progress import Progress
from latentdrive.types import SceneSource

TIMED = 8  # scenes that are opened to estimate how long all of them take


@dataclass
class SceneSurvey:
    """The survey of all splits of a data set; iterate over `findings` once, then read `counts`.

    sample: of how many scenes of each split the files are looked for. progress: shows how far
    reading new logs has come. counts: the number of scenes by split.
    """

    data: DataSet
    sample: int
    progress: Progress | None
    counts: dict[str, int] = field(default_factory=dict)

    def findings(self, problems: list[LatentDriveError]) -> Iterator[Finding]:
        """Findings split by split. Added to `problems` is what ends the command: too many unreadable logs of a split,
        and a NoScenes if no split has a usable scene.
        """
        failed: list[str] = []
        for split in self.data.splits() or [None]:
            label = split or "scenes"
            try:
                source = self.data.open_scenes(split=split, progress=self.progress)
            except (NoScenes, ConfigError) as error:
                failed.append(f"{label}: {error}")
                # The devkit's folder names splits of all data, most of which users don't download: that is no fault.
                yield lacking(failed[-1])
                continue
            except LatentDriveError as error:
                failed.append(f"{label}: {error}")
                problems.append(error)
                yield wrong(failed[-1])
                continue
            self.counts[label] = len(source.tokens)
            for finding in self._of_split(source):
                yield Finding(finding.severity, f"{label}: {finding.text}")
        if isinstance(self.data.scenes, OpenSceneSettings) and self.data.scenes.maps is not None and self.counts:
            yield from _map_problems(self.data.scenes.maps)
        if not any(self.counts.values()):
            problems.append(NoScenes(f"no scene can be used. {failed[0] if failed else self.data.path}"))
            yield wrong(str(problems[-1]))

    def _of_split(self, source: SceneSource) -> Iterator[Finding]:
        if isinstance(source, NavsimLogs):
            looks = [
                counts_of(source).findings(),
                _sensor_findings(source, self.sample),
                _map_findings(source),
                _speed_findings(source),
            ]
        else:
            looks = [iter([good(source.summary())]), _speed_findings(source)]
        for look in looks:
            try:
                yield from look
            except LatentDriveError as error:  # a log that changed or went away hides nothing of the rest
                yield wrong(str(error))


def _sensor_findings(source: NavsimLogs, sample: int) -> Iterator[Finding]:
    """Which sensors have all, some, or none of their files, in a sample of the scenes."""
    scenes = min(sample, len(source.tokens))
    sensors = source.missing(sample, [*CAMERAS, LIDAR])
    complete = [name for name, files in sensors.items() if not files.absent]
    empty = [name for name, files in sensors.items() if files.needed and files.absent == files.needed]
    if complete:
        yield good(f"all files of {', '.join(complete)} are there, in {counted(scenes, 'scene')} looked at")
    if empty:
        example = sensors[empty[0]].example
        yield lacking(f"no file of {', '.join(empty)} in {counted(scenes, 'scene')} (for example {example})")
    for name, files in sensors.items():
        if name not in (*complete, *empty):
            yield lacking(_some_missing(name, files))
    if any(sensors[name].absent for name in source.sensors.names):
        whole, names = len(source.complete()), ", ".join(source.sensors.names)
        text = f"{whole:,} of {len(source):,} scenes have all files of {names}, the sensors of data.scenes"
        remedy = "; data.scenes.complete_only=true keeps these alone, for training and for evaluate" if whole else ""
        yield lacking(text + remedy)


def _some_missing(name: str, files: SensorFiles) -> str:
    return f"{files.absent:,} of {files.needed:,} files of {name} are missing (for example {files.example})"


def _map_findings(source: NavsimLogs) -> Iterator[Finding]:
    """Whether the maps of the places where the split's logs were recorded are there and complete."""
    if source.maps is None:
        yield wrong("no maps, so nothing can be scored: say where they are, data.scenes.maps.root=FOLDER")
        return
    complete = []
    for name in sorted({source.place(token) for token in source.tokens} - {""}):  # private logs name no map
        try:
            road_map = source.maps[name]
        except MapError as error:
            yield wrong(f"no scene in {name} can be scored: {error}")
            continue
        complete.append(f"{name} ({counted(len(road_map.lanes), 'lane')})")
        if loose := source.maps.loose_ends(name):
            yield lacking(f"{name}: {len(loose):,} connectors lead to no lane, for example {loose[0]}")
    if complete:
        yield good(f"maps of {', '.join(complete)}")


def _map_problems(maps: NuplanMaps) -> Iterator[Finding]:
    """What the maps lack that latentdrive does not need, but the devkit does."""
    try:
        for problem in maps.problems():
            yield lacking(problem)
    except MapError:  # reported already, with the scenes that need the map
        return


def _speed_findings(source: SceneSource) -> Iterator[Finding]:
    """How long opening every scene takes with the configured sensors; or the first scene that can't be opened."""
    started, opened = time.monotonic(), 0
    for token in _spread(source.tokens, TIMED):
        try:
            source[token]
        except UnreadableClip as error:
            yield wrong(str(error))
            break
        opened += 1
    if opened:
        rate = opened / max(time.monotonic() - started, 1e-9)
        total_s = max(1, round(len(source.tokens) / rate))
        text = f"about {rate:,.0f} scenes a second on one core with the sensors of data.scenes"
        yield good(f"{text}, all of them in {total_s:,} s")


def _spread(tokens: Sequence[str], count: int) -> list[str]:
    """Some tokens, spread evenly over all."""
    rows = np.unique(np.linspace(0, len(tokens) - 1, min(count, len(tokens))).astype(int))
    return [tokens[row] for row in rows]
