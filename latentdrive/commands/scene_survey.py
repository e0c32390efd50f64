"""What decision points a data set holds, and what of them is missing: lines for `doctor`.

Opens the index of every split, lists folders to see which sensor files are there, and reads a few scenes to say how long all take.
"""

import time
from collections.abc import Callable, Iterator
from enum import StrEnum

import numpy as np

from latentdrive.data.clips.data_set import DataSet
from latentdrive.data.maps.nuplan_maps import NuplanMaps
from latentdrive.data.navsim.frames import CAMERAS, LIDAR
from latentdrive.data.navsim.scene_source import NavsimLogs
from latentdrive.errors import ConfigError, MapError, NoScenes, UnreadableClip
from latentdrive.types import SceneSource

TIMED = 8  # scenes that are opened for a guess at how long all take


class Finding(StrEnum):
    """good: as it should be. lacking: something is not there, and may not be needed. wrong: something must be mended."""

    GOOD = "good"
    LACKING = "lacking"
    WRONG = "wrong"


Lines = Iterator[tuple[Finding, str]]


def survey(data: DataSet, *, sample: int, progress: Callable | None, counts: dict[str, int]) -> Lines:
    """Findings about all splits of a data set. sample: scenes of each split whose files are looked for. counts: filled with the
    number of scenes by split.

    Raises NoScenes where no split has any.
    """
    failed: list[str] = []
    source = None
    for name in data.splits() or [None]:
        what = name or "scenes"
        try:
            source = data.open_scenes(split=name, progress=progress)
        except (NoScenes, ConfigError) as error:
            failed.append(f"{what}: {error}")
            # Splits of data that was not downloaded are common: the devkit's folder names them all.
            yield Finding.LACKING, failed[-1]
            continue
        counts[what] = len(source.tokens)
        if isinstance(source, NavsimLogs):
            yield from _navsim(what, source, sample)
        else:
            yield Finding.GOOD, f"{what}: {source.summary()}"
        yield from _speed(what, source)
    if isinstance(maps := getattr(source, "maps", None), NuplanMaps):
        yield from _other_maps(maps)
    if not any(counts.values()):
        raise NoScenes(f"no scene can be used. {failed[0] if failed else data.path}")


def _navsim(what: str, source: NavsimLogs, sample: int) -> Lines:
    first, *others = source.counts().lines()
    yield Finding.GOOD, f"{what}: {first}"
    for line in others:
        told = "left out" in line and "not in the filter" in line
        yield (Finding.GOOD if told else Finding.LACKING), f"{what}: {line}"
    looked = min(sample, len(source.tokens))
    found = source.missing(sample, [*CAMERAS, LIDAR])
    there = [sensor for sensor, files in found.items() if not files.absent]
    nowhere = [sensor for sensor, files in found.items() if files.absent == files.needed and files.needed]
    if there:
        yield Finding.GOOD, f"{what}: all files of {', '.join(there)} are there, in {looked:,} scenes looked at"
    if nowhere:
        example = found[nowhere[0]].example
        yield Finding.LACKING, f"{what}: no file of {', '.join(nowhere)} in {looked:,} scenes (for example {example})"
    for sensor, files in found.items():
        if sensor not in (*there, *nowhere):
            yield (
                Finding.LACKING,
                f"{what}: {files.absent:,} of {files.needed:,} files of {sensor} are missing (for example {files.example})",
            )
    yield from _maps(what, source)


def _maps(what: str, source: NavsimLogs) -> Lines:
    """Whether the maps are there that the split's logs were driven on, and whole."""
    if source.maps is None:
        yield (
            Finding.WRONG,
            f"{what}: no maps, so nothing can be scored: say where they are, data.scenes.maps.root=FOLDER",
        )
        return
    whole = []
    for name in sorted({source.place(token) for token in source.tokens}):
        try:
            road_map = source.maps[name]
        except MapError as error:
            yield Finding.WRONG, f"{what}: no scene in {name} can be scored: {error}"
            continue
        whole.append(f"{name} ({len(road_map.lanes):,} lanes)")
        if loose := source.maps.loose_ends(name):
            yield Finding.LACKING, f"{what}: {name}: {len(loose):,} connectors lead to no lane, for example {loose[0]}"
    if whole:
        yield Finding.GOOD, f"{what}: maps of {', '.join(whole)}"


def _other_maps(maps: NuplanMaps) -> Lines:
    """What the maps lack that our own reading does not need, but the devkit does."""
    try:
        for problem in maps.problems():
            yield Finding.LACKING, problem
    except MapError:  # told before, with the scenes that need them
        return


def _speed(what: str, source: SceneSource) -> Lines:
    """How long opening every scene takes, with the sensors that are configured; and the first scene that can't be opened."""
    picked = np.unique(np.linspace(0, len(source.tokens) - 1, min(TIMED, len(source.tokens))).astype(int))
    begun, opened = time.monotonic(), 0
    for index in picked:
        try:
            source[source.tokens[int(index)]]
            opened += 1
        except UnreadableClip as error:
            yield Finding.WRONG, f"{what}: {error}"
            break
    if opened:
        rate = opened / max(time.monotonic() - begun, 1e-9)
        text = f"{what}: about {rate:,.0f} scenes a second on one core with the sensors of data.scenes"
        yield Finding.GOOD, f"{text}, all of them in {max(1, round(len(source.tokens) / rate)):,} s"
