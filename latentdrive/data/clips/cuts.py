"""Cuts, repeated frames, standstill, and the even grid of times: which decoded frames become the clip.

Second step of data/clips/video.py, after decoding. Everything is judged on a small grey picture of each frame. Thresholds are
latentdrive defaults, set on five real videos: adjacent frames at 25 to 30 Hz have novelty below 0.07 and mean change
above 0.37 grey levels, joins of two videos novelty above 0.16, re-encoded repeated frames mean change below 0.09.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from latentdrive.types import FROZEN

GREY_WIDTH, GREY_HEIGHT = 64, 36  # cells of the small grey picture
MATCH_X, MATCH_Y = 10, 3  # cells the picture may shift between two frames and still be the same place
SAME_MEAN = 0.3  # grey levels, mean over the picture, below which a frame equals its predecessor ...
SAME_PEAK = 8.0  # ... if no cell changes by more than this
STANDSTILL_S = 0.3  # still runs longer than this are standstill and stay
CUT_NOVELTY, CUT_NOVELTY_PER_S = (
    0.12,
    0.75,
)  # share of the picture that no shift of the predecessor explains, and how it
# grows with the time between the two; this much above three times the local median is a cut
CUT_NOVELTY_RATIO, CUT_CHANGE_RATIO = 3.0, 2.0
CONTEXT_S = 0.5  # half-width of the local median
FLAT = 2.0  # grey levels of standard deviation below which a picture has no structure to match
GRID_TOLERANCE = 0.55  # of a grid step: how far a frame may lie from its grid time


@dataclass(**FROZEN)
class Changes:
    """How each frame differs from the one before; the first row is infinite. mean, peak: grey levels. novelty in [0, 2]."""

    mean: Float64[np.ndarray, "N"]
    peak: Float64[np.ndarray, "N"]
    novelty: Float64[np.ndarray, "N"]

    def __getitem__(self, rows: slice) -> "Changes":
        return Changes(mean=self.mean[rows], peak=self.peak[rows], novelty=self.novelty[rows])


@dataclass(**FROZEN)
class Verdict:
    """repeated: to be dropped. still: part of a standstill. cut: the first frame after a jump."""

    repeated: Bool[np.ndarray, "N"]
    still: Bool[np.ndarray, "N"]
    cut: Bool[np.ndarray, "N"]


def small_grey(frame: UInt8[np.ndarray, "H W 3"]) -> Float32[np.ndarray, "36 64"]:
    """The picture that everything here is judged on."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (GREY_WIDTH, GREY_HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32)


def change(before: Float32[np.ndarray, "36 64"], after: Float32[np.ndarray, "36 64"]) -> tuple[float, float, float]:
    """Mean and peak change in grey levels, and novelty: one minus the best correlation over small shifts."""
    apart = cv2.absdiff(before, after)
    mean = float(apart.mean())
    middle = after[MATCH_Y:-MATCH_Y, MATCH_X:-MATCH_X]
    if middle.std() < FLAT or before.std() < FLAT:
        # Black or white leaders: nothing to match, so brightness alone decides; 50 grey levels are another picture.
        novelty = min(1.0, mean / 50.0)
    else:
        novelty = 1.0 - float(cv2.matchTemplate(before, middle, cv2.TM_CCOEFF_NORMED).max())
    return mean, float(apart.max()), novelty


def judge(times: Float64[np.ndarray, "N"], changes: Changes) -> Verdict:
    """What each frame is, from its change and those of its neighbours within half a second.

    A frame that equals its predecessor is repeated; a run of such frames that lasts longer than 0.3 s (counted from the
    frame before it) is standstill instead. A cut is a frame that no small shift of its predecessor explains, while its
    neighbours are explained: a fast turn raises the neighbours too and is none.
    """
    equal = (changes.mean < SAME_MEAN) & (changes.peak < SAME_PEAK)
    still = np.zeros(len(times), bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], equal, [False]]).astype(np.int8)))
    for first, end in edges.reshape(-1, 2):
        # A run at the start of what is seen has no frame before it.
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


class Grid:
    """Picks frames at an even rate by nearest presentation time, one frame at a time, shot by shot.

    Each shot has its own grid, from its first frame on. A frame may lie up to 0.55 of a step from its grid time; where
    none does, or the nearest is taken already, a new shot with a new grid begins (a hole), so no frame appears twice.
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
