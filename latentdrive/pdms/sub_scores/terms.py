"""All sub-scores of simulated trajectories that need no comparison with other trajectories.

They follow simulate.py. From them, score.py makes the progress term and the totals.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from latentdrive.pdms.batch import SceneTensors
from latentdrive.pdms.score import DAC, DDC, HC, LK, NC, TLC, TTC, C, epdms_product, pdms_product
from latentdrive.pdms.sub_scores.comfort import comfort, history_comfort
from latentdrive.pdms.sub_scores.contacts import (
    circumstances,
    collision_contacts,
    find_contacts,
    no_at_fault_collisions,
    time_to_collision,
    ttc_contacts,
)
from latentdrive.pdms.sub_scores.footprint import ego_areas, footprint
from latentdrive.pdms.sub_scores.map_terms import (
    drivable_area_compliance,
    driving_direction_compliance,
    lane_keeping,
    raw_progress,
    traffic_light_compliance,
)
from latentdrive.pdms.versions import Rules
from latentdrive.types import FROZEN


@dataclass(**FROZEN)
class RawScores:
    """terms: sub-scores by column, without ego progress.

    product: of the multiplicative ones. progress_m: raw progress.

    Steps and tracks are those of PdmScores.
    """

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
    """Sub-scores of simulated states, global frame.

    with_history: whether v2's comfort sees the driver's past.
    """
    car = footprint(states, scenes.origin)
    areas, contacts = ego_areas(car, scenes.map), find_contacts(car, scenes.tracks, rules.ttc_steps)
    hits, close = collision_contacts(contacts), ttc_contacts(car, contacts, rules.ttc_steps)
    how = circumstances(car, scenes.tracks, scenes.map, areas, hits.followed_by(close))
    collisions, collision_step, collision_track = no_at_fault_collisions(car, scenes.tracks, hits, how[: len(hits)])
    in_time, ttc_step, ttc_track = time_to_collision(close, how[len(hits) :])
    v1 = rules.generation == 1
    terms = {
        NC: collisions,
        DAC: drivable_area_compliance(car, areas),
        DDC: driving_direction_compliance(car, areas, intersections_count=v1),
        TTC: in_time,
    }
    if v1:
        terms[C] = comfort(states)
    else:
        terms[TLC] = traffic_light_compliance(car, scenes.lights)
        terms[LK] = lane_keeping(car, areas, scenes.map)
        terms[HC] = _history_comfort(scenes, states) if with_history else torch.ones_like(collisions)
    return RawScores(
        terms=terms,
        product=pdms_product(terms) if v1 else epdms_product(terms),
        progress_m=raw_progress(car, scenes.map),
        collision_step=collision_step,
        collision_track=collision_track,
        ttc_step=ttc_step,
        ttc_track=ttc_track,
    )


def _history_comfort(scenes: SceneTensors, states: Float64[Tensor, "B M 41 11"]) -> Float64[Tensor, "B M"]:
    """Computed together for scenes with equally long histories, because the filters depend on the length."""
    score = states.new_ones(states.shape[:2])
    for rows in scenes.history_rows.unique().tolist():
        alike = torch.nonzero(scenes.history_rows == rows)[:, 0]
        past = scenes.history[alike, scenes.history.shape[1] - rows :]
        score[alike] = history_comfort(states[alike], past[:, None])
    return score
