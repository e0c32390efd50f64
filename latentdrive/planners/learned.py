"""Learned planners: from what the car sees to a trajectory, through a network; and how one comes back from its checkpoint.

sensors.py makes the inputs of a scene, latent_source.py the embeddings that fusion.py offers to the network. A planner's network
(ego_mlp.py, transfuser/, ipad/) extends LearnedPlanner by its parts and `forward`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latentdrive import checkpoint
from latentdrive.errors import ConfigError
from latentdrive.identity import FormerIds, same_id
from latentdrive.planners.inputs.batch import PlannerInputs, PlannerOutput, inputs_of, stacked
from latentdrive.planners.inputs.sensors import Sensors
from latentdrive.planners.latents.fusion import LatentFusion
from latentdrive.planners.latents.source import LatentSource, StoredLatents, open_latents, require_codebook
from latentdrive.planners.sampling import DT_S
from latentdrive.types import Origin, Scene, SensorNeeds, Trajectory


class LearnedPlanner(nn.Module, ABC):
    """A network that plans (a Planner). sensors: what it looks at. fusion: how it takes a predictor's embeddings, None: not at all.

    latents: the source of the embeddings that `plan` uses; set after building, it belongs to no checkpoint. `forward` of a planner with
    fusion reads `inputs.latents`.
    """

    codebook_id = ""  # set by checkpoint.load: of the codes behind the embeddings that it was trained with
    former_ids: FormerIds = {}  # noqa: RUF012 - set by checkpoint.load: earlier ids of that codebook and of its labeller
    learned_with = ""  # set by load_planner: fingerprint of the teacher or student that made these embeddings
    learned_permuted = None  # and the seed of the permutation where they were of other scenes

    def __init__(self, *, sensors: Sensors, fusion: LatentFusion | None) -> None:
        super().__init__()
        self.sensors, self.fusion = sensors, fusion
        self.latents: LatentSource | None = None

    @property
    def needs(self) -> SensorNeeds:
        """Everything that is opened for a scene: the planner's own sensors, and those of a live predictor."""
        own = self.sensors.needs
        if self.latents is None:
            return own
        other = self.latents.needs
        cameras = tuple(dict.fromkeys((*own.cameras, *other.cameras)))
        frames = "all" if "all" in (own.frames, other.frames) else "now"
        return SensorNeeds(cameras=cameras, frames=frames, lidar=own.lidar or other.lidar)

    @abstractmethod
    def forward(self, inputs: PlannerInputs) -> PlannerOutput:
        """The plans of B scenes."""

    def embeddings(self, inputs: PlannerInputs) -> Tensor:
        """What the fusion reads of the predictor's embeddings, [B, n, D]. Raises ConfigError where there are none."""
        if inputs.latents is None:
            raise ConfigError(
                "this planner fuses a predictor's embeddings: give latents=FOLDER (stores of a teacher or student) or "
                "predictor=CHECKPOINT (a student that runs live)"
            )
        return self.fusion.read(inputs.latents)

    def load_pretrained(self) -> None:
        """Load published weights of the parts that have any (backbones), once, before training."""

    @torch.no_grad()
    def plan(self, scenes: Sequence[Scene]) -> Trajectory:
        """Poses [B, P, 3], float32. Raises UnreadableScene for a scene that lacks a sensor, or whose embeddings are not there."""
        inputs = inputs_of([scene.token for scene in scenes], stacked([self.sensors(scene) for scene in scenes]))
        if self.latents is not None:
            inputs = replace(inputs, latents=self.latents.of(scenes))
        output = self(inputs.to(next(self.parameters()).device))
        return Trajectory(poses=output.trajectory.float().cpu().numpy().astype(np.float32), dt_s=DT_S)

    def attach(self, source: LatentSource | None) -> None:
        """Use this source for the embeddings. Raises ConfigError for a planner that fuses none, MixedCodebooks for another codebook."""
        if source is not None and self.fusion is None:
            raise ConfigError("this planner was trained without embeddings: leave latents and predictor out")
        if source is not None:
            require_codebook(source, self.codebook_id, where="this planner", former_ids=self.former_ids)
            source.require_widths(self.fusion)
        self.latents = source

    def provenance(self) -> dict[str, Any]:
        """What a result says of the embeddings: whose they were, and with whose it learned if others; that they knew the future, if they did."""
        if self.latents is None:
            return {}
        told = {"origin": str(self.latents.origin), "maker": self.latents.maker, "codebook": self.latents.codebook_id}
        # A student in its teacher's place, or by mistake a stranger.
        if self.learned_with and not same_id(
            self.learned_with, self.latents.maker, self.former_ids, self.latents.former_ids
        ):
            told["learned_with"] = self.learned_with
        if self.learned_permuted is not None:
            told["learned_permuted"] = self.learned_permuted
        if isinstance(self.latents, StoredLatents):
            told |= {"store": self.latents.fingerprint, "permuted": self.latents.permuted}
        oracle = self.latents.origin is Origin.INVERSE_DYNAMICS
        return {"latents": told} | ({"oracle_future": True} if oracle else {})


def in_full(layers: nn.Module, values: Tensor) -> Tensor:
    """What layers that give metres make of `values`, in the precision of their weights also under autocast: bfloat16 tells 32 m from 32.25 m.

    That is float32, but where FSDP itself keeps the weights in bfloat16.
    """
    with torch.autocast(values.device.type, enabled=False):
        return layers(values.to(next(layers.parameters()).dtype))


def load_planner(
    *, folder: str, latents: str | None, predictor: str | None, oracle_future: bool, device: str
) -> LearnedPlanner:
    """The planner of a checkpoint folder, ready to plan. Embeddings for one with fusion: `latents`, the folder of a teacher's or student's
    stores, or `predictor`, the checkpoint of a student that runs live; oracle_future: see StoredLatents.

    device: cpu, cuda, or auto. Raises CheckpointError where the folder holds no planner, ConfigError for one with fusion and no source.
    """
    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    planner, card = checkpoint.load(folder, expect=LearnedPlanner)
    if card.data.get("oracle_future") and not oracle_future:
        raise ConfigError(f"{folder} was trained on codes of the future: it plans with oracle_future=true only")
    source = open_latents(latents=latents, predictor=predictor, oracle_future=oracle_future, device=device)
    if planner.fusion is not None and source is None:
        raise ConfigError(
            f"{folder}: this planner fuses a predictor's embeddings: give planner.latents=FOLDER (stores of a teacher or student) or "
            "planner.predictor=CHECKPOINT (a student that runs live; in the devkit, `predictor` in the agent's YAML)"
        )
    planner.attach(source)
    planner.learned_with, planner.learned_permuted = card.parents.get("labeller", ""), card.data.get("permuted")
    return planner.to(device)
