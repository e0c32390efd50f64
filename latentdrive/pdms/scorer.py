"""The scorer: trajectories in, PdmScores out.

Evaluation, training targets and the choice of proposals all use it.

    scorer = Scorer(scenes, version="epdms_v2.2")              # scenes from storage/store.py or prepare.py
    scores = scorer.score(Trajectory(poses=poses, dt_s=0.5))   # poses [scenes, proposals, P, 3]

The steps: reference_poses.py resamples the plan, simulate.py drives the car along it,
sub_scores/terms.py rates the drive, and score.py adds progress against PDM-Closed, the human filter
and the totals.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from latentdrive.counting import counted
from latentdrive.errors import StoreError, WrongShape
from latentdrive.pdms.batch import SceneTensors, stack
from latentdrive.pdms.linear_algebra import require_sound
from latentdrive.pdms.reference_poses import reference_poses
from latentdrive.pdms.scene import ScoringScene
from latentdrive.pdms.score import (
    EP,
    PdmScores,
    best_progress_m,
    epdms,
    epdms_ego_progress,
    pdms_ego_progress,
    pdms_total,
)
from latentdrive.pdms.simulate import simulate
from latentdrive.pdms.sub_scores.terms import RawScores, raw_scores
from latentdrive.pdms.versions import V2, Version
from latentdrive.types import Trajectory

FARTHEST_M = 1e7  # larger numbers, also headings, count as infinite: they are damage, and would overflow later steps
SHORTEST_STEP_S = 1e-3
# Scenes and rows (scenes x proposals) that are scored at once: they fit a CPU's second-level cache, or fill a GPU.
AT_ONCE = {"cpu": (16, 512), "cuda": (256, 65_536)}


class Scorer:
    """Scores trajectories in B scenes.

    scenes: prepared by the rules of `version`. device: cpu or cuda; both compute in float64.

    Raises StoreError for a scene that was prepared by other rules. Scoring raises BrokenLinearAlgebra
    on a machine whose matrix products are wrong.
    """

    def __init__(
        self, scenes: Sequence[ScoringScene], *, version: Version | str, device: str | torch.device = "cpu"
    ) -> None:
        self.version, self.device = Version(version), torch.device(device)
        self.rules, self.scenes = self.version.rules, tuple(scenes)
        if not scenes:
            raise WrongShape("Scorer: got no scenes; expected at least one")
        if wrong := [scene for scene in scenes if scene.generation != self.rules.generation]:
            raise StoreError(
                f"scene {wrong[0].token} ({len(wrong)} in all) was prepared for NAVSIM v{wrong[0].generation}, "
                f"but {self.version} needs v{self.rules.generation}: prepare the scenes by the rules of that version"
            )
        together, self._rows = AT_ONCE["cpu" if self.device.type == "cpu" else "cuda"]
        self._groups = [
            (start, stack(scenes[start : start + together]).to(self.device))
            for start in range(0, len(scenes), together)
        ]

    @property
    def tokens(self) -> tuple[str, ...]:
        """Tokens of the scenes, in order."""
        return tuple(scene.token for scene in self.scenes)

    @property
    def groups(self) -> Iterator[tuple[slice, SceneTensors]]:
        """Groups of scenes that are scored together: which of `scenes`, and their tensors on the scorer's device."""
        return ((slice(start, start + len(group)), group) for start, group in self._groups)

    def score(self, trajectory: Trajectory, *, states: bool = False) -> PdmScores:
        """Scores of trajectories: poses [B, M, P, 3] in the ego frame of each scene's now, at any sampling.

        states: whether to return the simulated states. A trajectory that holds NaN, infinity or a
        number beyond FARTHEST_M scores 0 and is named in `failures`. Raises WrongShape if the poses
        don't fit the scenes.
        """
        return self.score_poses(torch.from_numpy(trajectory.poses), dt_s=trajectory.dt_s, states=states)

    @torch.no_grad()
    def score_poses(self, poses: Float[Tensor, "B M P 3"], *, dt_s: float, states: bool = False) -> PdmScores:
        """The same for a tensor on any device.

        No gradient flows through a score, and autocast does not affect it.
        """
        self._check(poses, dt_s)
        with torch.autocast(self.device.type, enabled=False):
            return self._score_all(poses, dt_s, states)

    def _score_all(self, poses: Float[Tensor, "B M P 3"], dt_s: float, states: bool) -> PdmScores:
        poses = poses.to(self.device, torch.float64)  # float32 plans are widened first, as the devkit does
        valid = (poses.abs() <= FARTHEST_M).all(-1).all(-1)  # also false for NaN
        poses = torch.where(valid[..., None, None], poses, 0.0)
        parts = []
        for rows, scenes in self.groups:
            at_once = max(1, self._rows // len(scenes))
            chunks = zip(poses[rows].split(at_once, 1), valid[rows].split(at_once, 1))
            parts.append(_joined([self._score(rows, scenes, *chunk, dt_s, states) for chunk in chunks], 1))
        return self._scores(_joined(parts, 0), valid)

    def _score(
        self,
        rows: slice,
        scenes: SceneTensors,
        poses: Float64[Tensor, "b m P 3"],
        valid: Bool[Tensor, "b m"],
        dt_s: float,
        with_states: bool,
    ) -> dict[str, Tensor]:
        times = [scene.time_us for scene in self.scenes[rows]]
        follow = reference_poses(scenes.start[:, :3], poses, dt_s=dt_s, times_us=times)
        states = simulated(scenes, follow)
        raw = raw_scores(scenes, states, self.rules, with_history=True)
        columns = self._totals(scenes, raw)
        names = ("progress_m", "collision_step", "collision_track", "ttc_step", "ttc_track")
        columns |= {name: getattr(raw, name) for name in names}
        if not valid.all():
            columns = {
                name: torch.where(valid, values, 0.0 if values.is_floating_point() else -1)
                for name, values in columns.items()
            }
        return columns | ({"states": states} if with_states else {})

    def _totals(self, scenes: SceneTensors, raw: RawScores) -> dict[str, Tensor]:
        """Sub-scores as this version prints them, their product, and the score (docs/pdms.md, sections 7 and 8)."""
        best = best_progress_m(raw.progress_m, raw.product, scenes.reference_m[:, None])
        if self.version is Version.PDMS_V1_1:
            terms = raw.terms | {EP: pdms_ego_progress(raw.progress_m, raw.product, best)}
            return terms | {"product": raw.product, "score": pdms_total(terms)}
        terms = raw.terms | {EP: epdms_ego_progress(raw.progress_m, best)}
        human = {name: scenes.human[:, k, None] for k, name in enumerate(V2.columns[:-1])}
        result = epdms(terms, human, self.version)
        return result.printed | {"product": result.product, "score": result.score}

    def _scores(self, columns: dict[str, Tensor], valid: Bool[Tensor, "B M"]) -> PdmScores:
        columns = {name: values.cpu() for name, values in columns.items()}
        known = {field.name for field in fields(PdmScores)}
        absent = dict.fromkeys(known & {*Version.PDMS_V1_1.rules.columns, *V2.columns, "states"} - columns.keys())
        references = [scene.reference_progress_m * scene.reference_product for scene in self.scenes]
        return PdmScores(
            tokens=self.tokens,
            version=self.version,
            valid=valid.cpu(),
            reference_progress_m=torch.tensor(references, dtype=torch.float64),
            tracks=tuple(scene.tracks.tokens for scene in self.scenes),
            failures=dict(_failures(self.tokens, valid.cpu())),
            **absent | columns,
        )

    def _check(self, poses: Tensor, dt_s: float) -> None:
        expected = f"[{counted(len(self.scenes), 'scene')}, proposals, poses, 3]"
        if poses.ndim != 4 or poses.shape[0] != len(self.scenes) or poses.shape[3] != 3 or 0 in poses.shape:
            raise WrongShape(f"Scorer.score: expected poses {expected}, got {list(poses.shape)}")
        if not SHORTEST_STEP_S <= dt_s < math.inf:
            raise WrongShape(f"Scorer.score: expected poses at least {SHORTEST_STEP_S} s apart, got dt_s={dt_s}")


def simulated(scenes: SceneTensors, follow: Float64[Tensor, "B M 41 3"]) -> Float64[Tensor, "B M 41 11"]:
    """States of the car in every scene while it follows M sets of reference poses. All in the global frame.

    Raises BrokenLinearAlgebra where this machine can't compute them.
    """
    require_sound(follow.device.type)
    count = follow.shape[1]
    start = scenes.start.repeat_interleave(count, 0)
    return simulate(start, follow.reshape(-1, *follow.shape[2:])).view(len(scenes), count, -1, start.shape[1])


def _joined(parts: list[dict[str, Tensor]], axis: int) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts], axis) for name in parts[0]} if len(parts) > 1 else parts[0]


def _failures(tokens: Sequence[str], valid: Bool[Tensor, "B M"]) -> Iterator[tuple[str, str]]:
    for token, row in zip(tokens, valid.numpy()):
        if bad := np.flatnonzero(~row).tolist():
            several = f"trajectories {bad[0]} and {len(bad) - 1} more"
            which = "trajectory" if len(row) == 1 else f"trajectory {bad[0]}" if len(bad) == 1 else several
            yield token, f"{which}: NaN or infinite numbers among its poses"
