"""Random changes of a training window that keep its meaning: mirrored left to right, or cut to a smaller view.

windows.py applies them. All frames of a window are changed alike, and motion and patch weights
follow the picture.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from latentdrive.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """flip: mirror half of the windows. crop_share: smallest share of the side lengths that a crop
    keeps; 1 crops nothing.
    """

    flip: bool
    crop_share: float

    def __post_init__(self) -> None:
        if not 0.3 <= self.crop_share <= 1.0:
            raise ConfigError(
                f"batches.augmentation.crop_share must lie between 0.3 and 1 (off), got {self.crop_share}"
            )


NO_AUGMENTATION = Augmentation(flip=False, crop_share=1.0)


def mirror(
    frames: UInt8[np.ndarray, "T 3 H W"],
    motion: Float32[np.ndarray, "M 4"],
    moving: Float32[np.ndarray, "M gh gw"] | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The mirrored window: left becomes right, so dy and dyaw of (dx, dy, dyaw, speed) change their sign."""
    return (
        frames[..., ::-1],
        motion * np.array([1.0, -1.0, -1.0, 1.0], np.float32),
        None if moving is None else moving[..., ::-1],
    )


def crop(
    frames: UInt8[np.ndarray, "T 3 H W"], *, share: float, right: float, down: float
) -> tuple[UInt8[np.ndarray, "T 3 H W"], tuple[float, float, float, float]]:
    """All frames cut alike and enlarged to their old size, and the cut as (left, top, right, bottom) in shares.

    share: share of the side lengths that stays, in (0, 1]. right, down: 0 to 1, from the leftmost
    or topmost place of the cut to the rightmost or lowest.
    """
    height, width = frames.shape[-2:]
    cut_height, cut_width = max(2, round(height * share)), max(2, round(width * share))
    top, left = int(down * (height - cut_height) + 0.5), int(right * (width - cut_width) + 0.5)
    cut = frames[..., top : top + cut_height, left : left + cut_width]
    large = [cv2.resize(np.ascontiguousarray(frame.transpose(1, 2, 0)), (width, height)) for frame in cut]
    view = (left / width, top / height, (left + cut_width) / width, (top + cut_height) / height)
    return np.stack(large).transpose(0, 3, 1, 2), view
