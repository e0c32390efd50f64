"""Boxes seen from above: rectangles with a centre, a heading, a length and a width.

The score, the built-in world, planners and drawings share this geometry: where corners lie, and
what touches what. Lengths are in metres, headings in radians. Functions take numpy arrays where
their types say so, and otherwise numpy arrays or torch tensors, all of one kind.
"""

from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from latentdrive.nuplan_vehicle import LENGTH_M, REAR_TO_CENTRE_M, WIDTH_M

Array = TypeVar("Array", np.ndarray, Tensor)
Numbers = np.ndarray | np.floating | Tensor  # numpy gives scalars for arrays without axes

# Front left, then counter-clockwise; in half lengths and half widths from the centre.
CORNERS = ((1, 1), (-1, 1), (-1, -1), (1, -1))


def moved_ahead(points: Array, cos: Numbers, sin: Numbers, ahead_m: float) -> Array:
    """Points [..., 2] moved along headings, given by their cosines and sines [...]."""
    xp = torch if isinstance(points, Tensor) else np
    return points + ahead_m * xp.stack([cos, sin], -1)


def ego_centre(
    rear_axle: Float64[np.ndarray, "*n 3"], rear_to_centre_m: float = REAR_TO_CENTRE_M
) -> Float64[np.ndarray, "*n 3"]:
    """Pose of the centre of the car's box from the pose of its rear axle."""
    heading = rear_axle[..., 2]
    centre = moved_ahead(rear_axle[..., :2], np.cos(heading), np.sin(heading), rear_to_centre_m)
    return np.concatenate([centre, rear_axle[..., 2:]], -1)


def ego_corners(rear_axle: Float64[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 4 2"]:
    """Corners of nuPlan's car, in the order of CORNERS, from the pose of its rear axle."""
    return corners(ego_centre(rear_axle), np.array([LENGTH_M, WIDTH_M]))


def corners(poses: Float64[np.ndarray, "*n 3"], sizes: Float64[np.ndarray, "*#n 2"]) -> Float64[np.ndarray, "*n 4 2"]:
    """Corners of boxes in the order of CORNERS.

    poses: of their centres. sizes: length, width; they broadcast.
    """
    cos, sin = np.cos(poses[..., 2]), np.sin(poses[..., 2])
    along = np.stack([cos, sin], -1) * (sizes[..., :1] / 2)
    across = np.stack([-sin, cos], -1) * (sizes[..., 1:] / 2)
    return poses[..., None, :2] + np.stack([a * along + b * across for a, b in CORNERS], -2)


def corners_around(
    centre: Float[Tensor, "*n 2"],
    cos: Float[Tensor, "*n"],
    sin: Float[Tensor, "*n"],
    half_length: float | Tensor,
    half_width: float | Tensor,
) -> Float[Tensor, "*n 4 2"]:
    """Corners of boxes in the order of CORNERS.

    half_length, half_width: numbers, or tensors that broadcast with [..., 1].

    Unlike `corners`, this adds to the centre step by step. The sums differ in their last bit, and
    the score keeps both: a corner on the edge of a map area must not change sides.
    """
    along = torch.stack([cos, sin], -1) * half_length
    across = torch.stack([-sin, cos], -1) * half_width
    return torch.stack([centre + a * along + b * across for a, b in CORNERS], -2)


def boxes_touch(
    offset: Array,
    own: tuple[Array, Array],
    other: tuple[Array, Array],
    own_half: Array,
    other_half: Array,
    margin_m: float = 0.0,
) -> Any:
    """Whether two boxes share a point, by separating axes: bool [...].

    With a margin, it says whether the boxes come that close along each of their four axes. offset:
    from the own centre to the other one [..., 2]. own, other: cosines and sines of the headings.
    own_half, other_half: half length and half width [..., 2], which broadcast. Boxes whose numbers
    are not finite never touch.
    """
    (c1, s1), (c2, s2) = own, other
    dx, dy = offset[..., 0], offset[..., 1]
    l1, w1, l2, w2 = own_half[..., 0], own_half[..., 1], other_half[..., 0], other_half[..., 1]
    along, across = abs(c1 * c2 + s1 * s2), abs(c1 * s2 - s1 * c2)

    def within(distance: Array, reach: Array) -> Any:
        return abs(distance) <= (reach + margin_m if margin_m else reach)

    touch = within(dx * c1 + dy * s1, l1 + l2 * along + w2 * across)
    touch &= within(dy * c1 - dx * s1, w1 + l2 * across + w2 * along)
    touch &= within(dx * c2 + dy * s2, l2 + l1 * along + w1 * across)
    touch &= within(dy * c2 - dx * s2, w2 + l1 * across + w1 * along)
    return touch


def box_touches_polygon(
    centre: Float[Tensor, "n 2"],
    cos: Float[Tensor, "n"],
    sin: Float[Tensor, "n"],
    half: tuple[float, float],
    edges: Float[Tensor, "n e 4"],
) -> Bool[Tensor, "n"]:
    """Whether each box shares a point with its polygon.

    Either an edge of the polygon touches the box, or the box lies inside. half: half length and
    half width. edges: x, y of start and end of all edges, holes included; padding with edges of no
    length is allowed.
    """
    c, s = cos[:, None], sin[:, None]
    ends = []
    for k in (0, 2):
        x, y = edges[..., k] - centre[:, None, 0], edges[..., k + 1] - centre[:, None, 1]
        ends.append((x * c + y * s, y * c - x * s))
    (ax, ay), (bx, by) = ends  # in the frame of the box
    dx, dy = bx - ax, by - ay
    touch = ((ax + bx).abs() <= 2 * half[0] + dx.abs()) & ((ay + by).abs() <= 2 * half[1] + dy.abs())
    touch &= (ax * dy - ay * dx).abs() <= half[0] * dy.abs() + half[1] * dx.abs()
    # Where no edge touches, the box is inside if a ray ahead from its centre crosses the border an odd number of times.
    crosses = ((ay <= 0) != (by <= 0)) & ((ax * dy - ay * dx > 0) == (dy > 0))
    return touch.any(-1) | (crosses.sum(-1) % 2 == 1)
