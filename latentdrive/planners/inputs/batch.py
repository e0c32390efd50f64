"""What goes into a planner's network, what it is taught with, and what comes out: tensors for B scenes.

Between sensors.py, which makes the inputs of one scene, and the networks. Inputs and targets are two types, so that a network can't be
handed the future by mistake.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from latentdrive.types import FROZEN, Batch, Command, LatentFeatures

STATUS = len(Command) + 4  # width of PlannerInputs.status()
Arrays = Mapping[str, np.ndarray]  # by the names of fields below; of one scene without batch axis, of several with one


@dataclass(**FROZEN)
class PlannerInputs(Batch):
    """What a planner is given of B scenes; what it has no sensors for is None.

    cameras: RGB, V views of one size; a panorama is one view and has no calibration. intrinsics: in pixels of `cameras`.
    camera_to_ego: metres. lidar: histogram in [0, 1], channels x cells along x x cells along y. velocity (m/s), acceleration (m/s^2):
    forward, left, now. command: one of Command. latents: a predictor's embeddings, for planners that fuse them.
    """

    tokens: tuple[str, ...]
    velocity: Float[Tensor, "B 2"]
    acceleration: Float[Tensor, "B 2"]
    command: Int64[Tensor, "B"]
    cameras: UInt8[Tensor, "B V 3 H W"] | None = None
    intrinsics: Float[Tensor, "B V 3 3"] | None = None
    camera_to_ego: Float[Tensor, "B V 4 4"] | None = None
    lidar: Float[Tensor, "B C X Y"] | None = None
    latents: LatentFeatures | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def status(self) -> Float[Tensor, "B 8"]:
        """NAVSIM's status feature: command one-hot, velocity, acceleration."""
        command = F.one_hot(self.command, len(Command)).to(self.velocity.dtype)
        return torch.cat([command, self.velocity, self.acceleration], 1)


@dataclass(**FROZEN)
class PlannerTargets(Batch):
    """What a planner learns from; the future is in it. What no loss asks for is None.

    trajectory: the human's, ego frame of now. agents: x, y, heading, length, width of other vehicles, ego frame of now; rows that
    agents_real calls False are padding. semantics: class of every cell of the bird's-eye view.
    """

    trajectory: Float[Tensor, "B P 3"]
    agents: Float[Tensor, "B N 5"] | None = None
    agents_real: Bool[Tensor, "B N"] | None = None
    semantics: UInt8[Tensor, "B h w"] | None = None


@dataclass(**FROZEN)
class PlannerOutput(Batch):
    """What every planner's network gives; those with more to say extend it.

    trajectory: the plan, poses in the ego frame of now. proposals: all that it chose from, proposal_scores: what it thinks of them,
    in [0, 1]; None for a planner that makes one plan.
    """

    trajectory: Float[Tensor, "B P 3"]
    proposals: Float[Tensor, "B M P 3"] | None = None
    proposal_scores: Float[Tensor, "B M"] | None = None


def inputs_of(tokens: Sequence[str], arrays: Arrays) -> PlannerInputs:
    """Inputs of several scenes from their stacked arrays."""
    return PlannerInputs(tokens=tuple(tokens), **_fields(arrays, PlannerInputs))


def targets_of(arrays: Arrays) -> PlannerTargets:
    """Targets of several scenes from their stacked arrays."""
    return PlannerTargets(**_fields(arrays, PlannerTargets))


def stacked(scenes: Sequence[Arrays]) -> Arrays:
    """Arrays of several scenes from those of each."""
    return {name: np.stack([one[name] for one in scenes]) for name in scenes[0]}


def _fields(arrays: Arrays, kind: type[Batch]) -> dict[str, Tensor]:
    return {field.name: torch.from_numpy(arrays[field.name]) for field in fields(kind) if field.name in arrays}
