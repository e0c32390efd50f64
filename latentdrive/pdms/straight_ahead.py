"""Straight ahead at the present speed: NAVSIM's blind baseline, for planners/baselines/constant_velocity.py and for who chooses scenes by its score."""

import numpy as np
from jaxtyping import Float, Float32


def straight_ahead(velocity: Float[np.ndarray, "2"], times_s: Float[np.ndarray, "P"]) -> Float32[np.ndarray, "P 3"]:
    """Poses at some times after now, in the ego frame of now; float32, as NAVSIM's baseline gives them.

    velocity: forward and left, m/s. The speed is its length, the sideways part included, and the heading is kept.
    """
    poses = np.zeros((len(times_s), 3), np.float32)
    poses[:, 0] = times_s * float(np.hypot(*velocity.astype(np.float64)))
    return poses
