"""From sub-scores to the score, the last step of scoring: PDMS, EPDMS, their progress terms, and the human filter.

Specified in docs/pdms.md, sections 7 and 8. Terms are sub-scores by their column names in the
devkit's result file (`Rules.columns` in versions.py). They are torch tensors or numpy arrays, all
of one kind, float64, of shapes that broadcast. Terms that a formula does not name are ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from latentdrive.pdms.versions import V2, Version
from latentdrive.types import FROZEN, Batch

Array = TypeVar("Array", np.ndarray, Tensor)
Terms = Mapping[str, Any]  # terms by column name; the values are arrays

NC, DAC, DDC = "no_at_fault_collisions", "drivable_area_compliance", "driving_direction_compliance"
TLC, EP, TTC = "traffic_light_compliance", "ego_progress", "time_to_collision_within_bound"
LK, C, HC, EC = "lane_keeping", "comfort", "history_comfort", "two_frame_extended_comfort"

PDMS_FACTORS, PDMS_WEIGHTS = (NC, DAC), {EP: 5.0, TTC: 5.0, C: 2.0, DDC: 0.0}
EPDMS_FACTORS, EPDMS_WEIGHTS = (NC, DAC, DDC, TLC), {EP: 5.0, TTC: 5.0, LK: 2.0, HC: 2.0}
EC_WEIGHT = 2.0  # the weight of EC in scenes where EC is known
ENOUGH_PROGRESS_M = 5.0  # if the best progress is not larger, progress is not compared


@dataclass(**FROZEN)
class PdmScores(Batch):
    """NAVSIM's score of M trajectories in each of B scenes. Every sub-score and the total lie in [0, 1].

    tokens: of the scenes. version: stamp of the score. Sub-scores are named as in the devkit's
    result file, and None where the version does not have them. score: the total. valid: False where
    a trajectory can't be scored; its scores are 0, and `failures` gives the reason by token.
    progress_m: along the route's centreline. reference_progress_m: PDM-Closed's progress, times its
    multiplicative sub-scores. product: of the multiplicative sub-scores. collision_step, ttc_step:
    first state (0.1 s apart, 0 is now) of an at-fault collision, and of a time to collision below
    the bound; -1 for none. collision_track, ttc_track: index of the other road user in `tracks`; -1
    for none. states: simulated, global frame, columns as in pdms/scene.py; None unless requested.
    """

    tokens: tuple[str, ...]
    version: str
    no_at_fault_collisions: Float64[Tensor, "B M"]
    drivable_area_compliance: Float64[Tensor, "B M"]
    driving_direction_compliance: Float64[Tensor, "B M"]
    traffic_light_compliance: Float64[Tensor, "B M"] | None
    ego_progress: Float64[Tensor, "B M"]
    time_to_collision_within_bound: Float64[Tensor, "B M"]
    lane_keeping: Float64[Tensor, "B M"] | None
    comfort: Float64[Tensor, "B M"] | None
    history_comfort: Float64[Tensor, "B M"] | None
    two_frame_extended_comfort: Float64[Tensor, "B M"] | None
    product: Float64[Tensor, "B M"]
    score: Float64[Tensor, "B M"]
    valid: Bool[Tensor, "B M"]
    progress_m: Float64[Tensor, "B M"]
    reference_progress_m: Float64[Tensor, "B"]
    collision_step: Int64[Tensor, "B M"]
    collision_track: Int64[Tensor, "B M"]
    ttc_step: Int64[Tensor, "B M"]
    ttc_track: Int64[Tensor, "B M"]
    tracks: tuple[tuple[str, ...], ...]
    states: Float64[Tensor, "B M 41 11"] | None
    failures: dict[str, str]


def pdms_product(terms: Terms) -> Any:
    """NC * DAC."""
    return _multiplied(terms, PDMS_FACTORS)


def pdms_total(terms: Terms) -> Any:
    """PDMS: NC * DAC * (5 EP + 5 TTC + 2 C + 0 DDC) / 12."""
    weighted, weight = _weighted(terms, PDMS_WEIGHTS)
    return pdms_product(terms) * weighted / weight


def epdms_product(terms: Terms) -> Any:
    """NC * DAC * DDC * TLC."""
    return _multiplied(terms, EPDMS_FACTORS)


def epdms_total(terms: Terms) -> Any:
    """EPDMS: NC * DAC * DDC * TLC * (5 EP + 5 TTC + 2 LK + 2 HC + 2 EC) / 16.

    Where EC is not known (no such term, or NaN, because no scene came before), it is left out and
    the divisor is 14.
    """
    weighted, weight = _weighted(terms, EPDMS_WEIGHTS)
    product = epdms_product(terms)
    if terms.get(EC) is None:
        return product * weighted / weight
    comfort = terms[EC]
    xp = torch if isinstance(comfort, Tensor) else np
    known = ~xp.isnan(comfort)
    with_comfort = (weighted + EC_WEIGHT * xp.where(known, comfort, 0.0)) / (weight + EC_WEIGHT)
    return product * xp.where(known, with_comfort, weighted / weight)


def best_progress_m(progress_m: Array, product: Array, reference_m: Array | None = None) -> Array:
    """The progress that others are measured against, metres: the largest progress * product in a comparison.

    progress_m, product: [..., M]. reference_m: PDM-Closed's progress * product, which broadcasts
    over them. Each trajectory is compared with it alone, so the best differs by trajectory. Without
    it, all M are compared with each other, which is how PDM-Closed chooses among its own proposals.
    """
    gained = progress_m * product
    xp = torch if isinstance(gained, Tensor) else np
    return xp.maximum(gained, reference_m) if reference_m is not None else xp.amax(gained, -1)[..., None]


def pdms_ego_progress(progress_m: Array, product: Array, best_m: Array) -> Array:
    """EP of v1: progress * product as a share of the best.

    If the best is at most 5 m: 1, but 0 where the product is 0.
    """
    xp = torch if isinstance(progress_m, Tensor) else np
    gained = progress_m * product
    compared, best_m = xp.broadcast_to(best_m > ENOUGH_PROGRESS_M, gained.shape), xp.broadcast_to(best_m, gained.shape)
    return xp.where(compared, gained / xp.where(compared, best_m, 1.0), xp.where(product == 0.0, 0.0, 1.0))


def epdms_ego_progress(progress_m: Array, best_m: Array) -> Array:
    """EP of v2: progress as a share of the best, at most 1, whatever its own product.

    If the best is at most 5 m: 1.
    """
    xp = torch if isinstance(progress_m, Tensor) else np
    compared = best_m > ENOUGH_PROGRESS_M
    return xp.where(compared, xp.clip(progress_m / xp.where(compared, best_m, 1.0), 0.0, 1.0), 1.0)


def filter_by_human(terms: Terms, human_terms: Terms) -> dict[str, Any]:
    """Terms of v2, replaced by 1 where the human driver's value is exactly 0.

    EC has no human value and stays as it is.
    """
    filtered = dict(terms)
    for name in V2.columns:
        if name != EC:
            xp = torch if isinstance(terms[name], Tensor) else np
            filtered[name] = xp.where(human_terms[name] == 0.0, 1.0, terms[name])
    return filtered


@dataclass(**FROZEN)
class Epdms:
    """EPDMS. printed: the sub-scores that a result file shows. product, score: as this version computes them."""

    printed: dict[str, Any]
    product: Any
    score: Any


def epdms(terms: Terms, human_terms: Terms | None, version: Version) -> Epdms:
    """EPDMS in one of its versions. human_terms: None if nothing is filtered, as in synthetic scenes.

    v2.2 computes product and score from the filtered terms. v2.0 to v2.1.2 filter only the printed
    terms.
    """
    if version is Version.PDMS_V1_1:
        raise ValueError(f"epdms: {version} is no version of EPDMS; use pdms_total")
    printed = dict(terms) if human_terms is None else filter_by_human(terms, human_terms)
    scored = printed if version is Version.EPDMS_V2_2 else terms
    return Epdms(printed=printed, product=epdms_product(scored), score=epdms_total(scored))


def _multiplied(terms: Terms, names: tuple[str, ...]) -> Any:
    product = terms[names[0]]
    for name in names[1:]:
        product = product * terms[name]
    return product


def _weighted(terms: Terms, weights: Mapping[str, float]) -> tuple[Any, float]:
    """Sum of weight * term, and sum of the weights."""
    return sum(weight * terms[name] for name, weight in weights.items()), sum(weights.values())
