"""NAVSIM scenes without the devkit: a SceneSource over a folder of OpenScene logs and sensors, and a split.

The first step of everything that plans on NAVSIM. scene_filter.py says which scenes are used,
index.py finds them in the logs, and scenes.py opens one.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from latentdrive.counting import counted
from latentdrive.data.navsim.frames import CAMERAS
from latentdrive.data.navsim.index import NavsimIndex, Selection
from latentdrive.data.navsim.log import NavsimLog
from latentdrive.data.navsim.log_folder import LogFolder
from latentdrive.data.navsim.scene_counts import scene_counts
from latentdrive.data.navsim.scene_filter import Split
from latentdrive.data.navsim.scenes import (
    Cut,
    Maps,
    Sensors,
    box_counts,
    clip_time_s,
    open_scene,
    open_truth,
    sensor_path,
    sensor_rows,
)
from latentdrive.data.navsim.sensor_files import SensorFiles, is_there, missing_files
from latentdrive.errors import UnreadableLogFile, UnreadableScene
from latentdrive.lru_cache import LruCache
from latentdrive.types import BoxCounts, Scene, SceneTruth

OPEN_LOGS = 16  # logs whose columns stay in memory; 1 to 20 MB each


class NavsimLogs:
    """Scenes of one split (a SceneSource, Timed, FirstStage); opening.py makes it.

    split: which scenes NAVSIM lists. logs: where the logs and their cache lie. index, selection:
    all frames of the logs, and those of them that are a scene's now. blobs: folder of the sensor
    files. maps: by place, None if no truth is needed. sensors: which are opened. incomplete_scenes:
    how many scenes of the split were left out, because a sensor file is missing (complete_only).
    """

    def __init__(
        self,
        *,
        split: Split,
        logs: LogFolder,
        index: NavsimIndex,
        selection: Selection,
        blobs: Path,
        maps: Maps | None,
        sensors: Sensors,
        incomplete_scenes: int = 0,
    ) -> None:
        self.split, self.filter, self.maps = split, split.filter, maps
        self.blobs, self.sensors = blobs, sensors
        self.logs, self.index, self.selection = logs, index, selection
        self.incomplete_scenes = incomplete_scenes
        tokens = index.tokens[selection.rows]
        self.tokens: tuple[str, ...] = tuple(token.decode() for token in tokens.tolist())
        self._rows = dict(zip(self.tokens, selection.rows.tolist()))
        self._open: LruCache[str, NavsimLog] = LruCache(OPEN_LOGS)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, token: str) -> Scene:
        """What the car sees, with the requested sensors. Raises UnreadableScene."""
        return open_scene(self.cut(token), self.blobs, self.sensors)

    def truth(self, token: str) -> SceneTruth:
        """What scoring may know. Raises UnreadableScene if annotations are missing, MapError if maps are."""
        cut = self.cut(token)
        return open_truth(cut, self.logs.path(cut.drive), self.maps)

    def drive(self, token: str) -> str:
        """Name of the scene's log."""
        return self.index.name(self.index.log_of(self._row(token)))

    def location(self, token: str) -> Path:
        """File of the scene's log."""
        return self.logs.path(self.drive(token))

    @property
    def skipped_second_stages(self) -> int:
        """How many second stages the split names; this source opens none of them."""
        return len(self.split.second_stages)

    def place(self, token: str) -> str:
        """nuPlan's name of the scene's map."""
        return self.index.places[self.index.log_of(self._row(token))].decode()

    def time_s(self, token: str) -> float:
        """The scene's now, in seconds since the log's clip began. Raises UnreadableScene."""
        return clip_time_s(self.cut(token))

    def clip_files(self, token: str) -> list[Path]:
        """The scene's log, and the folders of its cameras that are there."""
        folders = [self.blobs / self.drive(token) / camera.upper() for camera in CAMERAS]
        return [self.location(token), *(folder for folder in folders if folder.is_dir())]

    def start(self, token: str) -> tuple[int, Float64[np.ndarray, "3"]]:
        """Time of now in microseconds, and the rear axle's pose then, global. Raises UnreadableScene."""
        return self.cut(token).start

    def cut(self, token: str) -> Cut:
        """Where a scene lies in its log, which is opened for it. Raises UnreadableScene."""
        row = self._row(token)
        number = self.index.log_of(row)
        now, name = row - int(self.index.ends[number]), self.index.name(number)
        first = now - self.filter.num_history_frames + 1
        log, recorded = self._log(name), int(self.index.ends[number + 1] - self.index.ends[number])
        end = min(first + self.filter.num_frames, recorded)  # private test data may end at now
        if len(log) != recorded or log.tokens[now] != token.encode():
            raise UnreadableScene(
                self.logs.path(name), "the log has changed since its folder was opened: run the command again"
            )
        return Cut(log=log, token=token, drive=name, first=first, now=now, end=end)

    def box_counts(self, token: str) -> BoxCounts:
        """What is known of the boxes that the scene's score reads. Raises UnreadableScene."""
        return box_counts(self.cut(token))

    def summary(self) -> str:
        """The scenes that were found, those that were left out, and the reasons, in a few lines."""
        counts = scene_counts(self.index, self.selection, self.logs.strangers)
        lines = [finding.text for finding in counts.findings()]
        if self.incomplete_scenes:
            names = ", ".join(self.sensors.names)
            lines.append(f"{counted(self.incomplete_scenes, 'scene')} left out, because a file of {names} is missing")
        return "\n".join(lines)

    def description(self) -> dict[str, Any]:
        """Filter and data split, for the stamp of a score."""
        return {
            "data_split": self.split.data_split,
            "filter": self.filter.description(),
            "incomplete_scenes": self.incomplete_scenes,
        }

    def only(self, tokens: Iterable[str]) -> "NavsimLogs":
        """The same source with these of its scenes alone; the others count as incomplete."""
        kept = set(tokens)
        rows = np.array([row for token, row in self._rows.items() if token in kept], np.int64)
        return NavsimLogs(
            split=self.split,
            logs=self.logs,
            index=self.index,
            selection=replace(self.selection, rows=rows),
            blobs=self.blobs,
            maps=self.maps,
            sensors=self.sensors,
            incomplete_scenes=self.incomplete_scenes + len(self) - len(rows),
        )

    def missing(self, sample: int | None = None, sensors: Iterable[str] | None = None) -> dict[str, SensorFiles]:
        """Which files of each sensor are absent. Folders are listed; no file is opened.

        sample: number of scenes to check, evenly spread; None checks all. sensors: camera names or
        "lidar"; None: the requested ones.
        """
        tokens = self.tokens
        if sample is not None and sample < len(tokens):
            tokens = [tokens[k] for k in np.linspace(0, len(tokens) - 1, sample).astype(int)]
        names = self.sensors.names if sensors is None else tuple(sensors)
        needed: dict[str, set[str]] = {name: set() for name in names}
        for token in tokens:
            cut = self.cut(token)
            for name in names:
                needed[name].update(
                    sensor_path(cut.log, row, name) or f"frame {row} of {cut.drive} (its log names no file)"
                    for row in sensor_rows(cut, name, self.sensors.frames)
                )
        return missing_files(self.blobs, needed)

    def complete(self, sensors: Iterable[str] | None = None) -> tuple[str, ...]:
        """Tokens of the scenes whose sensor files are all there, for partial downloads.

        Folders are listed; no file is opened. sensors: as in `missing`.
        """
        names = self.sensors.names if sensors is None else tuple(sensors)
        listed: dict[str, set[str]] = {}
        complete = []
        for token in self.tokens:
            cut = self.cut(token)
            paths = [
                sensor_path(cut.log, row, name) for name in names for row in sensor_rows(cut, name, self.sensors.frames)
            ]
            if all(path and is_there(self.blobs, path, listed) for path in paths):
                complete.append(token)
        return tuple(complete)

    def _row(self, token: str) -> int:
        if token not in self._rows:
            raise UnreadableScene(
                self.logs.folder,
                f"no scene {token!r} among the {len(self.tokens):,} of this split ({self.split.name})",
            )
        return self._rows[token]

    def _log(self, name: str) -> NavsimLog:
        try:
            return self._open.get(name, lambda: self.logs.open(name))
        except UnreadableLogFile as error:
            raise UnreadableScene(error.path, error.reason) from error
