"""nuPlan's car (a Chrysler Pacifica), whose box NAVSIM's score drives: metres. One place for its numbers.

Beside types.py at the bottom of the import order: the world drives it, pictures draw it, the score simulates it.
"""

import numpy as np
from jaxtyping import Float64

LENGTH_M, WIDTH_M, HEIGHT_M = 5.176, 2.297, 1.777
REAR_TO_CENTRE_M = 1.461  # from the rear axle, which poses are of, to the middle of the box
WHEEL_BASE_M = 3.089


# Of a box, in half lengths and widths: front left, then counter-clockwise.
CORNERS = ((1, 1), (-1, 1), (-1, -1), (1, -1))


def ego_centre(pose: Float64[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 3"]:
    """Pose of the middle of the car's box, from that of its rear axle."""
    heading = pose[..., 2]
    shift = REAR_TO_CENTRE_M * np.stack([np.cos(heading), np.sin(heading), np.zeros_like(heading)], -1)
    return pose + shift


def corners(poses: Float64[np.ndarray, "*n 3"], sizes: Float64[np.ndarray, "*n 2"]) -> Float64[np.ndarray, "*n 4 2"]:
    """Front left, rear left, rear right, front right of rectangles. poses: of their centres. sizes: length, width."""
    cos, sin = np.cos(poses[..., 2]), np.sin(poses[..., 2])
    along = np.stack([cos, sin], -1) * (sizes[..., :1] / 2)
    across = np.stack([-sin, cos], -1) * (sizes[..., 1:] / 2)
    return poses[..., None, :2] + np.stack([a * along + b * across for a, b in CORNERS], -2)
