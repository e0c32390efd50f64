"""From a stream of decoded frames to the arrays of a clip, holding only the frames that stay.

Third step of reading a video: decode (video.py, image_folder.py), judge (screening.py), and here keep what falls on the
grid. Frames are judged in blocks with a second of look-ahead, so memory grows with the clip at `rate_hz`, not at the
video's own rate, and the result does not depend on the block length.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from latentdrive.data.clips.cuts import Changes, Grid, change, judge, small_grey
from latentdrive.errors import UnreadableClip
from latentdrive.types import FROZEN

BLOCK = 256  # frames judged together
LOOK_S = 1.0  # seconds on both sides that a judgement may depend on
SLOWER = 1.1  # how much longer than a grid step the median frame distance may be


@dataclass(**FROZEN)
class Assembled:
    """The frames that stay, and what was counted on the way."""

    frames: UInt8[np.ndarray, "T 3 H W"]
    times_s: Float64[np.ndarray, "T"]
    shots: Int64[np.ndarray, "T"]
    frames_read: int
    repeated: int
    cuts: int
    holes: int
    standstill_s: float
    source_hz: float


class Assembler:
    """Takes frames in order of presentation; `finish` gives the clip's arrays."""

    def __init__(self, *, rate_hz: float) -> None:
        self.rate_hz = rate_hz
        self._grid = Grid(rate_hz=rate_hz)
        self._times: list[float] = []
        self._changes: list[tuple[float, float, float]] = []
        self._grey: np.ndarray | None = None
        self._waiting: dict[int, np.ndarray] = {}
        self._settled = 0
        self._kept: list[np.ndarray] = []
        self._rows: list[tuple[float, int]] = []
        self._steps: list[float] = []  # time between neighbours that are no repetition
        self._last_moving = 0.0
        self._repeated = self._cuts = self._out_of_order = 0
        self._standstill_s = 0.0

    def add(self, time_s: float, frame: UInt8[np.ndarray, "H W 3"]) -> None:
        """One more decoded frame; frames that do not advance in time are dropped and counted as repeated."""
        if self._times and time_s <= self._times[-1]:
            self._out_of_order += 1
            return
        grey = small_grey(frame)
        self._changes.append((np.inf,) * 3 if self._grey is None else change(self._grey, grey))
        self._grey = grey
        self._waiting[len(self._times)] = frame
        self._times.append(time_s)
        if len(self._times) % BLOCK == 0:
            self._settle(time_s - LOOK_S)

    def finish(self, path: Path) -> Assembled:
        """The clip. Raises UnreadableClip for fewer than two frames, or frames sparser than `rate_hz`."""
        self._settle(np.inf)
        for number, shot in self._grid.close():
            self._keep(number, shot)
        read = len(self._times) + self._out_of_order
        if read < 2:
            what = "no frame could be decoded: it is empty or no video" if read == 0 else "it holds a single frame"
            raise UnreadableClip(path, f"{what}; an action lies between two frames. Remove it from the list")
        step_s = float(np.median(self._steps)) if self._steps else self._times[-1] - self._times[0]
        if step_s > SLOWER / self.rate_hz:
            raise UnreadableClip(
                path,
                f"it has {1 / step_s:.3g} frames a second, data.rate_hz={self.rate_hz:g} asks for more: "
                f"lower data.rate_hz to {1 / step_s:.3g} or remove the clip",
            )
        return Assembled(
            frames=np.stack(self._kept),
            times_s=np.array([time for time, _ in self._rows], np.float64),
            shots=np.array([shot for _, shot in self._rows], np.int64),
            frames_read=read,
            repeated=self._repeated + self._out_of_order,
            cuts=self._cuts,
            holes=self._grid.holes,
            standstill_s=self._standstill_s,
            source_hz=1.0 / step_s,
        )

    def _settle(self, until_s: float) -> None:
        """Decide about every frame up to `until_s`."""
        first, last = self._settled, len(self._times)
        if first == last:
            return
        low = int(np.searchsorted(self._times, self._times[first] - LOOK_S))
        times = np.array(self._times[low:], np.float64)
        mean, peak, novelty = np.array(self._changes[low:], np.float64).T
        verdict = judge(times, Changes(mean=mean, peak=peak, novelty=novelty))
        while self._settled < last and self._times[self._settled] <= until_s:
            k, row = self._settled, self._settled - low
            self._settled += 1
            if verdict.repeated[row]:
                self._repeated += 1
                del self._waiting[k]
                continue
            if verdict.still[row]:
                self._standstill_s += self._times[k] - self._times[k - 1]
            self._cuts += bool(verdict.cut[row])
            if k > 0:
                self._steps.append(self._times[k] - self._last_moving)
            self._last_moving = self._times[k]
            for number, shot in self._grid.offer(k, self._times[k], bool(verdict.cut[row])):
                self._keep(number, shot)
            # Earlier frames are decided now: this one is kept, or it is the grid's only candidate.
            self._waiting = {n: frame for n, frame in self._waiting.items() if n >= k}

    def _keep(self, number: int, shot: int) -> None:
        self._kept.append(np.ascontiguousarray(self._waiting[number].transpose(2, 0, 1)))
        self._rows.append((self._times[number], shot))
