"""From trajectories to results: every planned scene is simulated and scored in batches, then
extended comfort is added.

Second step of an evaluation, after planning.py. Extended comfort (v2) compares a scene with the one
before it in its log, so scores are complete only once all scenes are simulated.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64

from latentdrive.errors import StoreError
from latentdrive.evaluation.planning import Plans
from latentdrive.evaluation.results import Results
from latentdrive.pdms.scene import STEPS, ScoringScene
from latentdrive.pdms.score import EC, EC_WEIGHT, EPDMS_WEIGHTS, PdmScores
from latentdrive.pdms.scorer import Scorer
from latentdrive.pdms.sub_scores.extended_comfort import extended_comfort, interval_s, pairs
from latentdrive.pdms.versions import Version
from latentdrive.types import FROZEN, Trajectory

COLUMNS = 11  # columns of a simulated state


@dataclass(**FROZEN)
class ScoredPlans:
    """Results of N scenes, and what of the scoring is needed to complete them; NaN for scenes that
    failed.

    product: of the multiplicative sub-scores. states: simulated, global frame, columns as in
    pdms/scene.py. ends: last pose of each plan, ego frame. times_us: time of the present frame; -1
    where unknown. synthetic: as in SceneTruth.
    """

    results: Results
    product: Float64[np.ndarray, "N"]
    states: Float64[np.ndarray, "N 41 11"]
    ends: Float64[np.ndarray, "N 3"]
    times_us: Int64[np.ndarray, "N"]
    synthetic: Bool[np.ndarray, "N"]


def score_plans(
    plans: Plans,
    *,
    tokens: Sequence[str],
    drives: Sequence[str],
    prepared: Callable[[str], ScoringScene],
    version: Version,
    device: str,
    batch: int,
    advance: Callable[[int], Any],
) -> ScoredPlans:
    """Score the plans in the order of `tokens`; a scene without a plan scores 0.

    prepared: opens a prepared scene by its token. advance: is called with the number of scenes that
    each batch has finished.
    """
    table = _Table(tokens, drives, version, plans.failures)
    for group in _groups([token for token in tokens if token in plans.trajectories], plans.trajectories, batch):
        opened = _opened(group, prepared, table.failures)
        advance(len(group) - len(opened))
        if not opened:
            continue
        scenes = list(opened.values())
        poses = np.stack([plans.trajectories[token].poses for token in opened])[:, None]
        trajectory = Trajectory(poses=poses, dt_s=plans.trajectories[group[0]].dt_s)
        scores = Scorer(scenes, version=version, device=device).score(trajectory, states=True)
        table.add(scores, scenes, poses[:, 0, -1])
        advance(len(opened))
    return table.scored(_refined(tokens, plans.trajectories))


def _refined(tokens: Sequence[str], trajectories: Mapping[str, Trajectory]) -> dict[str, Float64[np.ndarray, "N"]]:
    """Steps and movement of every scene by name; empty for a planner that plans at once."""
    refined = [None if (plan := trajectories.get(token)) is None else plan.refined for token in tokens]
    if all(known is None for known in refined):
        return {}
    nothing = (np.nan, np.nan)
    rows = [nothing if known is None else (known.steps, known.movement) for known in refined]
    return dict(zip(("steps", "movement"), np.array(rows, np.float64).T))


def with_extended_comfort(scored: ScoredPlans) -> ScoredPlans:
    """Complete the scores of one stage: add extended comfort to every scene whose predecessor was
    scored too (v2 only).

    Synthetic scenes of a second stage get none here: several of them start at one moment of a log,
    and only a two-stage split says which of them follow each other (second_stage.py).
    """
    results = scored.results
    if EC not in results.terms:
        return scored
    rows = np.flatnonzero(results.valid & ~scored.synthetic)
    neighbours = pairs([results.drives[row] for row in rows], scored.times_us[rows])
    comfort = np.where(results.valid, np.nan, 0.0)
    if neighbours:
        previous, now = (rows[list(side)] for side in zip(*neighbours))
        apart = [interval_s(int(scored.times_us[b]), int(scored.times_us[a])) for a, b in zip(previous, now)]
        states = torch.from_numpy(scored.states)
        apart_s = torch.tensor(apart, dtype=torch.float64)
        comfort[now] = extended_comfort(states[now], states[previous], apart_s).numpy()
    known = ~np.isnan(comfort) & results.valid
    weight = sum(EPDMS_WEIGHTS.values())
    # v2.0 prints filtered sub-scores beside an unfiltered total: extend the total, do not compute
    # it from what is printed.
    complete = (weight * results.score + EC_WEIGHT * scored.product * comfort) / (weight + EC_WEIGHT)
    score = np.where(known, complete, results.score)
    return replace(scored, results=replace(results, terms=results.terms | {EC: comfort}, score=score))


def _groups(tokens: Sequence[str], trajectories: Mapping[str, Trajectory], batch: int) -> Iterator[list[str]]:
    """Groups of at most `batch` tokens whose trajectories have the same sampling."""

    def sampling(token: str) -> tuple[int, float]:
        return len(trajectories[token].poses), trajectories[token].dt_s

    for _, group in groupby(sorted(tokens, key=sampling), key=sampling):
        same = list(group)
        yield from (same[start : start + batch] for start in range(0, len(same), batch))


def _opened(
    tokens: Sequence[str], prepared: Callable[[str], ScoringScene], failures: dict[str, str]
) -> dict[str, ScoringScene]:
    """Prepared scenes by token; those that the store cannot read are added to the failures."""
    scenes = {}
    for token in tokens:
        try:
            scenes[token] = prepared(token)
        except StoreError as error:
            failures[token] = str(error)
    return scenes


class _Table:
    """Columns that are filled batch by batch; rows that are never filled stay failed."""

    def __init__(
        self, tokens: Sequence[str], drives: Sequence[str], version: Version, failures: Mapping[str, str]
    ) -> None:
        count = len(tokens)
        self.tokens, self.drives, self.version = tuple(tokens), tuple(drives), version
        self.row = {token: row for row, token in enumerate(tokens)}
        self.failures = dict(failures)
        self.floats = {name: np.zeros(count) for name in (*version.rules.columns, "score", "product")}
        self.floats |= {name: np.full(count, np.nan) for name in ("progress_m", "reference_progress_m")}
        self.steps = {name: np.full(count, -1, np.int64) for name in ("collision_step", "ttc_step")}
        self.hit, self.valid = [""] * count, np.zeros(count, bool)
        self.states = np.full((count, STEPS, COLUMNS), np.nan)
        self.ends = np.full((count, 3), np.nan)
        self.times_us = np.full(count, -1, np.int64)
        self.synthetic = np.zeros(count, bool)

    def add(self, scores: PdmScores, scenes: Sequence[ScoringScene], ends: Float[np.ndarray, "b 3"]) -> None:
        """Fill the rows of one batch, which has one trajectory a scene."""
        for number, (token, scene) in enumerate(zip(scores.tokens, scenes)):
            row = self.row[token]
            self.times_us[row], self.synthetic[row] = scene.time_us, scene.synthetic
            self.floats["reference_progress_m"][row] = float(scores.reference_progress_m[number])
            if not bool(scores.valid[number, 0]):
                self.failures[token] = scores.failures.get(token, "its trajectory can't be scored")
                continue
            self.valid[row] = True
            self.ends[row] = ends[number]
            for name in (*self.version.rules.columns, "score", "product", "progress_m"):
                values = getattr(scores, name)
                self.floats[name][row] = np.nan if values is None else float(values[number, 0])
            for name, values in self.steps.items():
                values[row] = int(getattr(scores, name)[number, 0])
            hit = int(scores.collision_track[number, 0])
            self.hit[row] = scores.tracks[number][hit] if hit >= 0 else ""
            if scores.states is not None:
                self.states[row] = scores.states[number, 0].cpu().numpy()

    def scored(self, refined: Mapping[str, Float64[np.ndarray, "N"]]) -> ScoredPlans:
        """Everything that was added. refined: further columns of the results."""
        failed = [token for token, valid in zip(self.tokens, self.valid) if not valid]
        results = Results(
            version=self.version,
            tokens=self.tokens,
            drives=self.drives,
            terms={name: self.floats[name] for name in self.version.rules.columns},
            score=self.floats["score"],
            valid=self.valid,
            progress_m=self.floats["progress_m"],
            reference_progress_m=self.floats["reference_progress_m"],
            collision_step=self.steps["collision_step"],
            collision_track=tuple(self.hit),
            ttc_step=self.steps["ttc_step"],
            failures={token: self.failures.get(token, "it has no plan") for token in failed},
            **refined,
        )
        return ScoredPlans(
            results=results,
            product=self.floats["product"],
            states=self.states,
            ends=self.ends,
            times_us=self.times_us,
            synthetic=self.synthetic,
        )
