"""What opening a split of NAVSIM logs found, in numbers and in sentences."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latentdrive.counting import counted
from latentdrive.data.navsim.index import NOT_LISTED, NavsimIndex, Selection
from latentdrive.findings import Finding, good, lacking
from latentdrive.types import FROZEN

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
        yield good(
            f"{counted(self.scenes, 'scene')} in {self.drives:,} of {counted(self.logs, 'log')}, "
            f"{counted(self.frames, 'frame')}"
        )
        if self.left_out:
            listed = NOT_LISTED in self.left_out  # the filter names its scenes, so leaving others out is intended
            text = f"scenes left out: {in_words(self.left_out)}"
            yield good(text) if listed else lacking(text)
        if self.unreadable:
            name, reason = next(iter(self.unreadable.items()))
            yield lacking(f"{counted(len(self.unreadable), 'unreadable log')}, the first one: {name}: {reason}")
        if self.bad_frames:
            name, reason = next(iter(self.examples.items()))
            yield lacking(f"bad frames: {in_words(self.bad_frames)}; the first one: {name}: {reason}")
        if self.lost_boxes:
            boxes = counted(self.lost_boxes, "annotated box", "annotated boxes")
            yield lacking(f"{boxes} left out: a size that is not positive, or a place not on Earth")
        if self.unannotated:
            yield lacking(
                f"{counted(self.unannotated, 'frame')} without annotations: their scenes can be planned, but not scored"
            )
        if self.uneven:
            yield lacking(
                f"{counted(self.uneven, 'scene')} with a gap between two of their frames (used, as NAVSIM does)"
            )
        if self.absent_tokens:
            text = f"{counted(len(self.absent_tokens), 'token')} of the filter that no log holds"
            yield lacking(f"{text}: {first_names(self.absent_tokens)}")
        if self.absent_logs:
            yield lacking(
                f"{counted(len(self.absent_logs), 'log')} of the filter without a file: {first_names(self.absent_logs)}"
            )
        if self.strangers:
            text = f"{counted(len(self.strangers), 'entry', 'entries')} in the log folder beside the logs"
            yield lacking(f"{text}: {first_names(self.strangers)}")


def scene_counts(index: NavsimIndex, selection: Selection, strangers: Sequence[str]) -> SceneCounts:
    """Counts of an index and of the scenes that were selected from it. strangers: entries of the log folder that
    are no logs.
    """
    bad = {index.name(int(k)): index.examples[k].decode() for k in np.flatnonzero(index.examples != b"")}
    drives = np.unique(np.searchsorted(index.ends, selection.rows, side="right"))
    return SceneCounts(
        scenes=len(selection.rows),
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
        strangers=tuple(strangers),
    )


def in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in Counter(counts).most_common())


def first_names(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
