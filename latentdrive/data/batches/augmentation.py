"""Changes of a whole window that keep its meaning: mirrored left to right, or cut to a smaller view.

Used by batches.py while training. Every frame of a window is changed alike, and motion and truth follow the picture.
"""

import cv2
import numpy as np
from jaxtyping import Float32, UInt8


def mirror(
    frames: UInt8[np.ndarray, "T 3 H W"],
    motion: Float32[np.ndarray, "M 4"],
    moving: Float32[np.ndarray, "M gh gw"] | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The window in a mirror: left becomes right, so dy and dyaw of (dx, dy, dyaw, speed) change their sign."""
    return (
        frames[..., ::-1],
        motion * np.array([1.0, -1.0, -1.0, 1.0], np.float32),
        None if moving is None else moving[..., ::-1],
    )


def crop(
    frames: UInt8[np.ndarray, "T 3 H W"], *, share: float, right: float, down: float
) -> tuple[UInt8[np.ndarray, "T 3 H W"], tuple[float, float, float, float]]:
    """The same cut for all frames, enlarged to the old size; returns frames and (left, top, right, bottom) as shares.

    share: side lengths kept, in (0, 1]. right, down: where the cut lies in the room that is left, 0 to 1.
    """
    height, width = frames.shape[-2:]
    kept_h, kept_w = max(2, round(height * share)), max(2, round(width * share))
    top, left = int(down * (height - kept_h) + 0.5), int(right * (width - kept_w) + 0.5)
    cut = frames[..., top : top + kept_h, left : left + kept_w]
    large = [cv2.resize(np.ascontiguousarray(one.transpose(1, 2, 0)), (width, height)) for one in cut]
    view = (left / width, top / height, (left + kept_w) / width, (top + kept_h) / height)
    return np.stack(large).transpose(0, 3, 1, 2), view


def covered_share(
    boxes: Float32[np.ndarray, "T N 4"], view: tuple[float, float, float, float], grid: tuple[int, int]
) -> Float32[np.ndarray, "T gh gw"]:
    """Which share of each patch lies under any box. grid: patches (down, across).

    boxes: left, top, right, bottom as shares of the stored picture, NaN where out of view. view: the used window, in the
    same shares. Overlaps count once; the share is counted on 8 x 8 points a patch.
    """
    rows, columns = grid
    left, top, right, bottom = view
    fine = 8
    x = left + (np.arange(columns * fine) + 0.5) / (columns * fine) * (right - left)
    y = top + (np.arange(rows * fine) + 0.5) / (rows * fine) * (bottom - top)
    # Comparisons with NaN are false: absent agents cover nothing.
    across = (x >= boxes[..., 0, None]) & (x <= boxes[..., 2, None])
    down = (y >= boxes[..., 1, None]) & (y <= boxes[..., 3, None])
    under = np.zeros((len(boxes), len(y), len(x)), bool)
    for agent in np.flatnonzero((across.any(-1) & down.any(-1)).any(0)):
        under |= down[:, agent, :, None] & across[:, agent, None, :]
    return under.reshape(len(boxes), rows, fine, columns, fine).mean((2, 4), dtype=np.float32)
