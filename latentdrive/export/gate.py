"""The gate: a bundle is written only if its plans are those of its PyTorch model.

Three plans of every val scene are compared: the planner's own (pictures scaled by OpenCV, as in training and in
`evaluate`), that of its graphs in PyTorch (pictures scaled inside), and that of the bundle.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from latentdrive.counting import counted
from latentdrive.errors import BundleRefused, UnreadableClip
from latentdrive.evaluation.planned_split import PreparedSplit, plan_split
from latentdrive.export.bundle_planner import EnginePlanner
from latentdrive.planners.anytime import RefinesPlans
from latentdrive.planners.inputs.batch import inputs_of, stacked
from latentdrive.planners.learned import LearnedPlanner
from latentdrive.planners.sampling import DT_S
from latentdrive.types import FROZEN, Planner, Scene, SensorNeeds, Trajectory


@dataclass(**FROZEN)
class Bounds:
    """What a bundle of one precision may differ by.

    drift_m: of its plans from those of its graphs in PyTorch, metres or radians. pictures_m: of the graphs' plans from
    the planner's, because pictures are scaled inside the graph. pdms: fall of the mean score.
    """

    drift_m: float
    pictures_m: float
    pdms: float


@dataclass(**FROZEN)
class Parity:
    """What the gate measured on `scenes` scenes. pdms: mean score by who planned; None where nothing can be scored."""

    scenes: int
    drift_m: float
    drift_median_m: float
    pictures_m: float
    pdms_eager: float | None
    pdms_bundle: float | None

    @property
    def fall(self) -> float:
        """How much the score falls; 0 where it is not known."""
        return 0.0 if self.pdms_eager is None else self.pdms_eager - self.pdms_bundle

    def lines(self, bounds: Bounds) -> list[str]:
        """What the gate prints."""
        score = "not scored" if self.pdms_eager is None else f"{self.pdms_eager:.4f} → {self.pdms_bundle:.4f}"
        return [
            f"parity on {counted(self.scenes, 'scene')}: largest drift {self.drift_m:.2g} (bound {bounds.drift_m:g}), "
            f"median {self.drift_median_m:.2g}, by pictures {self.pictures_m:.2g} (bound {bounds.pictures_m:g})",
            f"PDMS {score}, fall {self.fall:+.4f} (bound {bounds.pdms:g})",
        ]

    def require(self, bounds: Bounds) -> None:
        """Raise BundleRefused where a bound is broken."""
        broken = []
        for name, value, most in (
            ("its plans drift", self.drift_m, bounds.drift_m),
            ("its pictures move plans by", self.pictures_m, bounds.pictures_m),
            ("its score falls by", self.fall, bounds.pdms),
        ):
            if not value <= most:  # also for NaN
                broken.append(f"{name} {value:.3g}, at most {most:g} is allowed")
        if broken:
            raise BundleRefused(
                f"the bundle is not like its model and was not written: {'; '.join(broken)}. Choose another precision "
                "or format; bounds stand in configs/export.yaml"
            )


class ColdPlanner:
    """A planner that starts every scene from a bundle's scratchpad (a Planner); other planners plan as they do."""

    def __init__(self, planner: LearnedPlanner, cold: np.ndarray | None) -> None:
        self.planner, self.cold = planner, cold
        self.needs: SensorNeeds = planner.needs

    @torch.no_grad()
    def plan(self, scenes: Sequence[Scene]) -> Trajectory:
        """Poses [B, P, 3]."""
        planner = self.planner
        if self.cold is None or not isinstance(planner, RefinesPlans):
            return planner.plan(scenes)
        arrays = stacked([planner.sensors(scene) for scene in scenes])
        inputs = inputs_of([scene.token for scene in scenes], arrays)
        if planner.latents is not None:
            inputs = replace(inputs, latents=planner.latents.of(scenes))
        cold = torch.from_numpy(self.cold).expand(len(scenes), -1, -1)
        return Trajectory(poses=planner(inputs, cold).trajectory.float().numpy(), dt_s=DT_S)


def measure(split: PreparedSplit, own: Planner, graphs: EnginePlanner, bundle: EnginePlanner) -> Parity:
    """Plan the split's scenes three times, and score the first and the last."""
    plans = {"own": [], "graphs": [], "bundle": []}
    for token in split.scenes.tokens:
        try:
            scene = split.scenes.source[token]
            rows = [planner.plan([scene]).poses[0] for planner in (own, graphs, bundle)]
        except UnreadableClip:
            continue
        for kept, poses in zip(plans.values(), rows):
            kept.append(poses)
    if not plans["own"]:
        raise BundleRefused("no scene of the val split can be planned, so the bundle can't be compared: check data")
    poses = {name: np.stack(kept) for name, kept in plans.items()}
    moved = apart(poses["graphs"], poses["bundle"])
    scores = {"own": None, "bundle": None} if split.unscorable else _scores(split, {"own": own, "bundle": bundle})
    return Parity(
        scenes=len(moved),
        drift_m=float(moved.max()),
        drift_median_m=float(np.median(moved)),
        pictures_m=float(apart(poses["own"], poses["graphs"]).max()),
        pdms_eager=scores["own"],
        pdms_bundle=scores["bundle"],
    )


def apart(first: Float[np.ndarray, "N P 3"], second: Float[np.ndarray, "N P 3"]) -> Float[np.ndarray, "N"]:
    """Largest difference of the plans of every scene; headings are compared on the circle."""
    difference = first - second
    difference[..., 2] = (difference[..., 2] + np.pi) % (2 * np.pi) - np.pi
    return np.abs(difference).max((-2, -1))


def _scores(split: PreparedSplit, planners: dict[str, Planner]) -> dict[str, float]:
    planned = {name: plan_split(split, planner, label=name) for name, planner in planners.items()}
    return {name: float(done.scored.results.score.mean()) for name, done in planned.items()}
