"""Every sub-score of simulated trajectories that needs no comparison with others: the middle of the walk through pdms/.

After simulate.py; score.py makes of it the progress term and the totals. The files named below hold one sub-score each.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from latentdrive.pdms.batch import SceneTensors
from latentdrive.pdms.score import DAC, DDC, HC, LK, NC, TLC, TTC, C, epdms_product, pdms_product
from latentdrive.pdms.sub_scores.collisions import no_at_fault_collisions, that_may_be_collisions
from latentdrive.pdms.sub_scores.comfort import comfort, history_comfort
from latentdrive.pdms.sub_scores.contacts import circumstances, contacts
from latentdrive.pdms.sub_scores.drivable_area import drivable_area_compliance
from latentdrive.pdms.sub_scores.driving_direction import driving_direction_compliance
from latentdrive.pdms.sub_scores.footprint import ego_areas, footprint
from latentdrive.pdms.sub_scores.lane_keeping import lane_keeping
from latentdrive.pdms.sub_scores.progress import raw_progress
from latentdrive.pdms.sub_scores.time_to_collision import that_may_be_too_close, time_to_collision
from latentdrive.pdms.sub_scores.traffic_lights import traffic_light_compliance
from latentdrive.pdms.versions import Rules
from latentdrive.types import FROZEN


@dataclass(**FROZEN)
class RawScores:
    """terms: sub-scores by column, ego_progress not yet among them. product: of the multiplicative ones. progress_m: raw. Steps and tracks
    as in PdmScores."""

    terms: dict[str, Float64[Tensor, "B M"]]
    product: Float64[Tensor, "B M"]
    progress_m: Float64[Tensor, "B M"]
    collision_step: Int64[Tensor, "B M"]
    collision_track: Int64[Tensor, "B M"]
    ttc_step: Int64[Tensor, "B M"]
    ttc_track: Int64[Tensor, "B M"]


def raw_scores(
    scenes: SceneTensors, states: Float64[Tensor, "B M 41 11"], rules: Rules, *, with_history: bool
) -> RawScores:
    """Sub-scores of simulated states, global frame. with_history: whether v2's comfort sees the driver's past."""
    car = footprint(states, scenes.origin)
    areas, found = ego_areas(car, scenes.map), contacts(car, scenes.tracks, rules.ttc_steps)
    hits, close = that_may_be_collisions(found), that_may_be_too_close(car, found, rules.ttc_steps)
    how = circumstances(car, scenes.tracks, scenes.map, areas, hits.followed_by(close))
    collisions, collision_step, collision_track = no_at_fault_collisions(car, scenes.tracks, hits, how[: len(hits)])
    in_time, ttc_step, ttc_track = time_to_collision(close, how[len(hits) :])
    first = rules.generation == 1
    terms = {
        NC: collisions,
        DAC: drivable_area_compliance(car, areas),
        DDC: driving_direction_compliance(car, areas, intersections_count=first),
        TTC: in_time,
    }
    if first:
        terms[C] = comfort(states)
    else:
        terms[TLC] = traffic_light_compliance(car, scenes.lights)
        terms[LK] = lane_keeping(car, areas, scenes.map)
        terms[HC] = _history_comfort(scenes, states) if with_history else torch.ones_like(collisions)
    return RawScores(
        terms=terms,
        product=pdms_product(terms) if first else epdms_product(terms),
        progress_m=raw_progress(car, scenes.map),
        collision_step=collision_step,
        collision_track=collision_track,
        ttc_step=ttc_step,
        ttc_track=ttc_track,
    )


def _history_comfort(scenes: SceneTensors, states: Float64[Tensor, "B M 41 11"]) -> Float64[Tensor, "B M"]:
    """Scene by scene of one length of history, because the filters depend on it."""
    score = states.new_ones(states.shape[:2])
    for rows in scenes.history_rows.unique().tolist():
        some = torch.nonzero(scenes.history_rows == rows)[:, 0]
        past = scenes.history[some, scenes.history.shape[1] - rows :]
        score[some] = history_comfort(states[some], past[:, None])
    return score
