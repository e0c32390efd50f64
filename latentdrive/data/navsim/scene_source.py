"""NAVSIM scenes without the devkit: a SceneSource over a folder of OpenScene logs and sensors, and a split.

The first step of everything that plans on NAVSIM. scene_filter.py says which scenes are used,
index.py finds them in the logs, and scenes.py opens one.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from latentdrive.data.navsim.index import NOT_LISTED, NavsimIndex, Selection
from latentdrive.data.navsim.log import NavsimLog
from latentdrive.data.navsim.log_folder import LogFolder, navsim_folders
from latentdrive.data.navsim.scene_filter import SceneFilter, choose_split
from latentdrive.data.navsim.scenes import (
    Cut,
    Maps,
    Sensors,
    clip_time_s,
    open_scene,
    open_truth,
    sensor_path,
    sensor_rows,
)
from latentdrive.data.navsim.sensor_files import SensorFiles, is_there, missing_files
from latentdrive.errors import NoScenes, UnreadableLogFile, UnreadableScene
from latentdrive.findings import Finding, good, lacking
from latentdrive.lru_cache import LruCache
from latentdrive.progress import Progress
from latentdrive.types import FROZEN, Scene, SceneTruth

OPEN_LOGS = 16  # logs whose columns stay in memory; 1 to 20 MB each
NAMED = 3  # how many absent tokens or logs a message names


@dataclass(**FROZEN)
class SceneCounts:
    """Counts of what opening a split found, for `doctor` and for reports.

    scenes, drives: that can be used. logs, frames: in the data split. unreadable: reason by log.
    left_out: scenes by reason. bad_frames: frames by reason; examples: one sentence by log.
    lost_boxes: annotated boxes with an impossible size or number. uneven: used scenes with a gap
    between two frames. absent_tokens, absent_logs: in the filter, but nowhere in the data split.
    strangers: entries of the log folder that are no logs. unannotated: frames without annotations.
    """

    scenes: int
    drives: int
    logs: int
    frames: int
    unreadable: dict[str, str]
    left_out: dict[str, int]
    bad_frames: dict[str, int]
    examples: dict[str, str]
    lost_boxes: int
    unannotated: int
    uneven: int
    absent_tokens: tuple[str, ...]
    absent_logs: tuple[str, ...]
    strangers: tuple[str, ...]

    def findings(self) -> Iterator[Finding]:
        """The counts in sentences, each with its severity."""
        yield good(f"{self.scenes:,} scenes in {self.drives:,} of {self.logs:,} logs, {self.frames:,} frames")
        if self.left_out:
            listed = NOT_LISTED in self.left_out  # the filter names its scenes, so leaving others out is intended
            text = f"scenes left out: {_counted(self.left_out)}"
            yield good(text) if listed else lacking(text)
        if self.unreadable:
            name, reason = next(iter(self.unreadable.items()))
            yield lacking(f"{len(self.unreadable):,} unreadable logs, the first one: {name}: {reason}")
        if self.bad_frames:
            name, reason = next(iter(self.examples.items()))
            yield lacking(f"bad frames: {_counted(self.bad_frames)}; the first one: {name}: {reason}")
        if self.lost_boxes:
            yield lacking(
                f"{self.lost_boxes:,} annotated boxes left out: a size that is not positive, or a number not finite"
            )
        if self.unannotated:
            yield lacking(
                f"{self.unannotated:,} frames without annotations: their scenes can be planned, but not scored"
            )
        if self.uneven:
            yield lacking(f"{self.uneven:,} scenes with a gap between two of their frames (used, as NAVSIM does)")
        if self.absent_tokens:
            text = f"{len(self.absent_tokens):,} tokens of the filter that no log holds"
            yield lacking(f"{text}: {_first(self.absent_tokens)}")
        if self.absent_logs:
            yield lacking(f"{len(self.absent_logs):,} logs of the filter without a file: {_first(self.absent_logs)}")
        if self.strangers:
            text = f"{len(self.strangers):,} entries in the log folder that are no logs"
            yield lacking(f"{text}: {_first(self.strangers)}")


class NavsimLogs:
    """Scenes of one split (a SceneSource, Timed).

    path: folder that holds navsim_logs/ and sensor_blobs/. data_split: folder below both (mini,
    trainval, test, ...), None for the one that the split names. split: name of a split in `splits`,
    a folder with NAVSIM's split files; None for the scenes that `filter` selects. filter:
    num_history_frames, num_future_frames, frame_interval, has_route; used without a split. maps: by
    place, None if no truth is needed. cameras: NAVSIM's names, lower case. camera_frames: "now", or
    "all" of the history. lidar: whether points are read. at_least: height and width that images may
    be decoded down to, None for the stored size. cache_folder: for the index and the logs in
    columns. processes: how many read new logs. max_unreadable: share of logs that may be
    unreadable. progress: shows how far reading new logs has come, or None.
    """

    def __init__(
        self,
        *,
        path: str,
        data_split: str | None,
        split: str | None,
        splits: str | None,
        filter: Mapping[str, Any] | None,
        maps: Maps | None,
        cameras: Sequence[str],
        camera_frames: str,
        lidar: bool,
        at_least: Sequence[int] | None,
        cache_folder: str,
        processes: int,
        max_unreadable: float,
        progress: Progress | None = None,
    ) -> None:
        self.split = choose_split(data_split=data_split, split=split, splits=splits, filter=filter)
        self.filter, self.maps = self.split.filter, maps
        size = None if at_least is None else (int(at_least[0]), int(at_least[1]))
        self.sensors = Sensors(cameras=tuple(cameras), frames=camera_frames, lidar=lidar, at_least=size)
        logs, self.blobs = navsim_folders(path, self.split.data_split)
        self._logs = LogFolder(
            logs,
            cache=Path(cache_folder).expanduser(),
            processes=processes,
            max_unreadable=max_unreadable,
            progress=progress,
        )
        self._index = self._logs.index()
        self._selection = self._index.select(self.filter)
        if not len(self._selection.rows):
            raise NoScenes(_nothing_left(logs, self._index, self._selection, self.filter))
        tokens = self._index.tokens[self._selection.rows]
        self.tokens: tuple[str, ...] = tuple(token.decode() for token in tokens.tolist())
        self._rows = dict(zip(self.tokens, self._selection.rows.tolist()))
        self._open: LruCache[str, NavsimLog] = LruCache(OPEN_LOGS)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, token: str) -> Scene:
        """What the car sees, with the requested sensors. Raises UnreadableScene."""
        return open_scene(self.cut(token), self.blobs, self.sensors)

    def truth(self, token: str) -> SceneTruth:
        """What scoring may know. Raises UnreadableScene if annotations are missing, MapError if maps are."""
        cut = self.cut(token)
        return open_truth(cut, self._logs.path(cut.drive), self.maps)

    def drive(self, token: str) -> str:
        """Name of the scene's log."""
        return self._index.name(self._index.log_of(self._row(token)))

    def location(self, token: str) -> Path:
        """File of the scene's log."""
        return self._logs.path(self.drive(token))

    def place(self, token: str) -> str:
        """nuPlan's name of the scene's map."""
        return self._index.places[self._index.log_of(self._row(token))].decode()

    def time_s(self, token: str) -> float:
        """The scene's now, in seconds since the log's clip began. Raises UnreadableScene."""
        return clip_time_s(self.cut(token))

    def start(self, token: str) -> tuple[int, Float64[np.ndarray, "3"]]:
        """Time of now in microseconds, and the rear axle's pose then, global. Raises UnreadableScene."""
        return self.cut(token).start

    def cut(self, token: str) -> Cut:
        """Where a scene lies in its log, which is opened for it. Raises UnreadableScene."""
        row = self._row(token)
        number = self._index.log_of(row)
        now, name = row - int(self._index.ends[number]), self._index.name(number)
        first = now - self.filter.num_history_frames + 1
        end = first + self.filter.num_frames
        log = self._log(name)
        if end > len(log) or log.tokens[now] != token.encode():
            raise UnreadableScene(
                self._logs.path(name), "the log has changed since its folder was opened: run the command again"
            )
        return Cut(log=log, token=token, drive=name, first=first, now=now, end=end)

    def counts(self) -> SceneCounts:
        """What was found, and what was left out and why."""
        index, selection = self._index, self._selection
        bad = {index.name(int(k)): index.examples[k].decode() for k in np.flatnonzero(index.examples != b"")}
        drives = np.unique(np.searchsorted(index.ends, selection.rows, side="right"))
        return SceneCounts(
            scenes=len(self.tokens),
            drives=len(drives),
            logs=len(index),
            frames=len(index.tokens),
            unreadable=index.unreadable_logs(),
            left_out=selection.left_out,
            bad_frames=dict(index.bad_frames()),
            examples=bad,
            lost_boxes=int(index.lost_boxes.sum()),
            unannotated=int((~index.annotated & (index.problems == 0)).sum()),
            uneven=selection.uneven,
            absent_tokens=selection.absent_tokens,
            absent_logs=selection.absent_logs,
            strangers=self._logs.strangers,
        )

    def summary(self) -> str:
        """The counts in a few lines."""
        return "\n".join(finding.text for finding in self.counts().findings())

    def missing(self, sample: int | None = None, sensors: Iterable[str] | None = None) -> dict[str, SensorFiles]:
        """Which files of each sensor are absent. Folders are listed; no file is opened.

        sample: look at so many scenes, evenly spread; None: at all. sensors: camera names or
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
                self._logs.folder,
                f"no scene {token!r} among the {len(self.tokens):,} of this split ({self.split.name})",
            )
        return self._rows[token]

    def _log(self, name: str) -> NavsimLog:
        try:
            return self._open.get(name, lambda: self._logs.open(name))
        except UnreadableLogFile as error:
            raise UnreadableScene(error.path, error.reason) from error


def _nothing_left(folder: Path, index: NavsimIndex, selection: Selection, filter: SceneFilter) -> str:
    reasons = _counted(selection.left_out) or "no log of the filter is there"
    text = (
        f"no scene in {folder}: {len(index):,} logs with {len(index.tokens):,} frames, scenes of {filter.num_frames} "
        f"frames; left out: {reasons}"
    )
    if unreadable := index.unreadable_logs():
        name, reason = next(iter(unreadable.items()))
        text += f"; {len(unreadable):,} logs are unreadable, the first one: {name}: {reason}"
    for what, names in (("tokens", selection.absent_tokens), ("logs", selection.absent_logs)):
        if names:
            text += f"; {len(names):,} {what} of the filter are in none of them: {_first(names)}"
    if selection.absent_tokens or selection.absent_logs:
        return f"{text}. Choose a split of this data, or another data_split, from which this split was made"
    return f"{text}. Lower num_history_frames or num_future_frames, set has_route=false, or choose another split"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in Counter(counts).most_common())


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
