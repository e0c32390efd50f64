"""How far the car went from picture to picture, by the road that it sees: the second half of visual odometry.

The road ahead is laid out flat, as seen from above, by a camera CAMERA_HEIGHT_M above it; driving
shifts that view towards the car. What stands still in the picture (bonnet, captions, the car ahead,
unbroken lines) is subtracted as the mean of neighbouring pictures. Each shift is scored by
correlation. Dynamic programming then draws a path of steady speed through the scores of a whole
shot, so that stretches of asphalt without texture are bridged.
"""

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

CAMERA_HEIGHT_M = 1.5  # the unit of all lengths: a passenger car's camera stands 1.2 to 1.7 m above the road
NEAR_M, FAR_M, HALF_WIDTH_M = 4.0, 18.0, 2.4  # the patch of road that is used
CELL_M, CELL_ACROSS_M = 0.1, 0.2
TOP_SPEED_MPS = 45.0
SLOPE_CELLS = 2  # brightness is differentiated along the road over twice this many cells
SMOOTH_CELLS = 9  # slopes that are even over this many cells along the road are shading, not asphalt
CONTRAST = 25.0  # grey levels that slopes are clipped to, so that shadows and lines do not drown the asphalt
NOISE = 1.0  # grey levels of slope below which a view holds no information
NEIGHBOURS = 3  # pictures to either side whose mean is subtracted
SLOWEST_MPS, SPEED_STEP = 0.3, 0.02  # the grid of speeds: its start, and the logarithm of its ratio
CHANGE_COST, LARGEST_COST = (
    0.05,
    1.5,
)  # cost, as a score, of each grid step of unexplained change; the most a jump costs
BELIEVED = 0.25  # the largest change of log speed in a step that is taken from corners


class RoadView:
    """The road as one camera sees it, laid out from above. aim: where straight travel points
    (right, down; tangents).
    """

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

    def view(
        self, picture: UInt8[np.ndarray, "H W"], rotation: Float64[np.ndarray, "3"] | None = None
    ) -> Float32[np.ndarray, "Z X"]:
        """Slope of brightness along the road, 0 outside the picture. rotation: the camera's turn
        since it faced `aim`.
        """
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
    """Correlation of each view with the next one, shifted by 0, 1, ... cells; rows of 0 where the next one is None.

    turned: for each step the view of the next picture, turned back to face as the first picture
    does.
    """
    shifts = min(len(views[0]) - 20, int(longest_m / CELL_M) + 1)
    scores = np.zeros((len(turned), shifts))
    stacked = np.stack(views)
    for step, after in enumerate(turned):
        if after is None:
            continue
        low, high = max(0, step - NEIGHBOURS), min(len(views), step + NEIGHBOURS + 1)
        standing = stacked[low:high].mean(0)
        first, second = views[step] - standing, after - standing
        for shift in range(shifts):
            a, b = first[shift:], second[: len(second) - shift]
            power = np.sqrt(np.vdot(a, a) * np.vdot(b, b)) + NOISE * a.size
            scores[step, shift] = np.vdot(a, b) / power
    return scores


def steady_speed(
    scores: Float64[np.ndarray, "P S"], dt_s: Float64[np.ndarray, "P"], growth: Float64[np.ndarray, "P"]
) -> tuple[Float64[np.ndarray, "P"], float]:
    """Speed over every step in m/s, and the mean score along this path.

    Viterbi over log speed: the path has the largest sum of scores less the cost of unexplained
    change. dt_s: length of each step. growth: how much longer a step's way is than that of the step
    before, by tracked corners; NaN where they do not say it.
    """
    speeds = SLOWEST_MPS * np.exp(SPEED_STEP * np.arange(int(np.log(TOP_SPEED_MPS / SLOWEST_MPS) / SPEED_STEP)))
    cells = np.arange(scores.shape[1])
    support = np.stack([np.interp(speeds * dt / CELL_M, cells, row) for dt, row in zip(dt_s, scores)])
    # Change of speed in grid steps, from the corners: growth of the way over growth of the time.
    explained = np.log(growth[1:] * dt_s[:-1] / dt_s[1:]) / SPEED_STEP
    explained = np.nan_to_num(explained.clip(-BELIEVED / SPEED_STEP, BELIEVED / SPEED_STEP))
    apart = np.arange(len(speeds))[:, None] - np.arange(len(speeds))
    total, origin = support[0], np.zeros(support.shape, np.int64)
    for step in range(1, len(support)):
        reached = total[None] - np.minimum(CHANGE_COST * np.abs(apart - explained[step - 1]), LARGEST_COST)
        origin[step] = reached.argmax(1)
        total = reached.max(1) + support[step]
    path = np.zeros(len(support), np.int64)
    path[-1] = total.argmax()
    for step in range(len(support) - 1, 0, -1):
        path[step - 1] = origin[step, path[step]]
    return speeds[path], float(support[np.arange(len(path)), path].mean())
