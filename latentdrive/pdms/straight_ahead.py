"""Straight ahead at the present speed: NAVSIM's constant-velocity baseline.

planners/baselines/constant_velocity.py plans with it, and scenes are chosen by its score.
"""

import numpy as np
from jaxtyping import Float, Float32


def straight_ahead(velocity: Float[np.ndarray, "2"], times_s: Float[np.ndarray, "P"]) -> Float32[np.ndarray, "P 3"]:
    """Poses at the given times after now, in the ego frame of now; float32, like those of NAVSIM's baseline.

    velocity: forward and left, m/s. The speed is its norm, including the sideways part. The heading
    stays 0.
    """
    poses = np.zeros((len(times_s), 3), np.float32)
    poses[:, 0] = times_s * float(np.hypot(*velocity.astype(np.float64)))
    return poses
