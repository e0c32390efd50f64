"""The truth about a planner's own proposals: their PDM scores, whom they meet, which areas they cross. Made in every training step.

Used by losses.py. What counts as relevant follows iPad's code: of a proposal, the first road user that it hits by its own fault, from
now until then; the first one that it comes too close to, likewise; and at every simulated step, whether the car leaves the drivable
area, and whether it is in no lane of the route. All from what the Scorer found while it scored the same proposals.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from latentdrive.boxes import corners_around
from latentdrive.pdms.batch import SceneTensors
from latentdrive.pdms.scene import HEADING
from latentdrive.pdms.score import PdmScores
from latentdrive.pdms.scorer import Scorer
from latentdrive.pdms.sub_scores.footprint import footprint


def score_targets(scores: PdmScores, device: torch.device) -> Float[Tensor, "B M 6"]:
    """True values of heads.SCORES; comfort is that of the version (v2: with the past)."""
    comfort = scores.history_comfort if scores.comfort is None else scores.comfort
    columns = (
        scores.no_at_fault_collisions, scores.drivable_area_compliance, scores.ego_progress,
        scores.time_to_collision_within_bound, comfort, scores.score,
    )  # fmt: skip
    return torch.stack(columns, -1).to(device, torch.float32)


def agent_targets(
    scorer: Scorer, scores: PdmScores, steps: int, device: torch.device
) -> tuple[Float[Tensor, "B M S 2 8"], Bool[Tensor, "B M S 2"]]:
    """Corners of the relevant road users' boxes (metres, ego frame of now; 0 where not real), and whether they are relevant there."""
    who = torch.stack([scores.collision_track, scores.ttc_track], -1)
    until = torch.stack([scores.collision_step, scores.ttc_step], -1)
    parts = [
        _boxes(scenes, who[mine].to(scorer.device), until[mine].to(scorer.device), steps)
        for mine, scenes in scorer.groups
    ]
    boxes, real = (torch.cat(some) for some in zip(*parts))
    return boxes.to(device, torch.float32), real.to(device)


def _boxes(scenes: SceneTensors, who: Tensor, until: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Of the tracks `who` [b, M, 2] at steps 1 ... `until` [b, M, 2]."""
    tracks, (count, proposals, _) = scenes.tracks, who.shape
    shape = (count, steps, proposals, 2)
    if tracks.half.shape[1] == 0:
        return who.new_zeros(count, proposals, steps, 2, 8), who.new_zeros(shape, dtype=torch.bool).transpose(1, 2)
    picked = who.clamp(min=0).flatten(1)
    now = slice(1, steps + 1)
    moving = picked[:, None].expand(-1, steps, -1)
    cos, sin, present = (one[:, now].gather(2, moving) for one in (tracks.cos, tracks.sin, tracks.present))
    centre = tracks.centre[:, now].gather(2, moving[..., None].expand(-1, -1, -1, 2))
    half = tracks.half.gather(1, picked[..., None].expand(-1, -1, 2))[:, None]
    corners = corners_around(centre, cos, sin, half[..., :1], half[..., 1:])
    local = _seen_from_ego(scenes, corners).flatten(-2).unflatten(2, (proposals, 2))
    step = torch.arange(1, steps + 1, device=who.device)[:, None, None]
    real = (who[:, None] >= 0) & (step <= until[:, None]) & present.unflatten(2, (proposals, 2))
    return torch.where(real[..., None], local, 0.0).transpose(1, 2), real.transpose(1, 2)


def _seen_from_ego(scenes: SceneTensors, points: Float[Tensor, "b S n 4 2"]) -> Float[Tensor, "b S n 4 2"]:
    """Points that count from the scene's origin, in the ego frame of now."""
    x, y = (points - (scenes.start[:, :2] - scenes.origin)[:, None, None, None]).unbind(-1)
    heading = scenes.start[:, HEADING, None, None, None]
    cos, sin = heading.cos(), heading.sin()
    return torch.stack([cos * x + sin * y, cos * y - sin * x], -1)


def area_targets(scorer: Scorer, scores: PdmScores, steps: int, device: torch.device) -> Bool[Tensor, "B M S 2"]:
    """Whether the car is off the drivable area, and in no lane of the route, at steps 1 ... `steps`. scores: with states."""
    parts = []
    for mine, scenes in scorer.groups:
        car, grid = footprint(scores.states[mine].to(scorer.device), scenes.origin), scenes.map.grid
        shape = car.speed.shape
        on_road = grid.inside(scenes.map.drivable, grid.locate(*car.corners().unbind(-1))).view(*shape, 4).all(-1)
        on_route = grid.inside(scenes.map.on_route, grid.locate(*car.centre.unbind(-1))).view(shape)
        parts.append(~torch.stack([on_road, on_route], -1)[:, 1 : steps + 1].transpose(1, 2))
    return torch.cat(parts).to(device)
