"""Scaling of pictures inside a graph, equal to OpenCV's up to one level of 255.

Training scales pictures with OpenCV. The car must show the network the same pixels, so the scaling is part of the
graph: every output row and column is a weighted sum of a few input rows and columns, the weights OpenCV uses.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor, nn

from latentdrive.errors import ConfigError

How = Literal["area", "bilinear"]
FIXED = 2048  # what OpenCV's weights of 11 bits sum to
Taps = tuple[Int64[np.ndarray, "n k"], Float64[np.ndarray, "n k"]]


class Resample(nn.Module):
    """Scales pictures from `source` to `size` (rows, columns), as cv2.resize does.

    how: area averages over the pixels that an output pixel covers (cv2.INTER_AREA), bilinear reads the two nearest
    in each direction without antialiasing (cv2.INTER_LINEAR). Raises ConfigError for area in a direction that grows.
    """

    def __init__(self, *, source: tuple[int, int], size: tuple[int, int], how: How) -> None:
        super().__init__()
        self.same, self.halves = source == size, source == (2 * size[0], 2 * size[1])
        self.how = "area" if self.halves else how  # OpenCV's own rule
        for name, before, after in zip(("row", "column"), source, size):
            places, weights = _area(before, after) if self.how == "area" else _bilinear(before, after)
            self.register_buffer(f"{name}_places", torch.from_numpy(places), persistent=False)
            self.register_buffer(f"{name}_weights", torch.from_numpy(weights).float(), persistent=False)

    def forward(self, pictures: UInt8[Tensor, "n 3 H W"]) -> UInt8[Tensor, "n 3 h w"]:
        """The scaled pictures, rounded to whole levels as OpenCV rounds them."""
        if self.same:
            return pictures
        scaled = self._averaged(pictures) if self.how == "area" else self._between(pictures)
        return scaled.clamp(0, 255).to(torch.uint8)

    def _averaged(self, pictures: Tensor) -> Tensor:
        """Columns first, as OpenCV adds them up: another order rounds some values that lie halfway to another level."""
        columns = sum(
            pictures.index_select(3, self.column_places[:, tap]).float() * self.column_weights[:, tap]
            for tap in range(self.column_places.shape[1])
        )
        both = sum(
            columns.index_select(2, self.row_places[:, tap]) * self.row_weights[:, tap, None]
            for tap in range(self.row_places.shape[1])
        )
        return (both + 0.5).floor() if self.halves else both.round()

    def _between(self, pictures: Tensor) -> Tensor:
        """With OpenCV's fixed-point numbers: weights of 11 bits, columns first, and bits that are cut off."""
        total = 2.0
        for tap in range(2):
            rows = pictures.index_select(2, self.row_places[:, tap]).float()
            columns = sum(
                rows.index_select(3, self.column_places[:, side]) * self.column_weights[:, side] for side in range(2)
            )
            total = total + ((columns / 16).floor() * self.row_weights[:, tap, None] / 65536).floor()
        return (total / 4).floor()


def scaled_like(source: tuple[int, int], size: tuple[int, int]) -> How:
    """How data/picture_size.py scales between these (rows, columns)."""
    return "area" if size[0] < source[0] else "bilinear"


def _bilinear(before: int, after: int) -> Taps:
    """Two inputs for each output, weighted in parts of FIXED: centres are compared, and the border repeats."""
    centres = (np.arange(after) + 0.5) * (before / after) - 0.5
    lower = np.floor(centres).astype(np.int64)
    share = centres - lower
    places = np.stack([lower, lower + 1], 1).clip(0, before - 1)
    return places, np.round(FIXED * np.stack([1 - share, share], 1))


def _area(before: int, after: int) -> Taps:
    """The inputs that an output covers, each weighted by the covered share."""
    if after > before:
        raise ConfigError(
            f"a picture can't be averaged over area from {before} to {after} pixels, because it grows: export takes "
            "pictures that shrink, or grow, in both directions"
        )
    scale = before / after
    edges = np.arange(after + 1) * scale
    first = np.floor(edges[:-1] + 1e-9).astype(np.int64)
    count = int((np.ceil(edges[1:] - 1e-9) - first).max())
    places = first[:, None] + np.arange(count)
    covered = np.minimum(edges[1:, None], places + 1) - np.maximum(edges[:-1, None], places)
    return places.clip(0, before - 1), covered.clip(0, None) / scale
