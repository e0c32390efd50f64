"""Training targets for what iPad predicts about its own proposals, made in every step from the scorer's results.

Relevance follows iPad's code. Two road users are relevant to a proposal: the first one that the ego hits
by its own fault, and the first one for which the time to collision falls below the bound; each from now
until that happens. Area targets say, at every simulated step, whether the ego leaves the drivable area
and whether it is in no lane of the route.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from latentdrive.boxes import corners_around
from latentdrive.pdms.batch import SceneTensors
from latentdrive.pdms.scene import HEADING
from latentdrive.pdms.score import PdmScores
from latentdrive.pdms.scorer import Scorer
from latentdrive.pdms.sub_scores.footprint import footprint


def score_targets(scores: PdmScores, device: torch.device) -> Float[Tensor, "B M 6"]:
    """True values of heads.SCORES. Comfort is the sub-score of the version: in v2, comfort with the ego's history."""
    comfort = scores.history_comfort if scores.comfort is None else scores.comfort
    columns = (
        scores.no_at_fault_collisions,
        scores.drivable_area_compliance,
        scores.ego_progress,
        scores.time_to_collision_within_bound,
        comfort,
        scores.score,
    )
    return torch.stack(columns, -1).to(device, torch.float32)


def agent_targets(
    scorer: Scorer, scores: PdmScores, steps: int, device: torch.device
) -> tuple[Float[Tensor, "B M S 2 8"], Bool[Tensor, "B M S 2"]]:
    """Corners of the two relevant road users' boxes at each step, and whether they are relevant then.

    Metres in the ego frame of now; 0 where a road user is not relevant.
    """
    tracks = torch.stack([scores.collision_track, scores.ttc_track], -1)
    until = torch.stack([scores.collision_step, scores.ttc_step], -1)
    parts = [
        _boxes(scenes, tracks[rows].to(scorer.device), until[rows].to(scorer.device), steps)
        for rows, scenes in scorer.groups
    ]
    boxes, real = (torch.cat(groups) for groups in zip(*parts))
    return boxes.to(device, torch.float32), real.to(device)


def _boxes(
    scenes: SceneTensors, indices: Int64[Tensor, "b M 2"], until: Int64[Tensor, "b M 2"], steps: int
) -> tuple[Float[Tensor, "b M S 2 8"], Bool[Tensor, "b M S 2"]]:
    """Boxes of the tracks `indices` (-1: none) at steps 1 ... `until`, and at which steps they are real."""
    tracks, (count, proposals, _) = scenes.tracks, indices.shape
    shape = (count, steps, proposals, 2)
    if tracks.half.shape[1] == 0:
        boxes = tracks.half.new_zeros(count, proposals, steps, 2, 8)
        return boxes, indices.new_zeros(shape, dtype=torch.bool).transpose(1, 2)
    picked = indices.clamp(min=0).flatten(1)
    future = slice(1, steps + 1)
    by_step = picked[:, None].expand(-1, steps, -1)
    cos, sin, present = (values[:, future].gather(2, by_step) for values in (tracks.cos, tracks.sin, tracks.present))
    centre = tracks.centre[:, future].gather(2, by_step[..., None].expand(-1, -1, -1, 2))
    half = tracks.half.gather(1, picked[..., None].expand(-1, -1, 2))[:, None]
    corners = corners_around(centre, cos, sin, half[..., :1], half[..., 1:])
    local = _in_ego_frame(scenes, corners).flatten(-2).unflatten(2, (proposals, 2))
    step = torch.arange(1, steps + 1, device=indices.device)[:, None, None]
    real = (indices[:, None] >= 0) & (step <= until[:, None]) & present.unflatten(2, (proposals, 2))
    return torch.where(real[..., None], local, 0.0).transpose(1, 2), real.transpose(1, 2)


def _in_ego_frame(scenes: SceneTensors, points: Float[Tensor, "b S n 4 2"]) -> Float[Tensor, "b S n 4 2"]:
    """Points, given relative to the scene's origin, in the ego frame of now."""
    x, y = (points - (scenes.start[:, :2] - scenes.origin)[:, None, None, None]).unbind(-1)
    heading = scenes.start[:, HEADING, None, None, None]
    cos, sin = heading.cos(), heading.sin()
    return torch.stack([cos * x + sin * y, cos * y - sin * x], -1)


def area_targets(scorer: Scorer, scores: PdmScores, steps: int, device: torch.device) -> Bool[Tensor, "B M S 2"]:
    """Whether the ego is off the drivable area, and in no lane of the route, at steps 1 ... `steps`.

    scores: with states.
    """
    parts = []
    for rows, scenes in scorer.groups:
        car, grid = footprint(scores.states[rows].to(scorer.device), scenes.origin), scenes.map.grid
        shape = car.speed.shape
        on_road = grid.inside(scenes.map.drivable, grid.locate(*car.corners().unbind(-1))).view(*shape, 4).all(-1)
        on_route = grid.inside(scenes.map.on_route, grid.locate(*car.centre.unbind(-1))).view(shape)
        parts.append(~torch.stack([on_road, on_route], -1)[:, 1 : steps + 1].transpose(1, 2))
    return torch.cat(parts).to(device)
