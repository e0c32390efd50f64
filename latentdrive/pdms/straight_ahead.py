"""Straight ahead at the present speed: NAVSIM's blind baseline, and what it leaves out of its splits. planners/ and world/ ask here."""

import numpy as np
from jaxtyping import Float32, Float64

POSES, DT_S = 8, 0.5  # NAVSIM's sampling: the first pose lies 0.5 s after now


def straight_ahead(velocity: Float32[np.ndarray, "2"] | Float64[np.ndarray, "2"]) -> Float32[np.ndarray, "8 3"]:
    """Poses in the ego frame of now, in float32 as NAVSIM's baseline gives them. velocity: of now, forward and left, m/s.

    The speed is the length of the velocity, its sideways part included, and the heading is kept.
    """
    poses = np.zeros((POSES, 3), np.float32)
    poses[:, 0] = DT_S * np.arange(1, POSES + 1) * float(np.hypot(*velocity.astype(np.float64)))
    return poses
