"""Annotated boxes that a score could not use as they were: counted in the score's own output, by scene."""

from collections.abc import Iterator, Mapping
from typing import Any

from latentdrive.counting import counted
from latentdrive.errors import UnreadableClip
from latentdrive.evaluation.split import SplitScenes
from latentdrive.types import BoxCounts, CountsBoxes


def annotated_boxes(scenes: SplitScenes, unprepared: Mapping[str, str]) -> dict[str, Any]:
    """Counts for summary.json; empty where the data do not count boxes. unprepared: scenes that no score reads.

    left_out, estimated: number of boxes, see BoxCounts. scenes_left_out, scenes_estimated: by token.
    """
    if not isinstance(scenes.source, CountsBoxes):
        return {}
    counts: dict[str, BoxCounts] = {}
    for token in scenes.tokens:
        if token not in unprepared:
            try:
                counts[token] = scenes.source.box_counts(token)
            except UnreadableClip:  # the scene was prepared before, but its log has vanished since
                continue
    lost = {token: count.lost for token, count in counts.items() if count.lost}
    estimated = {token: count.estimated for token, count in counts.items() if count.estimated}
    return {
        "boxes": {
            "left_out": sum(lost.values()),
            "estimated": sum(estimated.values()),
            "scenes_left_out": lost,
            "scenes_estimated": estimated,
        }
    }


def box_lines(boxes: Mapping[str, Any] | None) -> Iterator[str]:
    """The counts in sentences; nothing where every box was sound."""
    if boxes is None:
        return
    if boxes["left_out"]:
        scenes = boxes["scenes_left_out"]
        yield (
            f"annotated boxes without place or size: {boxes['left_out']:,} in {counted(len(scenes), 'scene')}. Nothing "
            f"can hit them, and these scores may be too high (the first scene is {next(iter(scenes))})"
        )
    if boxes["estimated"]:
        yield (
            f"annotated boxes without velocity or heading: {boxes['estimated']:,} in "
            f"{counted(len(boxes['scenes_estimated']), 'scene')}. They count, and move as their own positions say"
        )
