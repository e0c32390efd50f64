"""From a stream of decoded frames to the frames of a clip: repetitions dropped, cuts found, even steps in time.

The step after decoding. `judge` says of every frame whether it repeats its predecessor, stands
still, or follows a cut, on a small grey picture. `Grid` then picks the frames that are nearest to
even times. `Resampler` does both while frames arrive: it judges them in blocks with a second of
look-ahead, so memory grows with the clip at `rate_hz` and not with the video, and the result does
not depend on the block length.

Thresholds are latentdrive defaults, set on five real videos. Neighbouring frames at 25 to 30 Hz
have a novelty below 0.07 and a mean change above 0.37 grey levels, joins of two videos a novelty
above 0.16, re-encoded repeated frames a mean change below 0.09.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from latentdrive.errors import UnreadableClip
from latentdrive.types import FROZEN

BLOCK = 256  # frames judged together
LOOK_S = 1.0  # seconds on both sides that a judgement may depend on
SLOWER = 1.1  # how much longer than a grid step the median distance of frames may be
GRID_TOLERANCE = 0.55  # how far a frame may lie from its grid time, as a share of a grid step
GREY_WIDTH, GREY_HEIGHT = 64, 36  # cells of the small grey picture
MATCH_X, MATCH_Y = 10, 3  # cells the picture may shift between two frames and still be the same place
SAME_MEAN = 0.3  # grey levels, mean over the picture, below which a frame equals its predecessor ...
SAME_PEAK = 8.0  # ... if no cell changes by more than this
STANDSTILL_S = 0.3  # still runs longer than this are standstill and stay
# A cut has a novelty (share of the picture that no shift of the predecessor explains) above this
# first number, which grows by the second one for every second between the two frames, plus three
# times the local median; its change is twice the local median.
CUT_NOVELTY, CUT_NOVELTY_PER_S = 0.12, 0.75
CUT_NOVELTY_RATIO, CUT_CHANGE_RATIO = 3.0, 2.0
CONTEXT_S = 0.5  # half-width of the local median
FLAT = 2.0  # grey levels of standard deviation below which a picture has no structure to match
OTHER_PICTURE = 50.0  # grey levels of mean change that make another picture where there is no structure


@dataclass(**FROZEN)
class Resampled:
    """The frames of a clip with their times and shots; the counts are explained at ClipFacts."""

    frames: UInt8[np.ndarray, "T 3 H W"]
    times_s: Float64[np.ndarray, "T"]
    shots: Int64[np.ndarray, "T"]
    frames_read: int
    repeated: int
    cuts: int
    holes: int
    standstill_s: float
    source_hz: float


class Resampler:
    """Takes frames in order of presentation; `finish` gives the frames of the clip."""

    def __init__(self, *, rate_hz: float) -> None:
        self.rate_hz = rate_hz
        self._grid = Grid(rate_hz=rate_hz)
        self._times: list[float] = []
        self._changes: list[tuple[float, float, float]] = []
        self._grey: np.ndarray | None = None  # the last frame's small picture
        self._after_gap: set[int] = set()  # numbers of frames that follow missing ones
        self._waiting: dict[int, np.ndarray] = {}  # frames that may still be picked, by number
        self._judged = 0
        self._picked: list[np.ndarray] = []
        self._rows: list[tuple[float, int]] = []  # time and shot of every picked frame
        self._steps: list[float] = []  # seconds between neighbours that are no repetition
        self._last_moving_s = 0.0
        self._repeated = self._cuts = self._out_of_order = 0
        self._standstill_s = 0.0

    def add(self, time_s: float, frame: UInt8[np.ndarray, "H W 3"], *, after_gap: bool = False) -> None:
        """One more decoded frame; a frame that does not advance in time is dropped and counted as repeated.

        after_gap: frames before this one are missing, so it begins a new shot.
        """
        if self._times and time_s <= self._times[-1]:
            self._out_of_order += 1
            return
        grey = small_grey(frame)
        if after_gap and self._times:
            self._after_gap.add(len(self._times))
        fresh = self._grey is None or len(self._times) in self._after_gap
        self._changes.append((np.inf,) * 3 if fresh else change(self._grey, grey))
        self._grey = grey
        self._waiting[len(self._times)] = frame
        self._times.append(time_s)
        if len(self._times) % BLOCK == 0:
            self._judge(time_s - LOOK_S)

    def finish(self, path: Path) -> Resampled:
        """The clip. Raises UnreadableClip for fewer than two frames, or frames sparser than `rate_hz`."""
        self._judge(np.inf)
        for number, shot in self._grid.close():
            self._pick(number, shot)
        read = len(self._times) + self._out_of_order
        if len(self._times) < 2:
            alone = "it holds a single frame" if read == 1 else f"none of its {read} frames is later than the first"
            what = "no frame could be decoded: it is empty or no video" if read == 0 else alone
            raise UnreadableClip(path, f"{what}; an action lies between two frames. Remove it from the list")
        step_s = float(np.median(self._steps)) if self._steps else self._times[-1] - self._times[0]
        if step_s > SLOWER / self.rate_hz:
            raise UnreadableClip(
                path,
                f"it has {1 / step_s:.3g} frames a second, data.rate_hz={self.rate_hz:g} asks for more: "
                f"lower data.rate_hz to {1 / step_s:.3g} or remove the clip",
            )
        return Resampled(
            frames=np.stack(self._picked),
            times_s=np.array([time for time, _ in self._rows], np.float64),
            shots=np.array([shot for _, shot in self._rows], np.int64),
            frames_read=read,
            repeated=self._repeated + self._out_of_order,
            cuts=self._cuts,
            holes=self._grid.holes + len(self._after_gap),
            standstill_s=self._standstill_s,
            source_hz=1.0 / step_s,
        )

    def _judge(self, until_s: float) -> None:
        """Judge every frame up to `until_s`, and offer those that are no repetition to the grid."""
        first, last = self._judged, len(self._times)
        if first == last:
            return
        low = int(np.searchsorted(self._times, self._times[first] - LOOK_S))
        times = np.array(self._times[low:], np.float64)
        mean, peak, novelty = np.array(self._changes[low:], np.float64).T
        verdict = judge(times, Changes(mean=mean, peak=peak, novelty=novelty))
        while self._judged < last and self._times[self._judged] <= until_s:
            k, row = self._judged, self._judged - low
            self._judged += 1
            if verdict.repeated[row]:
                self._repeated += 1
                del self._waiting[k]
                continue
            if verdict.still[row]:
                self._standstill_s += self._times[k] - self._times[k - 1]
            self._cuts += bool(verdict.cut[row])
            if k > 0 and k not in self._after_gap:
                self._steps.append(self._times[k] - self._last_moving_s)
            self._last_moving_s = self._times[k]
            for number, shot in self._grid.offer(k, self._times[k], bool(verdict.cut[row]) or k in self._after_gap):
                self._pick(number, shot)
            # Every earlier frame has been picked or passed over; this one may still become the
            # grid's choice.
            self._waiting = {number: frame for number, frame in self._waiting.items() if number >= k}

    def _pick(self, number: int, shot: int) -> None:
        self._picked.append(np.ascontiguousarray(self._waiting[number].transpose(2, 0, 1)))
        self._rows.append((self._times[number], shot))


class Grid:
    """Picks frames at an even rate by nearest presentation time, one frame at a time, shot by shot.

    Each shot has its own grid, which starts at its first frame. A frame may lie up to 0.55 of a
    step from its grid time. Where none does, or the nearest one is taken already, a new shot with a
    new grid begins (a hole), so no frame appears twice.
    """

    def __init__(self, *, rate_hz: float) -> None:
        self.step_s = 1.0 / rate_hz
        self.shot = -1
        self.holes = 0
        self._origin = 0.0
        self._taken = 0  # grid points of this shot that have their frame
        self._candidate: tuple[int, float] | None = None  # number and time of the last frame before the next grid point

    def offer(self, number: int, time: float, cut: bool) -> list[tuple[int, int]]:
        """Frames that are decided by the arrival of this one, as (number, shot)."""
        if self.shot < 0 or cut:
            decided = self.close()
            return [*decided, self._begin(number, time)]
        decided = []
        while time >= (due := self._origin + self._taken * self.step_s) - 1e-9:
            earlier = self._candidate
            if earlier is not None and due - earlier[1] < abs(time - due) and self._near(due - earlier[1]):
                decided.append((earlier[0], self.shot))
                self._candidate = None
            elif self._near(abs(time - due)):
                self._candidate = None
                self._taken += 1
                return [*decided, (number, self.shot)]
            else:
                self.holes += 1
                return [*decided, self._begin(number, time)]
            self._taken += 1
        self._candidate = (number, time)
        return decided

    def close(self) -> list[tuple[int, int]]:
        """The last frame of a shot, if it is the nearest to its grid point."""
        left, self._candidate = self._candidate, None
        if left is None or not self._near(self._origin + self._taken * self.step_s - left[1], share=0.1):
            return []
        return [(left[0], self.shot)]

    def _begin(self, number: int, time: float) -> tuple[int, int]:
        self.shot += 1
        self._origin, self._taken, self._candidate = time, 1, None
        return number, self.shot

    def _near(self, apart_s: float, share: float = GRID_TOLERANCE) -> bool:
        return apart_s <= share * self.step_s


# ---- judging frames ----


@dataclass(**FROZEN)
class Changes:
    """How each frame differs from the one before; the first row is infinite. mean, peak: grey
    levels. novelty in [0, 2].
    """

    mean: Float64[np.ndarray, "N"]
    peak: Float64[np.ndarray, "N"]
    novelty: Float64[np.ndarray, "N"]

    def __getitem__(self, rows: slice) -> "Changes":
        return Changes(mean=self.mean[rows], peak=self.peak[rows], novelty=self.novelty[rows])


@dataclass(**FROZEN)
class Verdict:
    """repeated: frames to be dropped. still: frames of a standstill. cut: first frames after a jump of the picture."""

    repeated: Bool[np.ndarray, "N"]
    still: Bool[np.ndarray, "N"]
    cut: Bool[np.ndarray, "N"]


def small_grey(frame: UInt8[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "36 64"]:
    """The small grey picture that frames are judged by."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (GREY_WIDTH, GREY_HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32)


def change(before: Float32[np.ndarray, "36 64"], after: Float32[np.ndarray, "36 64"]) -> tuple[float, float, float]:
    """Mean and peak change in grey levels, and novelty: one minus the best correlation over small shifts."""
    apart = cv2.absdiff(before, after)
    mean = float(apart.mean())
    middle = after[MATCH_Y:-MATCH_Y, MATCH_X:-MATCH_X]
    if middle.std() < FLAT or before.std() < FLAT:
        # Black or white leaders have no structure to match, so brightness alone decides.
        novelty = min(1.0, mean / OTHER_PICTURE)
    else:
        novelty = 1.0 - float(cv2.matchTemplate(before, middle, cv2.TM_CCOEFF_NORMED).max())
    return mean, float(apart.max()), novelty


def judge(times: Float64[np.ndarray, "N"], changes: Changes) -> Verdict:
    """What each frame is, from its change and from those of its neighbours within half a second.

    A frame that equals its predecessor is repeated. A run of such frames that lasts longer than 0.3
    s, counted from the frame before it, is standstill instead. A cut is a frame that no small shift
    of its predecessor explains, while its neighbours are explained; a fast turn leaves the
    neighbours unexplained too, and is no cut.
    """
    equal = (changes.mean < SAME_MEAN) & (changes.peak < SAME_PEAK)
    still = np.zeros(len(times), bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], equal, [False]]).astype(np.int8)))
    for first, end in edges.reshape(-1, 2):
        # A run at the start of the block has no frame before it.
        if times[end - 1] - times[max(first - 1, 0)] > STANDSTILL_S:
            still[first:end] = True
    cut = np.zeros(len(times), bool)
    moving = ~equal & np.isfinite(changes.mean)
    needed = CUT_NOVELTY + CUT_NOVELTY_PER_S * np.minimum(np.diff(times, prepend=times[0]), CONTEXT_S)
    for k in np.flatnonzero(moving & (changes.novelty > needed)):
        low, high = np.searchsorted(times, [times[k] - CONTEXT_S - 1e-6, times[k] + CONTEXT_S + 1e-6])
        near = moving[low:high].copy()
        near[k - low] = False
        novelty = _median(changes.novelty[low:high][near])
        mean = _median(changes.mean[low:high][near])
        cut[k] = changes.novelty[k] > needed[k] + CUT_NOVELTY_RATIO * novelty and (
            changes.mean[k] > CUT_CHANGE_RATIO * mean
        )
    return Verdict(repeated=equal & ~still, still=still, cut=cut)


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else 0.0
