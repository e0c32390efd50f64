"""Junctions of the built-in world. The same number gives the same junction."""

import numpy as np

from latentdrive.world.roads.junctions import Circle, Crossing
from latentdrive.world.roads.layouts import Layout


def crossing(number: int, **changes) -> Layout:
    """Draw a crossing with traffic lights. changes: of its settings."""
    ranges = {
        "arms": (3, 4),
        "lane_m": (3.5, 4.0),
        "corner_m": (7.0, 12.0),
        "approach_m": (20.0, 60.0),
        "lights": True,
        "speed_mps": (0.0, 13.0),
    }
    return Crossing(**ranges | changes).layout(np.random.default_rng(number), 200.0)


def circle(number: int) -> Layout:
    """Draw a roundabout."""
    ranges = {"radius_m": (15.0, 22.0), "entry_m": (10.0, 16.0), "lane_m": (4.0, 4.6), "approach_m": (20.0, 50.0)}
    return Circle(**ranges, speed_mps=(0.0, 10.0)).layout(np.random.default_rng(number), 200.0)
