"""Where the poses of a proposal lie: in the cameras' pictures, as corners of the car's box, and on the grid of queries.

Used by refiner.py. Everything here is geometry in float32, without gradient, whatever the network computes in.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from latentdrive.nuplan_vehicle import LENGTH_M, REAR_TO_CENTRE_M, WIDTH_M

# iPad's box around the car: a little larger than the car.
HALF_LENGTH_M, HALF_WIDTH_M = LENGTH_M / 2 + 0.25, WIDTH_M / 2 + 0.1
CORNERS = ((1, 1), (1, -1), (-1, -1), (-1, 1))  # ahead, left; iPad's order, which is not that of boxes.py
NEAREST_M = 1e-5  # in front of a camera, what it can see
OUTSIDE = -2.0  # share of a picture's side, for points behind the camera: so far out that no offset leads back in


def box_points(poses: Float[Tensor, "B Q 3"], heights_m: Float[Tensor, "h"]) -> Float[Tensor, "B Q n 3"]:
    """Corners of the car's box at poses of its rear axle, each at every height: n = 4 h points, in the poses' frame.

    The paper has 4 corners x 4 heights = 16 points. (Its code pairs the first corner with the first height, and so on: 4 points, each
    four times.)
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
    """Heights above the ground, evenly spaced, half a metre inside the bounds: iPad's code."""
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
    """Points of the ego frame in each picture of height x width pixels, and whether they are seen there.

    Places are shares of width and height from the upper left corner, where pixels have their centres at halves; by the intrinsics they
    lie at whole numbers. Camera frame: x right, y down, z forward.
    """
    with torch.autocast(points.device.type, enabled=False):
        points, intrinsics, camera_to_ego = points.float(), intrinsics.float(), camera_to_ego.float()
        rotation, position = camera_to_ego[..., :3, :3], camera_to_ego[..., :3, 3]
        way = points[:, None] - position[:, :, None, None]
        seen_from = torch.einsum("bvij,bvqni->bvqnj", rotation, way)  # the transposed rotation: ego to camera
        pixels = torch.einsum("bvij,bvqnj->bvqni", intrinsics, seen_from)
    depth = pixels[..., 2]
    in_front = depth > NEAREST_M
    at = pixels[..., :2] / depth.clamp(min=NEAREST_M)[..., None] + 0.5
    places = at / places_scale(pixels, height, width)
    inside = ((places > 0) & (places < 1)).all(-1)
    return torch.where(in_front[..., None], places, OUTSIDE), in_front & inside


def places_scale(like: Tensor, height: int, width: int) -> Float[Tensor, "2"]:
    """Width and height, in the order of x and y."""
    return like.new_tensor([width, height])


def on_grid(poses: Float[Tensor, "B Q 3"], reach_m: float) -> Float[Tensor, "B Q 2"]:
    """Places of poses on the grid of queries, proposals x poses: x over the poses, y over the proposals, [-reach_m, reach_m] each.

    As iPad's code does it: the further ahead a pose lies, the later the poses that its query looks at.
    """
    return (poses[..., :2] + reach_m) / (2 * reach_m)
