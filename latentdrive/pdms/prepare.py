"""Preparing a scene: from its truth to what scoring needs. This is the only step that reads maps, routes and logs.

PDM-Closed proposes trajectories (pdm_closed/driver.py). The scorer's own sub-scores choose its best
proposal (docs/pdms.md, section 9.5), say how far that one gets and, for v2, what the human driver
scores. storage/store.py keeps the result.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from latentdrive.errors import MapError, UnreadableScene
from latentdrive.pdms.batch import SceneTensors, stack, with_traffic
from latentdrive.pdms.history import ego_history, ego_state
from latentdrive.pdms.map.areas import areas_near
from latentdrive.pdms.map.index import index_of
from latentdrive.pdms.pdm_closed.driver import PdmClosed
from latentdrive.pdms.reference_poses import reference_of_knots, reference_poses
from latentdrive.pdms.scene import ScoringScene
from latentdrive.pdms.score import (
    EP,
    best_progress_m,
    epdms_ego_progress,
    epdms_total,
    pdms_ego_progress,
    pdms_total,
)
from latentdrive.pdms.scorer import simulated
from latentdrive.pdms.sub_scores.terms import RawScores, raw_scores
from latentdrive.pdms.traffic import red_lights, replay
from latentdrive.pdms.versions import V2, Rules
from latentdrive.types import SceneTruth

HUMAN_POSES = 8  # poses of the human driver, 0.5 s apart, that v2 scores for its filter


def prepare_scene(truth: SceneTruth, rules: Rules) -> ScoringScene:
    """A scene, prepared for scoring by `rules`. Raises UnreadableScene with the reason if it can't be scored."""
    try:
        return _prepared(truth, rules)
    except MapError as error:
        raise UnreadableScene(truth.drive, f"scene {truth.token}: {error}") from error


def _prepared(truth: SceneTruth, rules: Rules) -> ScoringScene:
    frame, index = truth.frames[truth.now], index_of(truth.map)
    ego = ego_state(frame)
    driver = PdmClosed(index, ego, frame, truth.route, rules)
    v2 = rules.generation == 2
    blank = ScoringScene(
        token=truth.token,
        drive=truth.drive,
        synthetic=truth.synthetic,
        generation=rules.generation,
        time_us=frame.timestamp_us,
        ego=ego,
        areas=areas_near(index, ego[:3], driver.lanes),
        centreline=driver.line,
        tracks=replay(truth, rules),
        lights=red_lights(truth, rules, index),
        reference=np.zeros((51, 3)),
        reference_product=0.0,
        reference_progress_m=0.0,
        history=ego_history(truth) if v2 else np.zeros((0, 11)),
        human=np.asarray(truth.human.poses[:HUMAN_POSES], np.float64) if v2 else np.zeros((0, 3)),
        human_terms=None,
    )
    return _with_reference(blank, driver, rules, truth.human.dt_s)


def _with_reference(blank: ScoringScene, driver: PdmClosed, rules: Rules, human_dt_s: float) -> ScoringScene:
    """The scene with PDM-Closed's trajectory, its progress and product and, in v2, the human's sub-scores."""
    scenes = stack([blank])
    expected = with_traffic(scenes, driver.tracks(), driver.lights())
    reference = driver.chosen(_best(expected, torch.from_numpy(driver.proposals())[None], rules))
    follow = reference_of_knots(torch.from_numpy(reference)[None], [blank.time_us])
    if len(blank.human):
        human = torch.from_numpy(blank.human)[None, None]
        poses = reference_poses(scenes.start[:, :3], human, dt_s=human_dt_s, times_us=[blank.time_us])
        follow = torch.cat([follow, poses], 1)
    states = simulated(scenes, follow)
    raw = raw_scores(scenes, states, rules, with_history=False)
    filtered = len(blank.human) and not blank.synthetic  # no human ever drove in a synthetic scene
    return replace(
        blank,
        reference=reference,
        reference_product=float(raw.product[0, 0]),
        reference_progress_m=float(raw.progress_m[0, 0]),
        human_terms=_human_terms(raw) if filtered else None,
    )


def _best(expected: SceneTensors, proposals: Tensor, rules: Rules) -> int:
    """The first proposal with the highest score.

    Progress is measured against the best progress among the proposals.
    """
    raw = raw_scores(expected, simulated(expected, proposals), rules, with_history=False)
    best = best_progress_m(raw.progress_m, raw.product)
    if rules.generation == 1:
        score = pdms_total(raw.terms | {EP: pdms_ego_progress(raw.progress_m, raw.product, best)})
    else:
        score = epdms_total(raw.terms | {EP: epdms_ego_progress(raw.progress_m, best)})
    return int(score[0].numpy().argmax())


def _human_terms(raw: RawScores) -> np.ndarray:
    """Sub-scores of the human, who is the second trajectory. Without a reference, the human has EP = 1."""
    terms = raw.terms | {EP: torch.ones_like(raw.product)}
    return np.array([float(terms[name][0, 1]) for name in V2.columns[:-1]])
