"""The stamp of a score: everything besides the planner that can make two scores differ.

summary.json holds it, and its sentences stand below the printed table. Two scores can be compared
where their stamps agree.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from latentdrive.counting import counted
from latentdrive.errors import UnreadableClip
from latentdrive.evaluation.planning import AnyPlanner, sensors_of
from latentdrive.evaluation.split import SplitScenes
from latentdrive.pdms.linear_algebra import description
from latentdrive.pdms.versions import Version
from latentdrive.types import DescribesScenes

REPLAYED = "replayed from the log (non-reactive)"
TRIED = 8  # scenes that are tried to learn the rate of the input frames


def stamp(
    scenes: SplitScenes, planner: AnyPlanner, version: Version, *, split: str | None, limit: int | None, code: str
) -> dict[str, Any]:
    """The stamp of a planner's score on these scenes. split: its name. limit: see open_split. code: our commit.

    scene_list: 12 hexadecimal digits over the tokens, in order. source: what the data say of
    themselves (filter, and of two stages the substrate). incomplete_scenes: left out by complete_only.
    """
    source = scenes.source
    described = source.description() if isinstance(source, DescribesScenes) else {}
    return {
        "scorer": str(version),
        "latentdrive": code,
        "split": split,
        "limit": limit,
        "scenes": len(scenes.tokens),
        "scene_list": hashlib.sha256("\n".join(scenes.tokens).encode("utf-8", "surrogatepass")).hexdigest()[:12],
        **described,
        "input_frames": {"rate_hz": input_rate_hz(scenes), "camera_frames": _camera_frames(planner)},
        "traffic": REPLAYED,
        "linear_algebra": f"checked: {description()}",
    }


def input_rate_hz(scenes: SplitScenes) -> float | None:
    """Rate of the frames that a planner sees of the past, from the times of the first scene that opens."""
    for token in scenes.tokens[:TRIED]:
        try:
            times_s = scenes.source[token].ego.times_s
        except UnreadableClip:
            continue
        return round(1.0 / float(np.median(np.diff(times_s))), 2) if len(times_s) > 1 else None
    return None


def stamp_lines(stamp: Mapping[str, Any]) -> Iterator[str]:
    """The stamp in sentences, for the foot of the table."""
    part = f"the first {stamp['limit']:,} of " if stamp["limit"] is not None else ""
    yield (
        f"scored by {stamp['scorer']} of latentdrive {stamp['latentdrive']} on {part}split {stamp['split']}: "
        f"{counted(stamp['scenes'], 'scene')} (list {stamp['scene_list']}){_filter_text(stamp.get('filter'))}"
    )
    yield from incomplete_lines(stamp)
    if substrate := stamp.get("substrate"):
        yield (
            f"second-stage data {substrate['folder']}: {counted(substrate['scenes'], 'scene')}, fingerprint "
            f"{substrate['fingerprint']}; scores on data of another fingerprint can't be compared (PDM-Closed scored "
            "51.3 on those of 08/2025 and 56.6 on those of 03/2026)"
        )
    frames = stamp["input_frames"]
    rate = "unknown" if frames["rate_hz"] is None else f"{frames['rate_hz']:g} Hz"
    yield (
        f"input frames at {rate}, camera frames: {frames['camera_frames']}; traffic {stamp['traffic']}; linear algebra "
        f"{stamp['linear_algebra']}"
    )


def incomplete_lines(stamp: Mapping[str, Any]) -> Iterator[str]:
    """That scenes were left out by complete_only, so that nobody takes the score for that of the split."""
    if left_out := stamp.get("incomplete_scenes"):
        yield (
            f"COMPLETE SCENES ONLY: {counted(left_out, 'scene')} with a missing sensor file left out "
            f"(data.scenes.complete_only), so this is no score of {stamp['split']} and can't be compared with one"
        )


def _camera_frames(planner: AnyPlanner) -> str:
    needs = sensors_of(planner)
    return needs.frames if needs.cameras else "none"


def _filter_text(filter: Mapping[str, Any] | None) -> str:
    if filter is None:
        return ""
    frames = f"{filter['num_history_frames']} + {filter['num_future_frames']} frames"
    route = "with a route" if filter["has_route"] else "with or without a route"
    return f", filter: {frames}, {route}"
