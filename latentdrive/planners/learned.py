"""The base of planners that learn: a network from PlannerInputs to PlannerOutput, with sensors and perhaps a fusion.

The networks are baselines/ego_mlp.py, transfuser/ and ipad/. training.py trains them; loading.py brings
them back from a checkpoint.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latentdrive.checkpoint_parts import SpeaksCodes
from latentdrive.errors import ConfigError
from latentdrive.identity import same_id
from latentdrive.planners.inputs.batch import PlannerInputs, PlannerOutput, Refinement, inputs_of, stacked
from latentdrive.planners.inputs.sensors import Sensors
from latentdrive.planners.latents.fusion import LatentFusion, LatentSource, ReadsLatents, require_codebook
from latentdrive.planners.sampling import DT_S
from latentdrive.types import LatentFeatures, Origin, Refined, Scene, SceneSource, SensorNeeds, Trajectory


class LearnedPlanner(SpeaksCodes, nn.Module, ABC):
    """A network that plans (a Planner).

    sensors: what it looks at. fusion: how its queries read a predictor's embeddings; None for a planner
    without. latents: the source of these embeddings in `plan`, set by `attach`; no checkpoint holds it.
    """

    learned_with = ""  # fingerprint of the predictor that made the training embeddings; set by load_planner
    learned_permuted = None  # seed of the permutation, where the training embeddings were those of other scenes

    def __init__(self, *, sensors: Sensors, fusion: LatentFusion | None) -> None:
        super().__init__()
        self.sensors, self.fusion = sensors, fusion
        self.latents: LatentSource | None = None

    @property
    def needs(self) -> SensorNeeds:
        """The sensors to open for a scene: the planner's own, and those of a live predictor."""
        own = self.sensors.needs
        if self.latents is None:
            return own
        other = self.latents.needs
        cameras = tuple(dict.fromkeys((*own.cameras, *other.cameras)))
        frames = "all" if "all" in (own.frames, other.frames) else "now"
        return SensorNeeds(cameras=cameras, frames=frames, lidar=own.lidar or other.lidar)

    @property
    def reads(self) -> ReadsLatents | None:
        """What reads a predictor's embeddings in this planner; None for a planner that takes none."""
        return self.fusion

    @abstractmethod
    def forward(self, inputs: PlannerInputs) -> PlannerOutput:
        """The plans of B scenes. A planner that reads embeddings finds them in `inputs.latents`."""

    def embeddings(self, inputs: PlannerInputs) -> LatentFeatures:
        """The predictor's embeddings in these inputs. Raises ConfigError where there are none."""
        if inputs.latents is None:
            raise ConfigError(
                "this planner reads a predictor's embeddings, and none were given: add latents=FOLDER (stores of a "
                "teacher or student) or predictor=CHECKPOINT (a student that runs live)"
            )
        return inputs.latents

    def load_pretrained(self) -> None:
        """Load the published weights of its backbones. Called once, before the training of a new run."""

    @torch.no_grad()
    def plan(self, scenes: Sequence[Scene]) -> Trajectory:
        """Poses [B, P, 3], float32. Raises UnreadableScene for a scene without a needed sensor or embedding."""
        inputs = inputs_of([scene.token for scene in scenes], stacked([self.sensors(scene) for scene in scenes]))
        if self.latents is not None:
            inputs = replace(inputs, latents=self.latents.of(scenes))
        output = self(inputs.to(next(self.parameters()).device))
        poses = output.trajectory.float().cpu().numpy().astype(np.float32)
        return Trajectory(poses=poses, dt_s=DT_S, refined=_refined(output.refinement))

    def attach(self, source: LatentSource | None) -> None:
        """Use this source of embeddings in `plan`.

        Raises ConfigError for a planner that reads none, MixedCodebooks where the source's codebook is not
        the planner's, and WrongShape where its embeddings have other widths.
        """
        if source is not None and self.reads is None:
            raise ConfigError("this planner was trained without embeddings: leave latents and predictor out")
        if source is not None:
            require_codebook(source, self.codebook_id, former_ids=self.former_ids)
            source.require_fit(self.reads)
        self.latents = source

    def require_scenes(self, source: SceneSource, tokens: Sequence[str]) -> None:
        """Raise StoreError where its embeddings come from a store that holds none of these scenes."""
        if self.latents is not None:
            self.latents.require_scenes(source, tokens)

    def provenance(self) -> dict[str, Any]:
        """Provenance of the embeddings, recorded in results.

        It names their source, the planner's own labeller if it is another, and whether they depend
        on the future.
        """
        if self.latents is None:
            return {}
        facts = self.latents.provenance()
        # Another labeller is usually a student in its teacher's place; it may also be a mistake.
        if self.learned_with and not same_id(
            self.learned_with, self.latents.maker, self.former_ids, self.latents.former_ids
        ):
            facts["learned_with"] = self.learned_with
        if self.learned_permuted is not None:
            facts["learned_permuted"] = self.learned_permuted
        oracle = self.latents.origin is Origin.INVERSE_DYNAMICS
        return {"latents": facts} | ({"oracle_future": True} if oracle else {})


def _refined(refinement: Refinement | None) -> Refined | None:
    if refinement is None:
        return None
    moved = refinement.movement.float().cpu()
    return Refined(
        steps=refinement.steps.cpu().numpy(), movement=torch.where(moved.isfinite(), moved, torch.nan).numpy()
    )


def run_in_weight_dtype(layers: nn.Module, values: Tensor) -> Tensor:
    """The output of `layers` in the precision of their weights, also under autocast.

    For layers that return metres: bfloat16 cannot tell 32 m from 32.1 m. Weights are float32, except
    where FSDP keeps them in bfloat16.
    """
    with torch.autocast(values.device.type, enabled=False):
        return layers(values.to(next(layers.parameters()).dtype))
