"""How far the car went from picture to picture, seen on the road: the second half of ego_motion.py.

The road ahead is laid out flat, as seen from above, by a camera CAMERA_HEIGHT_M above it; driving shifts that view
towards the car. What stands still in the picture (bonnet, captions, the car ahead, unbroken lines) is subtracted as the
mean of neighbouring pictures, each shift is scored by correlation, and a path of steady speed is drawn through the scores
of a whole shot by dynamic programming, so that dull stretches of asphalt are bridged.
"""

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

CAMERA_HEIGHT_M = 1.5  # the unit of all lengths: a passenger car's camera stands 1.2 to 1.7 m above the road
NEAR_M, FAR_M, HALF_WIDTH_M = 4.0, 18.0, 2.4  # the patch of road that is looked at
CELL_M, CELL_ACROSS_M = 0.1, 0.2
TOP_SPEED_MPS = 45.0
SLOPE_CELLS = 2  # brightness is differentiated along the road, over twice this
SMOOTH_CELLS = 9  # slopes that are even over this many cells along the road are shading, not asphalt
CONTRAST = 25.0  # grey levels beyond which a slope counts no more: shadows and lines don't drown the asphalt
NOISE = 1.0  # grey levels of slope below which a view says nothing
NEIGHBOURS = 3  # pictures to either side whose mean is subtracted
SLOWEST_MPS, SPEED_STEP = 0.3, 0.02  # the grid of speeds: its start, and the logarithm of its ratio
CHANGE_COST, LARGEST_COST = (
    0.05,
    1.5,
)  # score that each unexplained grid step of change costs, and the most a jump costs
BELIEVED = 0.25  # the largest change of log speed in a step that corners may tell


class RoadView:
    """The road seen from above, from one camera. aim: where straight travel points in the picture (right, down; tangents)."""

    def __init__(self, intrinsics: Float64[np.ndarray, "3 3"], aim: Float64[np.ndarray, "2"]) -> None:
        ahead = np.array([aim[0], aim[1], 1.0])
        ahead /= np.linalg.norm(ahead)
        right = np.cross([0.0, 1.0, 0.0], ahead)
        right /= np.linalg.norm(right)
        axes = np.stack([right, np.cross(ahead, right), ahead], -1)
        z = np.arange(NEAR_M, FAR_M, CELL_M)
        x = np.arange(-HALF_WIDTH_M, HALF_WIDTH_M + 1e-9, CELL_ACROSS_M)
        points = np.stack(np.broadcast_arrays(x[None], np.full((1, 1), CAMERA_HEIGHT_M), z[:, None]), -1)
        self._rays = points @ axes.T
        self._intrinsics = intrinsics

    def seen(
        self, picture: UInt8[np.ndarray, "H W"], rotation: Float64[np.ndarray, "3"] | None = None
    ) -> Float32[np.ndarray, "Z X"]:
        """Slope of brightness along the road, 0 outside the picture. rotation: how the camera turned since it faced `aim`."""
        rays = self._rays if rotation is None else self._rays @ cv2.Rodrigues(rotation)[0]
        pixels = rays @ self._intrinsics.T
        across, down = (np.ascontiguousarray(pixels[..., k] / pixels[..., 2], np.float32) for k in (0, 1))
        inside = (across >= 0) & (across <= picture.shape[1] - 1) & (down >= 0) & (down <= picture.shape[0] - 1)
        above = cv2.remap(picture, across, down, cv2.INTER_LINEAR).astype(np.float32)
        slope = np.zeros_like(above)
        slope[SLOPE_CELLS:-SLOPE_CELLS] = above[2 * SLOPE_CELLS :] - above[: -2 * SLOPE_CELLS]
        usable = inside & np.roll(inside, SLOPE_CELLS, 0) & np.roll(inside, -SLOPE_CELLS, 0)
        slope = np.clip(slope, -CONTRAST, CONTRAST) * usable
        return slope - cv2.blur(slope, (1, SMOOTH_CELLS))


def shift_scores(
    views: list[Float32[np.ndarray, "Z X"]], turned: list[Float32[np.ndarray, "Z X"] | None], longest_m: float
) -> Float64[np.ndarray, "P S"]:
    """Correlation of each view with the next one, shifted by 0, 1, ... cells; 0 rows where the next is None.

    turned: for each step the next picture's view, turned back to face as the first.
    """
    shifts = min(len(views[0]) - 20, int(longest_m / CELL_M) + 1)
    scores = np.zeros((len(turned), shifts))
    stacked = np.stack(views)
    for step, after in enumerate(turned):
        if after is None:
            continue
        low, high = max(0, step - NEIGHBOURS), min(len(views), step + NEIGHBOURS + 1)
        standing = stacked[low:high].mean(0)
        here, there = views[step] - standing, after - standing
        for shift in range(shifts):
            a, b = here[shift:], there[: len(there) - shift]
            power = np.sqrt(np.vdot(a, a) * np.vdot(b, b)) + NOISE * a.size
            scores[step, shift] = np.vdot(a, b) / power
    return scores


def steady_speed(
    scores: Float64[np.ndarray, "P S"], dt_s: Float64[np.ndarray, "P"], growth: Float64[np.ndarray, "P"]
) -> tuple[Float64[np.ndarray, "P"], float]:
    """Speed over every step in m/s, and the mean score along it.

    The best sum of scores less the cost of unexplained change: Viterbi over log speed. dt_s: length of each step. growth:
    how much longer a step's way is than that of the one before, where corners tell it (ego_motion.py), else NaN.
    """
    speeds = SLOWEST_MPS * np.exp(SPEED_STEP * np.arange(int(np.log(TOP_SPEED_MPS / SLOWEST_MPS) / SPEED_STEP)))
    cells = np.arange(scores.shape[1])
    support = np.stack([np.interp(speeds * dt / CELL_M, cells, row) for dt, row in zip(dt_s, scores)])
    # A change of speed in grid steps, told by the corners: growth of the way less that of the time.
    told = np.log(growth[1:] * dt_s[:-1] / dt_s[1:]) / SPEED_STEP
    told = np.nan_to_num(told.clip(-BELIEVED / SPEED_STEP, BELIEVED / SPEED_STEP))
    apart = np.arange(len(speeds))[:, None] - np.arange(len(speeds))
    total, origin = support[0], np.zeros(support.shape, np.int64)
    for step in range(1, len(support)):
        reached = total[None] - np.minimum(CHANGE_COST * np.abs(apart - told[step - 1]), LARGEST_COST)
        origin[step] = reached.argmax(1)
        total = reached.max(1) + support[step]
    path = np.zeros(len(support), np.int64)
    path[-1] = total.argmax()
    for step in range(len(support) - 1, 0, -1):
        path[step - 1] = origin[step, path[step]]
    return speeds[path], float(support[np.arange(len(path)), path].mean())
