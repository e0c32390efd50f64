"""What all logs of a NAVSIM data split hold, a row a frame, so that 100,000 scenes are found in seconds.

Made and kept by navsim_log_folder.py; here a SceneFilter chooses from it, as NAVSIM does, and counts what it leaves out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int8, Int64, Shaped

from latentdrive.data.navsim.log import PROBLEMS, NavsimLog
from latentdrive.data.navsim.scene_filter import SceneFilter
from latentdrive.types import FROZEN

UNEVEN_S = (
    0.75  # time between two frames of a scene from which it is counted as uneven (frames are 0.5 s apart by name)
)
TOO_SHORT, NO_ROUTE, NOT_LISTED, TWICE = "too short", "no route now", "not in the filter's tokens", "token twice"
Text = Shaped[np.ndarray, "..."]  # one axis of UTF-8 bytes


@dataclass(**FROZEN)
class Selection:
    """Scenes that a filter leaves. rows: of their current frames in the index, in the order of logs and frames.

    left_out: how many were cut and not used, by reason. uneven: used ones with a gap of more than UNEVEN_S between two frames.
    absent_tokens, absent_logs: asked for by the filter, and in no log of the split.
    """

    rows: Int64[np.ndarray, "S"]
    left_out: dict[str, int]
    uneven: int
    absent_tokens: tuple[str, ...]
    absent_logs: tuple[str, ...]


@dataclass(**FROZEN)
class LogRows:
    """What the index keeps of one log; see NavsimIndex."""

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
        """Of a log that can be read."""
        return cls(
            unreadable=b"",
            place=bytes(log.location[0]),
            example=bytes(log.reasons[0]) if len(log.reasons) else b"",
            lost_boxes=int(log.lost_boxes[0]),
            tokens=log.tokens,
            timestamps_us=log.timestamps_us,
            has_route=log.has_route,
            annotated=log.annotated,
            problems=log.problems,
        )

    @classmethod
    def nothing(cls, reason: str) -> "LogRows":
        """Of a log that can't."""
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
    """Frames of all logs, log behind log in the order of their names: those of log k from ends[k] to ends[k + 1].

    stamps: FORMAT, size and time of change of each log's pickle. unreadable: why a log can't be used, empty where it can.
    tokens: empty for frames that have none. problems: index into navsim_log.PROBLEMS. examples: the first bad frame of a log
    in a sentence, empty where there is none. lost_boxes: annotated boxes of a log that were left out.
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
        counts = [len(one.timestamps_us) for one in logs]
        return cls(
            names=_bytes(tuple(rows)),
            stamps=np.array(list(stamps.values()), np.int64).reshape(-1, 3),
            unreadable=np.array([one.unreadable for one in logs], np.bytes_),
            places=np.array([one.place for one in logs], np.bytes_),
            examples=np.array([one.example for one in logs], np.bytes_),
            lost_boxes=np.array([one.lost_boxes for one in logs], np.int64),
            ends=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            tokens=np.concatenate([one.tokens for one in logs]),
            timestamps_us=np.concatenate([one.timestamps_us for one in logs]),
            has_route=np.concatenate([one.has_route for one in logs]),
            annotated=np.concatenate([one.annotated for one in logs]),
            problems=np.concatenate([one.problems for one in logs]),
        )

    def rows(self, log: int) -> LogRows:
        """What is kept of one log."""
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
        """Why a log can't be used, by the names of those that can't."""
        return {self.name(k): self.unreadable[k].decode() for k in np.flatnonzero(self.unreadable != b"").tolist()}

    def log_of(self, row: int) -> int:
        """Which log a frame lies in."""
        return int(np.searchsorted(self.ends, row, side="right")) - 1

    def bad_frames(self) -> Counter[str]:
        """How many frames can't be used, by reason."""
        return Counter({PROBLEMS[k]: int(n) for k, n in enumerate(np.bincount(self.problems)) if k and n})

    def select(self, filter: SceneFilter) -> Selection:
        """The scenes of a filter, as NAVSIM cuts them: frames i to i + num_frames of a log for i = 0, interval, ...

        A scene with a bad frame in it is left out; so is the second one with the same token.
        """
        wanted, absent_logs = self._wanted_logs(filter)
        length = np.diff(self.ends)
        log = np.repeat(np.arange(len(self)), length)
        number = np.arange(len(self.tokens)) - np.repeat(self.ends[:-1], length)
        starts = np.flatnonzero(wanted[log] & (number % filter.interval == 0))
        whole = starts[number[starts] + filter.num_frames <= length[log[starts]]]
        now = whole + filter.num_history_frames - 1
        left_out = {TOO_SHORT: len(starts) - len(whole)}

        def keep(mask: np.ndarray, reason: str) -> None:
            nonlocal now
            left_out[reason], now = int((~mask).sum()), now[mask]

        if filter.tokens is not None:
            keep(np.isin(self.tokens[now], _bytes(filter.tokens)), NOT_LISTED)
        if filter.has_route:
            # A bad frame has no route of its own: it is counted with the bad ones.
            keep(self.has_route[now] | (self.problems[now] > 0), NO_ROUTE)
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
            uneven=int((self._within(now + 1, gaps, filter, frames=filter.num_frames - 1) > 0).sum()),
            absent_tokens=self._absent(filter.tokens),
            absent_logs=absent_logs,
        )

    def _wanted_logs(self, filter: SceneFilter) -> tuple[Bool[np.ndarray, "L"], tuple[str, ...]]:
        if filter.log_names is None:
            return np.ones(len(self), bool), ()
        asked, there = _bytes(filter.log_names), set(self.names.tolist())
        absent = tuple(name for name in dict.fromkeys(filter.log_names) if name.encode() not in there)
        return np.isin(self.names, asked), absent

    def _within(
        self, now: np.ndarray, marked: np.ndarray, filter: SceneFilter, frames: int | None = None
    ) -> Int64[np.ndarray, "S"]:
        """How many of a scene's frames are marked."""
        sums = np.concatenate([[0], np.cumsum(marked)])
        first = now - filter.num_history_frames + 1
        return sums[first + (filter.num_frames if frames is None else frames)] - sums[first]

    def _absent(self, tokens: Sequence[str] | None) -> tuple[str, ...]:
        if not tokens:
            return ()
        absent = ~np.isin(_bytes(tokens), self.tokens)
        return tuple(dict.fromkeys(token for token, gone in zip(tokens, absent) if gone))


def _bytes(texts: Sequence[str]) -> Text:
    return np.array([text.encode() for text in texts], np.bytes_).reshape(-1)
