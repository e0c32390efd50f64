"""Opening a split of NAVSIM logs: new logs are read, the split's scenes are selected, and the source is made.

Before scene_source.py, which then gives a scene for each token.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentdrive.counting import counted
from latentdrive.data.navsim.index import NavsimIndex, Selection
from latentdrive.data.navsim.log_folder import LogFolder, navsim_folders
from latentdrive.data.navsim.log_reading import current_index
from latentdrive.data.navsim.scene_counts import SceneCounts, first_names, in_words, scene_counts
from latentdrive.data.navsim.scene_filter import SceneFilter, choose_split
from latentdrive.data.navsim.scene_source import NavsimLogs
from latentdrive.data.navsim.scenes import Maps, Sensors
from latentdrive.errors import NoScenes
from latentdrive.progress import Progress


def open_navsim_logs(
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
    complete_only: bool = False,
    at_least: Sequence[int] | None,
    cache_folder: str,
    processes: int,
    max_unreadable: float,
    progress: Progress | None = None,
) -> NavsimLogs:
    """The scenes of one split.

    path: folder that holds navsim_logs/ and sensor_blobs/. data_split: folder below both (mini,
    trainval, test, ...), None for the one that the split names. split: name of a split in `splits`,
    a folder with NAVSIM's split files; None for the scenes that `filter` selects. filter:
    num_history_frames, num_future_frames, frame_interval, has_route; used without a split. maps: by
    place, None if no truth is needed. cameras: NAVSIM's names, lower case. camera_frames: "now", or
    "all" of the history. lidar: whether points are read. complete_only: leave out scenes of which a
    file of these sensors is missing. at_least: height and width that images may
    be decoded down to, None for the stored size. cache_folder: for the index and the logs in
    columns. processes: how many read new logs. max_unreadable: share of logs that may be
    unreadable. progress: shows how far reading new logs has come, or None.

    Raises NoScenes if nothing is left, TooManyUnreadable, and ConfigError for a split that can't be chosen.
    """
    chosen = choose_split(data_split=data_split, split=split, splits=splits, filter=filter)
    folder, blobs = navsim_folders(path, chosen.data_split)
    logs = LogFolder(folder, cache=Path(cache_folder).expanduser())
    index = current_index(logs, processes=processes, max_unreadable=max_unreadable, progress=progress)
    selection = index.select(chosen.filter)
    if not len(selection.rows):
        raise NoScenes(_nothing_left(folder, index, selection, chosen.filter))
    size = None if at_least is None else (int(at_least[0]), int(at_least[1]))
    source = NavsimLogs(
        split=chosen,
        logs=logs,
        index=index,
        selection=selection,
        blobs=blobs,
        maps=maps,
        sensors=Sensors(cameras=tuple(cameras), frames=camera_frames, lidar=lidar, at_least=size),
    )
    return _complete(source) if complete_only else source


def counts_of(source: NavsimLogs) -> SceneCounts:
    """What opening the source found, and what was left out and why."""
    return scene_counts(source.index, source.selection, source.logs.strangers)


def _complete(source: NavsimLogs) -> NavsimLogs:
    """The source with its complete scenes alone. Raises NoScenes if there is none."""
    whole = source.complete()
    if not whole:
        raise NoScenes(
            f"none of {counted(len(source), 'scene')} in {source.logs.folder} has all files of "
            f"{', '.join(source.sensors.names)} in {source.blobs}: download these sensors, or ask for fewer"
        )
    return source.only(whole)


def _nothing_left(folder: Path, index: NavsimIndex, selection: Selection, filter: SceneFilter) -> str:
    reasons = in_words(selection.left_out) or "no log of the filter is there"
    text = (
        f"no scene in {folder}: {counted(len(index), 'log')} with {counted(len(index.tokens), 'frame')}, scenes "
        f"of {filter.num_frames} frames; left out: {reasons}"
    )
    if unreadable := index.unreadable_logs():
        name, reason = next(iter(unreadable.items()))
        text += f"; unreadable: {counted(len(unreadable), 'log')}, the first one: {name}: {reason}"
    for what, names in (("tokens", selection.absent_tokens), ("logs", selection.absent_logs)):
        if names:
            text += f"; {len(names):,} {what} of the filter are in none of them: {first_names(names)}"
    if selection.absent_tokens or selection.absent_logs:
        return f"{text}. Choose a split of this data, or another data_split, from which this split was made"
    return f"{text}. Lower num_history_frames or num_future_frames, set has_route=false, or choose another split"
