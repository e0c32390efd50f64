"""Geometry of a proposal's poses: corners of the ego's box, and places in the pictures and on the grid of queries.

refiner.py uses these as anchors of attention. Projections are computed in float32 and carry no gradient,
whatever precision the network computes in.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from latentdrive.nuplan_vehicle import LENGTH_M, REAR_TO_CENTRE_M, WIDTH_M

# iPad enlarges the ego's box a little.
HALF_LENGTH_M, HALF_WIDTH_M = LENGTH_M / 2 + 0.25, WIDTH_M / 2 + 0.1
CORNERS = ((1, 1), (1, -1), (-1, -1), (-1, 1))  # signs of ahead and left; iPad's order, which is not that of boxes.py
NEAREST_M = 1e-5  # smallest depth that a camera sees
# Place, as a share of the picture's sides, of points behind the camera: so far out that no offset leads back in.
OUTSIDE = -2.0


def box_points(poses: Float[Tensor, "B Q 3"], heights_m: Float[Tensor, "h"]) -> Float[Tensor, "B Q n 3"]:
    """Corners of the ego's box at every height: n = 4 h points a pose, in the frame of the poses (rear axle).

    As in the paper: 4 corners x 4 heights = 16 points. iPad's code instead pairs the first corner with the
    first height and so on, which gives 4 points, each four times.
    """
    cos, sin = poses[..., 2:].cos(), poses[..., 2:].sin()
    ahead, left = poses.new_tensor(CORNERS).unbind(-1)
    ahead, left = REAR_TO_CENTRE_M + ahead * HALF_LENGTH_M, left * HALF_WIDTH_M
    x = poses[..., :1] + ahead * cos - left * sin
    y = poses[..., 1:2] + ahead * sin + left * cos
    flat = torch.stack([x, y], -1)[..., None, :].expand(-1, -1, -1, len(heights_m), -1)
    up = heights_m[:, None].expand(*flat.shape[:-1], 1)
    return torch.cat([flat, up], -1).flatten(2, 3)


def heights_between(low_m: float, high_m: float, count: int) -> Float[Tensor, "h"]:
    """Evenly spaced heights above the ground, half a metre inside the bounds, as in iPad's code."""
    return torch.linspace(low_m + 0.5, high_m - 0.5, count)


@torch.no_grad()
def project(
    points: Float[Tensor, "B Q n 3"],
    intrinsics: Float[Tensor, "B V 3 3"],
    camera_to_ego: Float[Tensor, "B V 4 4"],
    *,
    height: int,
    width: int,
) -> tuple[Float[Tensor, "B V Q n 2"], Bool[Tensor, "B V Q n"]]:
    """Places of points of the ego frame in each picture of height x width pixels, and whether it shows them.

    Places are shares of width and height, counted from the upper left corner of the picture. The centre of
    the first pixel lies half a pixel from there; intrinsics put it at (0, 0). Camera frame: x right, y
    down, z forward.
    """
    with torch.autocast(points.device.type, enabled=False):
        points, intrinsics, camera_to_ego = points.float(), intrinsics.float(), camera_to_ego.float()
        rotation, position = camera_to_ego[..., :3, :3], camera_to_ego[..., :3, 3]
        offset = points[:, None] - position[:, :, None, None]
        in_camera = torch.einsum("bvij,bvqni->bvqnj", rotation, offset)  # the transposed rotation: ego to camera
        pixels = torch.einsum("bvij,bvqnj->bvqni", intrinsics, in_camera)
    depth = pixels[..., 2]
    in_front = depth > NEAREST_M
    from_corner = pixels[..., :2] / depth.clamp(min=NEAREST_M)[..., None] + 0.5
    places = from_corner / from_corner.new_tensor([width, height])
    inside = ((places > 0) & (places < 1)).all(-1)
    return torch.where(in_front[..., None], places, OUTSIDE), in_front & inside


def on_grid(poses: Float[Tensor, "B Q 3"], reach_m: float) -> Float[Tensor, "B Q 2"]:
    """Places of poses on the grid of queries, whose rows are proposals and whose columns are poses.

    As in iPad's code, x in [-reach_m, reach_m] runs over the poses and y over the proposals: the farther
    ahead a pose lies, the later are the poses that its query attends to.
    """
    return (poses[..., :2] + reach_m) / (2 * reach_m)
