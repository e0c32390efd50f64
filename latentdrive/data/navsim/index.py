"""One row per frame of all logs of a NAVSIM data split, so that 100,000 scenes are found in seconds.

log_folder.py makes and keeps the index. Here a SceneFilter selects scenes from it, as NAVSIM does,
and counts what it leaves out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int8, Int64, Shaped

from latentdrive.data.navsim.log import PROBLEMS, NavsimLog
from latentdrive.data.navsim.scene_filter import SceneFilter
from latentdrive.types import FROZEN

UNEVEN_S = 0.75  # a scene with a longer time between two frames counts as uneven; frames are nominally 0.5 s apart
TOO_SHORT, NO_ROUTE, NOT_LISTED, TWICE = "too short", "no route now", "not in the filter's tokens", "token twice"
Text = Shaped[np.ndarray, "..."]  # one axis of UTF-8 bytes


@dataclass(**FROZEN)
class Selection:
    """Scenes that a filter selects. rows: index rows of their present frames, in the order of logs and frames.

    left_out: number of scenes that were cut but not selected, by reason. uneven: number of selected
    scenes with more than UNEVEN_S between two frames. absent_tokens, absent_logs: named by the
    filter, but in no log of the split.
    """

    rows: Int64[np.ndarray, "S"]
    left_out: dict[str, int]
    uneven: int
    absent_tokens: tuple[str, ...]
    absent_logs: tuple[str, ...]


@dataclass(**FROZEN)
class LogRows:
    """The index rows of one log; see NavsimIndex for the fields."""

    unreadable: bytes
    place: bytes
    example: bytes
    lost_boxes: int
    tokens: Text
    timestamps_us: Int64[np.ndarray, "F"]
    has_route: Bool[np.ndarray, "F"]
    annotated: Bool[np.ndarray, "F"]
    problems: Int8[np.ndarray, "F"]

    @classmethod
    def of(cls, log: NavsimLog) -> "LogRows":
        """The rows of a log."""
        return cls(
            unreadable=b"",
            place=bytes(log.location[0]),
            example=bytes(log.reasons[0]) if len(log.reasons) else b"",
            lost_boxes=int(log.lost_boxes.sum()),
            tokens=log.tokens,
            timestamps_us=log.timestamps_us,
            has_route=log.has_route,
            annotated=log.annotated,
            problems=log.problems,
        )

    @classmethod
    def nothing(cls, reason: str) -> "LogRows":
        """The rows of a log that can't be read: none."""
        none = np.zeros(0, bool)
        return cls(
            unreadable=reason.encode(),
            place=b"",
            example=b"",
            lost_boxes=0,
            tokens=np.zeros(0, np.bytes_),
            timestamps_us=np.zeros(0, np.int64),
            has_route=none,
            annotated=none,
            problems=np.zeros(0, np.int8),
        )


@dataclass(**FROZEN)
class NavsimIndex:
    """Frames of all logs, concatenated in the order of their names: log k has the rows ends[k]:ends[k + 1].

    stamps: FORMAT, size and time of change of each log's pickle. unreadable: why a log can't be
    used, empty if it can. tokens: empty for frames without one. has_route: also true where the
    recording names no route. problems: index into log.PROBLEMS.
    examples: one sentence on the first bad frame of a log, empty if there is none. lost_boxes:
    number of annotated boxes of a log that were left out.
    """

    names: Text
    stamps: Int64[np.ndarray, "L 3"]
    unreadable: Text
    places: Text
    examples: Text
    lost_boxes: Int64[np.ndarray, "L"]
    ends: Int64[np.ndarray, "L+1"]
    tokens: Text
    timestamps_us: Int64[np.ndarray, "F"]
    has_route: Bool[np.ndarray, "F"]
    annotated: Bool[np.ndarray, "F"]
    problems: Int8[np.ndarray, "F"]

    def __len__(self) -> int:
        return len(self.names)

    def name(self, log: int) -> str:
        """Name of a log."""
        return self.names[log].decode()

    @classmethod
    def of(cls, rows: Mapping[str, LogRows], stamps: Mapping[str, tuple[int, int, int]]) -> "NavsimIndex":
        """The index of logs by name. stamps: of the same names, in the same order."""
        logs = list(rows.values())
        counts = [len(log.timestamps_us) for log in logs]
        return cls(
            names=_bytes(tuple(rows)),
            stamps=np.array(list(stamps.values()), np.int64).reshape(-1, 3),
            unreadable=np.array([log.unreadable for log in logs], np.bytes_),
            places=np.array([log.place for log in logs], np.bytes_),
            examples=np.array([log.example for log in logs], np.bytes_),
            lost_boxes=np.array([log.lost_boxes for log in logs], np.int64),
            ends=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            tokens=np.concatenate([log.tokens for log in logs]),
            timestamps_us=np.concatenate([log.timestamps_us for log in logs]),
            has_route=np.concatenate([log.has_route for log in logs]),
            annotated=np.concatenate([log.annotated for log in logs]),
            problems=np.concatenate([log.problems for log in logs]),
        )

    def rows(self, log: int) -> LogRows:
        """The rows of one log."""
        frames = slice(self.ends[log], self.ends[log + 1])
        return LogRows(
            unreadable=bytes(self.unreadable[log]),
            place=bytes(self.places[log]),
            example=bytes(self.examples[log]),
            lost_boxes=int(self.lost_boxes[log]),
            tokens=self.tokens[frames],
            timestamps_us=self.timestamps_us[frames],
            has_route=self.has_route[frames],
            annotated=self.annotated[frames],
            problems=self.problems[frames],
        )

    def unreadable_logs(self) -> dict[str, str]:
        """Names of the logs that can't be used, with the reason."""
        return {self.name(k): self.unreadable[k].decode() for k in np.flatnonzero(self.unreadable != b"").tolist()}

    def log_of(self, row: int) -> int:
        """Number of the log that holds this row."""
        return int(np.searchsorted(self.ends, row, side="right")) - 1

    def bad_frames(self) -> Counter[str]:
        """Number of frames that can't be used, by reason."""
        return Counter({PROBLEMS[k]: int(n) for k, n in enumerate(np.bincount(self.problems)) if k and n})

    def select(self, filter: SceneFilter) -> Selection:
        """The scenes of a filter, cut as NAVSIM does: frames i to i + num_frames of a log, for i = 0, interval, ...

        Left out are scenes that contain a bad frame, and every scene whose token an earlier one has.
        Of a log without any annotation (private test data) every frame with its history counts, even
        if route and future are missing: its scenes can only be planned, and a plan needs neither.
        """
        selected_logs, absent_logs = self._selected_logs(filter)
        length = np.diff(self.ends)
        log = np.repeat(np.arange(len(self)), length)
        number = np.arange(len(self.tokens)) - np.repeat(self.ends[:-1], length)
        starts = np.flatnonzero(selected_logs[log] & (number % filter.interval == 0))
        unscored = self._unannotated_logs()
        needed = np.where(unscored[log[starts]], filter.num_history_frames, filter.num_frames)
        complete = starts[number[starts] + needed <= length[log[starts]]]
        now = complete + filter.num_history_frames - 1
        left_out = {TOO_SHORT: len(starts) - len(complete)}

        def keep(mask: np.ndarray, reason: str) -> None:
            nonlocal now
            left_out[reason], now = int((~mask).sum()), now[mask]

        if filter.tokens is not None:
            keep(np.isin(self.tokens[now], _bytes(filter.tokens)), NOT_LISTED)
        if filter.has_route:
            # A bad frame has no route, but is counted with the bad ones below.
            keep(self.has_route[now] | (self.problems[now] > 0) | unscored[log[now]], NO_ROUTE)
        for kind, reason in enumerate(PROBLEMS):
            if kind:
                keep(self._within(now, self.problems == kind, filter) == 0, f"bad frame: {reason}")
        first = np.zeros(len(now), bool)
        first[np.unique(self.tokens[now], return_index=True)[1]] = True
        keep(first, TWICE)
        now = now[: filter.max_scenes]
        gaps = np.concatenate([[False], np.diff(self.timestamps_us) > UNEVEN_S * 1e6])
        return Selection(
            rows=now,
            left_out={reason: count for reason, count in left_out.items() if count},
            uneven=int((self._within(now, gaps, filter, skipped=1) > 0).sum()),
            absent_tokens=self._absent(filter.tokens),
            absent_logs=absent_logs,
        )

    def _selected_logs(self, filter: SceneFilter) -> tuple[Bool[np.ndarray, "L"], tuple[str, ...]]:
        if filter.log_names is None:
            return np.ones(len(self), bool), ()
        known = set(self.names.tolist())
        absent = tuple(name for name in dict.fromkeys(filter.log_names) if name.encode() not in known)
        return np.isin(self.names, _bytes(filter.log_names)), absent

    def _within(
        self, now: np.ndarray, marked: np.ndarray, filter: SceneFilter, skipped: int = 0
    ) -> Int64[np.ndarray, "S"]:
        """How many frames of each scene are marked. now: rows of present frames. skipped: how many first frames are not
        looked at.
        """
        sums = np.concatenate([[0], np.cumsum(marked)])
        first = now - filter.num_history_frames + 1
        ends = self.ends[np.searchsorted(self.ends, now, side="right")] if len(now) else self.ends[:0]
        return sums[np.minimum(first + filter.num_frames, ends)] - sums[first + skipped]

    def _unannotated_logs(self) -> Bool[np.ndarray, "L"]:
        """Logs without an annotated frame: NAVSIM's private test data."""
        sums = np.concatenate([[0], np.cumsum(self.annotated)])
        return sums[self.ends[1:]] == sums[self.ends[:-1]]

    def _absent(self, tokens: Sequence[str] | None) -> tuple[str, ...]:
        if not tokens:
            return ()
        absent = ~np.isin(_bytes(tokens), self.tokens)
        return tuple(dict.fromkeys(token for token, gone in zip(tokens, absent) if gone))


def _bytes(texts: Sequence[str]) -> Text:
    return np.array([text.encode() for text in texts], np.bytes_).reshape(-1)
