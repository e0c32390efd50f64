"""Traffic light compliance (6.9, v2): 0 where the car's box touches a red connector of its route at any step, the first one included."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from latentdrive.pdms.batch import LightBatch
from latentdrive.pdms.sub_scores.footprint import HALF_LENGTH_M, HALF_WIDTH_M, Footprint

CAR_M = (HALF_LENGTH_M**2 + HALF_WIDTH_M**2) ** 0.5 + 1e-3


def traffic_light_compliance(car: Footprint, lights: LightBatch) -> Float[Tensor, "B M"]:
    """1 or 0."""
    score = torch.ones_like(car.speed[:, 0])
    if not len(lights.scene):
        return score
    way = (car.centre[lights.scene] - lights.centre[:, None, None]).norm(dim=-1)
    light, step, trajectory = torch.nonzero(
        (way <= lights.radius[:, None, None] + CAR_M) & lights.red[..., None], as_tuple=True
    )
    rows = lights.scene[light], step, trajectory
    for part in torch.arange(len(light), device=light.device).split(4096):
        some = tuple(one[part] for one in rows)
        broken = _on_polygon(car.centre[some], car.cos[some], car.sin[some], lights.edges[light[part]])
        score[some[0][broken], some[2][broken]] = 0.0
    return score


def _on_polygon(
    centre: Float[Tensor, "n 2"], cos: Float[Tensor, "n"], sin: Float[Tensor, "n"], edges: Float[Tensor, "n e 4"]
) -> Bool[Tensor, "n"]:
    """Whether the box shares a point with the polygon: an edge of it touches the box, or it holds the box."""
    c, s = cos[:, None], sin[:, None]
    ends = []
    for k in (0, 2):
        x, y = edges[..., k] - centre[:, None, 0], edges[..., k + 1] - centre[:, None, 1]
        ends.append((x * c + y * s, y * c - x * s))
    (ax, ay), (bx, by) = ends
    dx, dy = bx - ax, by - ay
    touch = ((ax + bx).abs() <= 2 * HALF_LENGTH_M + dx.abs()) & ((ay + by).abs() <= 2 * HALF_WIDTH_M + dy.abs())
    touch &= (ax * dy - ay * dx).abs() <= HALF_LENGTH_M * dy.abs() + HALF_WIDTH_M * dx.abs()
    crosses = ((ay <= 0) != (by <= 0)) & ((ax * dy - ay * dx > 0) == (dy > 0))  # of the way ahead from the box's centre
    return touch.any(-1) | (crosses.sum(-1) % 2 == 1)
