"""How pictures become training pictures: scaled, and cropped or stretched to one size, with their intrinsics."""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from latentdrive.types import FROZEN

WHOLE = (0.0, 0.0, 1.0, 1.0)  # the view (left, top, right, bottom as shares) of a picture that nothing is cut from


class Stored(NamedTuple):
    """Shape of a picture in its file, in pixels, turned upright. pixel_aspect: width of a pixel over its height."""

    height: int
    width: int
    pixel_aspect: float = 1.0

    @property
    def shown(self) -> tuple[int, int]:
        """(height, width) as a player shows it, with square pixels. Training pictures are cut from this shape."""
        return self.height, max(1, round(self.width * self.pixel_aspect))


def scaled_intrinsics(
    intrinsics: Float64[np.ndarray, "3 3"],
    *,
    view: tuple[float, float, float, float],
    stored: tuple[int, int],
    size: tuple[int, int],
) -> Float32[np.ndarray, "3 3"]:
    """Intrinsics of the stored picture in pixels of the training picture; the centre of the first pixel is (0, 0).

    view: left, top, right, bottom of the part that is used, as shares of the stored picture.
    stored, size: (height, width) before and after.
    """
    left, top, right, bottom = view
    scale_x = size[1] / ((right - left) * stored[1])
    scale_y = size[0] / ((bottom - top) * stored[0])
    scaled = np.array(intrinsics, np.float64)
    scaled[0] *= scale_x
    scaled[1] *= scale_y
    scaled[0, 2] += (0.5 - left * stored[1]) * scale_x - 0.5
    scaled[1, 2] += (0.5 - top * stored[0]) * scale_y - 0.5
    return scaled.astype(np.float32)


def sized(pixels: UInt8[np.ndarray, "3 h w"], height: int, width: int) -> UInt8[np.ndarray, "3 H W"]:
    """A picture stretched to another size: averaged over area where it shrinks, else bilinear."""
    if pixels.shape[1:] == (height, width):
        return pixels
    how = cv2.INTER_AREA if height < pixels.shape[1] else cv2.INTER_LINEAR
    picture = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    return cv2.resize(picture, (width, height), interpolation=how).transpose(2, 0, 1)


def fitted(picture: UInt8[np.ndarray, "h w 3"], size: tuple[int, int], fit: str) -> UInt8[np.ndarray, "H W 3"]:
    """A picture at training size, cropped or stretched: averaged over area where it shrinks, else bilinear."""
    plan = fit_picture(picture.shape[:2], size, fit)
    how = cv2.INTER_AREA if plan.scaled[0] < picture.shape[0] else cv2.INTER_LINEAR
    scaled = cv2.resize(picture, plan.scaled[::-1], interpolation=how)
    return scaled[plan.top : plan.top + size[0], plan.left : plan.left + size[1]]


@dataclass(**FROZEN)
class Fit:
    """How a picture becomes a training picture: scaled to (height, width), then cut from (top, left).

    view: left, top, right, bottom of the part that is used, as shares of the picture.
    """

    scaled: tuple[int, int]
    top: int
    left: int
    view: tuple[float, float, float, float]


def fit_picture(shown: tuple[int, int], size: tuple[int, int], fit: str) -> Fit:
    """Scaling and cut from a (height, width) in square pixels to a training size. fit: stretch, or crop (the
    middle, undistorted).
    """
    if fit == "stretch":
        return Fit(scaled=size, top=0, left=0, view=WHOLE)
    scale = max(size[0] / shown[0], size[1] / shown[1])
    scaled = (max(size[0], round(shown[0] * scale)), max(size[1], round(shown[1] * scale)))
    top, left = (scaled[0] - size[0]) // 2, (scaled[1] - size[1]) // 2
    view = (left / scaled[1], top / scaled[0], (left + size[1]) / scaled[1], (top + size[0]) / scaled[0])
    return Fit(scaled=scaled, top=top, left=left, view=view)
