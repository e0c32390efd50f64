"""Tensors of B scenes: a planner network's inputs, its training targets, and its output.

Sensors (sensors.py) make the inputs of a scene from what the car sees; targets.py makes the targets
from the truth. They are two types, so that no network can be given the future by mistake.
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
Arrays = Mapping[str, np.ndarray]  # by field names of the types below; with a batch axis if they are of several scenes


@dataclass(**FROZEN)
class PlannerInputs(Batch):
    """The inputs of a planner network. Inputs that the planner has no sensors for are None.

    velocity (m/s), acceleration (m/s^2): forward and left, now. command: one of Command.
    cameras: RGB pictures of V views, all of one size; a panorama is one view without calibration.
    intrinsics: in pixels of `cameras`. camera_to_ego: in metres. lidar: histogram in [0, 1], channels
    x cells along x x cells along y. latents: a predictor's embeddings, for planners that fuse them.
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
    """The training targets of a planner, taken from the future. Targets that no loss asks for are None.

    trajectory: the human's, in the ego frame of now. agents: x, y, heading, length and width of other
    vehicles, in the ego frame of now. agents_real: False for rows of `agents` that are padding.
    semantics: class of every cell of the bird's-eye view.
    """

    trajectory: Float[Tensor, "B P 3"]
    agents: Float[Tensor, "B N 5"] | None = None
    agents_real: Bool[Tensor, "B N"] | None = None
    semantics: UInt8[Tensor, "B h w"] | None = None


@dataclass(**FROZEN)
class Refinement(Batch):
    """How a plan was refined step by step.

    first: the plan before any step. steps: that each scene took. movement: mean squared change of its plan by the
    last step, in pose units; a plan that still moves is uncertain. Infinite after fewer than two steps.
    """

    first: Float[Tensor, "B P 3"]
    steps: Int64[Tensor, "B"]
    movement: Float[Tensor, "B"]


@dataclass(**FROZEN)
class PlannerOutput(Batch):
    """What every planner network returns; networks with further outputs extend this.

    trajectory: the plan, poses in the ego frame of now. proposals: the trajectories it was chosen
    from; None for a network that makes one plan. refinement: None for a network that plans at once.
    """

    trajectory: Float[Tensor, "B P 3"]
    proposals: Float[Tensor, "B M P 3"] | None = None
    refinement: Refinement | None = None


def inputs_of(tokens: Sequence[str], arrays: Arrays) -> PlannerInputs:
    """Inputs of several scenes from their stacked arrays. Further arrays are ignored."""
    return PlannerInputs(tokens=tuple(tokens), **_tensors(arrays, PlannerInputs))


def targets_of(arrays: Arrays) -> PlannerTargets:
    """Targets of several scenes from their stacked arrays. Further arrays are ignored."""
    return PlannerTargets(**_tensors(arrays, PlannerTargets))


def stacked(scenes: Sequence[Arrays]) -> Arrays:
    """The arrays of several scenes along a new batch axis."""
    return {name: np.stack([arrays[name] for arrays in scenes]) for name in scenes[0]}


def _tensors(arrays: Arrays, kind: type[Batch]) -> dict[str, Tensor]:
    """The arrays whose names are fields of `kind`."""
    return {field.name: torch.from_numpy(arrays[field.name]) for field in fields(kind) if field.name in arrays}
