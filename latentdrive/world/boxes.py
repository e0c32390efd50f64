"""Upright boxes in space: their corners and edges, as the truth of clips and pictures of scenes project them."""

import numpy as np
from jaxtyping import Float, Float64

# In lengths and widths from the centre and heights from the foot; z varies fastest, then y, then x.
UNIT_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0.0, 1.0)])
FOOT = (0, 2, 6, 4)  # the corners of the foot, around it: the rear ones, then the front ones
# Pairs of corners that differ in one coordinate.
EDGES = tuple((a, b) for a in range(8) for b in range(a) if (UNIT_CORNERS[a] != UNIT_CORNERS[b]).sum() == 1)


def solid_corners(
    pose: Float[np.ndarray, "3"], size: Float[np.ndarray, "3"], foot_m: float = 0.0
) -> Float64[np.ndarray, "8 3"]:
    """Return the corners of an upright box, metres.

    pose: x, y and heading of its centre. size: length, width, height. foot_m: height of its foot.
    """
    corners = UNIT_CORNERS * size
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    x = pose[0] + cos * corners[:, 0] - sin * corners[:, 1]
    y = pose[1] + sin * corners[:, 0] + cos * corners[:, 1]
    return np.stack([x, y, foot_m + corners[:, 2]], -1)
