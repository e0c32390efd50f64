"""Colours of plans, roads and road users, shared by all pictures. Colours are (red, green, blue)."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

Colour = tuple[int, int, int]
Plans = Mapping[str, tuple[Float[np.ndarray, "_ 3"], Colour]]  # name → poses in the ego frame of now, and their colour

ROAD, JOINT, PAVEMENT, GROUND = (96, 96, 100), (120, 120, 126), (70, 84, 78), (38, 44, 40)
LANE, ROUTE, ON_ROUTE = (150, 150, 155), (60, 200, 120), (84, 104, 92)  # lane outlines, the route, lanes on the route
RED, LIGHT = (240, 50, 50), (130, 46, 46)  # outline and fill of a connector with a red light
EGO, HUMAN, OUTLINE = (255, 255, 255), (255, 230, 60), (0, 0, 0)
COLOURS = {
    "vehicle": (70, 130, 255),
    "pedestrian": (255, 120, 40),
    "bicycle": (200, 80, 220),
    "traffic_cone": (255, 200, 0),
    "barrier": (160, 160, 160),
    "czone_sign": (255, 200, 0),
    "generic_object": (160, 160, 160),
}
DRIVER = "human"  # the plan that is always drawn in HUMAN
PAINTS = (  # colours of the remaining plans, in order
    (255, 90, 200),
    (80, 225, 255),
    (255, 140, 40),
    (150, 255, 90),
    (190, 140, 255),
    (255, 110, 100),
)


def with_colours(plans: Mapping[str, Float[np.ndarray, "_ 3"]]) -> Plans:
    """The plans with a colour each: HUMAN for the human's, PAINTS in turn for all others."""
    others = [name for name in plans if name != DRIVER]
    paints = {name: PAINTS[number % len(PAINTS)] for number, name in enumerate(others)} | {DRIVER: HUMAN}
    return {name: (np.asarray(poses, np.float64), paints[name]) for name, poses in plans.items()}
