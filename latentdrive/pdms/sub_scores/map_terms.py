"""Sub-scores that look at the map: drivable area, direction, lane keeping, red lights, and progress.

They start from the car's box and the areas it is in (footprint.py). Specified in docs/pdms.md,
sections 6.3 to 6.5, 6.9 and 6.10.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from latentdrive.boxes import box_touches_polygon
from latentdrive.nuplan_vehicle import HALF_LENGTH_M, HALF_WIDTH_M
from latentdrive.pdms.batch import LightBatch, MapBatch
from latentdrive.pdms.sub_scores.footprint import EgoAreas, Footprint

DIRECTION_STEPS = 11  # steps over which DDC sums the motion: the last second and the present step
COMPLIANT_M, VIOLATION_M = 2.0, 6.0  # bounds of DDC: below the first it is 1, below the second 0.5
LANE_KEEPING_STEPS = 20  # LK allows fewer steps in a row than this beside the centreline
CIRCLE_M = (HALF_LENGTH_M**2 + HALF_WIDTH_M**2) ** 0.5 + 1e-3  # radius around the car's box, with room for rounding
PAIRS_AT_ONCE = 4096  # pairs of box and polygon in one step, to keep memory bounded


def drivable_area_compliance(car: Footprint, areas: EgoAreas) -> Float[Tensor, "B M"]:
    """DAC (section 6.3): 0 if a corner of the car leaves the drivable areas at any step, else 1."""
    return (~areas.off_road.any(1)).to(car.speed.dtype)


def driving_direction_compliance(car: Footprint, areas: EgoAreas, *, intersections_count: bool) -> Float[Tensor, "B M"]:
    """DDC (section 6.4): 1, 0.5 or 0, by how far the car moves within a second outside the lanes of its route.

    It is 1 below 2 m and 0.5 below 6 m. intersections_count: whether movement inside intersections
    counts. It does in NAVSIM v1, and not in v2.
    """
    wrong = areas.oncoming if intersections_count else areas.oncoming & ~areas.centre_in
    moved = torch.zeros_like(car.speed)
    moved[:, 1:] = (car.centre[:, 1:] - car.centre[:, :-1]).norm(dim=-1)
    moved = torch.where(wrong, moved, 0.0)
    padded = torch.nn.functional.pad(moved, (0, 0, DIRECTION_STEPS - 1, 0))
    most = padded.unfold(1, DIRECTION_STEPS, 1).sum(-1).amax(1)
    return torch.where(most < COMPLIANT_M, 1.0, torch.where(most < VIOLATION_M, 0.5, 0.0)).to(car.speed.dtype)


def lane_keeping(car: Footprint, areas: EgoAreas, road: MapBatch) -> Float[Tensor, "B M"]:
    """LK (section 6.10, v2): 0 if the centre is more than 0.5 m beside the centreline for 20 steps in a row, else 1.

    Steps inside intersections are skipped: they neither count nor end a row.
    """
    centre = road.grid.locate(*car.centre.unbind(-1))
    beside, counts = ~road.centreline.near(centre).view(car.speed.shape), ~areas.centre_in
    away = (beside & counts).long().cumsum(1)
    before_row = torch.where(counts & ~beside, away, 0).cummax(1).values  # `away` at the last step on the line
    return ((away - before_row).amax(1) < LANE_KEEPING_STEPS).to(car.speed.dtype)


def traffic_light_compliance(car: Footprint, lights: LightBatch) -> Float[Tensor, "B M"]:
    """TLC (section 6.9, v2): 0 if the car's box touches a red connector of its route at any step, else 1.

    The first step counts too.
    """
    score = torch.ones_like(car.speed[:, 0])
    if not len(lights.scene):
        return score
    distance = (car.centre[lights.scene] - lights.centre[:, None, None]).norm(dim=-1)
    light, step, trajectory = torch.nonzero(
        (distance <= lights.radius[:, None, None] + CIRCLE_M) & lights.red[..., None], as_tuple=True
    )
    places = lights.scene[light], step, trajectory
    for chunk in torch.arange(len(light), device=light.device).split(PAIRS_AT_ONCE):
        place = tuple(index[chunk] for index in places)
        broken = box_touches_polygon(
            car.centre[place], car.cos[place], car.sin[place], (HALF_LENGTH_M, HALF_WIDTH_M), lights.edges[light[chunk]]
        )
        score[place[0][broken], place[2][broken]] = 0.0
    return score


def raw_progress(car: Footprint, road: MapBatch) -> Float[Tensor, "B M"]:
    """Raw progress (section 6.5), metres, never below 0.

    It is the arc length of the centreline between the first and the last centre of the car.
    """
    start = _arc_length(car.centre[:, 0, :1], road)  # every trajectory of a scene starts here
    return (_arc_length(car.centre[:, -1], road) - start).clamp(min=0.0)


def _arc_length(points: Float[Tensor, "B M 2"], road: MapBatch) -> Float[Tensor, "B M"]:
    """Arc length of the nearest point of the centreline; of several equally near ones, the first."""
    offset = points[:, :, None] - road.points[:, None]
    steps = road.steps[:, None]
    length = (steps**2).sum(-1)
    share = ((offset * steps).sum(-1) / length.clamp(min=torch.finfo(length.dtype).tiny)).clamp(0.0, 1.0)
    distance = ((offset - share[..., None] * steps) ** 2).sum(-1)
    nearest = torch.where(road.used[:, None], distance, torch.inf).argmin(-1, keepdim=True)
    along = road.along[:, None].expand_as(share) + share * length.sqrt()
    return along.gather(-1, nearest)[..., 0]
