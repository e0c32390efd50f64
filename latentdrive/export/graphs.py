"""The graphs of a checkpoint: what one call in the car computes, with named tensors of fixed shapes in and out.

An ordinary planner is one graph, `plan`. A planner that refines (AnytimePlanner) is three, between which the car
looks at the clock: `begin` perceives, `step` refines once, `coda` reads the plan. A student that a planner fuses runs
inside the first graph. All graphs plan for one scene; their inputs are what the car has, without preparation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from latentdrive.errors import ConfigError
from latentdrive.export.pictures import PanoramaPicture, PredictorPicture, Size, SurroundPictures
from latentdrive.heads.layers import KeysValues
from latentdrive.heads.recurrent_depth import Progress
from latentdrive.planners.anytime import AnytimeHead, RefinesPlans
from latentdrive.planners.inputs.batch import PlannerInputs
from latentdrive.planners.inputs.sensors import Panorama, Surround
from latentdrive.planners.latents.live import LivePredictor
from latentdrive.planners.learned import LearnedPlanner
from latentdrive.types import FRONT_CAMERA, FROZEN, Command, LatentFeatures, SceneBatch

PLAN, BEGIN, STEP, CODA = "plan", "begin", "step", "coda"
PICTURE, INTRINSICS, POSES = "picture_", "intrinsics", "camera_to_ego"
VELOCITY, ACCELERATION, COMMAND, LIDAR = "velocity", "acceleration", "command", "lidar"
TRAJECTORY, SCRATCHPAD, NEXT = "trajectory", "scratchpad", "scratchpad_out"  # a graph names no tensor twice
NOISE_SEED = 0  # of the scratchpad that a bundle starts from


@dataclass(**FROZEN)
class Graph:
    """One graph. inputs: examples by name, in the order of the module's arguments. outputs: names, in its order."""

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]


@dataclass(**FROZEN)
class Camera:
    """Size of a camera's raw pictures, and its calibration where the planner needs one (rows of numbers)."""

    size: Size
    intrinsics: list[list[float]] | None = None
    camera_to_ego: list[list[float]] | None = None


class _Named(nn.Module):
    """A module whose arguments are tensors in the order of `names`, as graphs take them."""

    names: tuple[str, ...]

    def by_name(self, tensors: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The arguments by name."""
        return dict(zip(self.names, tensors, strict=True))


class Perceive(_Named):
    """From raw inputs to PlannerInputs, a live student included."""

    def __init__(self, planner: LearnedPlanner, cameras: Mapping[str, Size]) -> None:
        super().__init__()
        wanted, self.lidar = planner.sensors.cameras, planner.sensors.lidar is not None
        self.pictures = None
        if isinstance(wanted, Panorama):
            self.pictures = PanoramaPicture(wanted, cameras)
        elif isinstance(wanted, Surround):
            self.pictures = SurroundPictures(wanted, cameras)
        self.student = None
        if isinstance(planner.latents, LivePredictor):
            self.student = StudentOf(planner.latents, cameras[FRONT_CAMERA])

    def forward(self, given: dict[str, Tensor]) -> PlannerInputs:
        """The inputs of one scene."""
        raw = {name.removeprefix(PICTURE): value for name, value in given.items() if name.startswith(PICTURE)}
        ego = {name: given[name] for name in (VELOCITY, ACCELERATION, COMMAND)}
        fields: dict[str, Any] = {} if self.pictures is None else {"cameras": self.pictures(raw)}
        if isinstance(self.pictures, SurroundPictures):
            fields |= {INTRINSICS: self.pictures.intrinsics(given[INTRINSICS]), POSES: given[POSES][None]}
        if self.lidar:
            fields[LIDAR] = given[LIDAR][None]
        if self.student is not None:
            fields["latents"] = self.student(raw[FRONT_CAMERA], **ego)
        return PlannerInputs(tokens=("",), **ego, **fields)


class StudentOf(nn.Module):
    """A live predictor on the raw picture of the front camera. Raises ConfigError for one that looks back."""

    def __init__(self, live: LivePredictor, source: Size) -> None:
        super().__init__()
        if live.model.scene.history_frames:
            raise ConfigError(
                f"{live.folder} looks at {live.model.scene.history_frames} earlier pictures, and export carries "
                "predictors of the present picture: train one with model.scene.history_frames=0"
            )
        if not isinstance(live.model, Decodes):
            raise ConfigError(
                f"{live.folder} holds a {type(live.model).__name__}, and export carries students: distil it first "
                "(latentdrive distill)"
            )
        self.picture, self.model = PredictorPicture(live.inputs, source), live.model
        self.commands = live.inputs.commands

    def scenes(self, picture: Tensor, velocity: Tensor, acceleration: Tensor, command: Tensor) -> SceneBatch:
        """The scene as the predictor is told of it."""
        known = torch.ones_like(command, dtype=torch.bool)
        return SceneBatch(
            images=self.picture(picture),
            velocity=velocity,
            velocity_known=known,
            acceleration=acceleration,
            acceleration_known=known,
            command=command,
            command_known=(command != int(Command.UNKNOWN)) if self.commands else ~known,
        )

    def forward(self, picture: Tensor, *, velocity: Tensor, acceleration: Tensor, command: Tensor) -> LatentFeatures:
        """Its features."""
        return self.model.decode_slots(self.scenes(picture, velocity, acceleration, command))[1]


@runtime_checkable
class Decodes(Protocol):
    """A student: logits of greedily decoded slots, and features (student/model.py)."""

    def decode_slots(self, scenes: SceneBatch) -> tuple[Tensor, LatentFeatures]: ...


class Plan(_Named):
    """An ordinary planner, from raw inputs to its plan [P, 3]."""

    def __init__(self, planner: LearnedPlanner, cameras: Mapping[str, Size], names: tuple[str, ...]) -> None:
        super().__init__()
        self.planner, self.perceive, self.names = planner, Perceive(planner, cameras), names

    def forward(self, *tensors: Tensor) -> tuple[Tensor]:
        """(trajectory,)."""
        return (self.planner(self.perceive(self.by_name(tensors))).trajectory[0].float(),)


class Begin(_Named):
    """The first graph of a planner that refines: everything that is computed once."""

    def __init__(self, planner: Any, cameras: Mapping[str, Size], names: tuple[str, ...]) -> None:
        super().__init__()
        self.planner, self.perceive, self.names = planner, Perceive(planner, cameras), names

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The plan before any step, and the tensors of Progress."""
        given = self.by_name(tensors)
        scratchpad = given.pop(SCRATCHPAD)
        state = self.planner.begin(self.perceive(given), scratchpad)
        first = self.planner.finish(state).trajectory[0].float()
        return (first, *_flat(state.refining.progress))


class Step(nn.Module):
    """The second graph: one pass through the recurrent core."""

    def __init__(self, head: AnytimeHead) -> None:
        super().__init__()
        self.network = head.network

    def forward(self, *tensors: Tensor) -> tuple[Tensor]:
        """(scratchpad_out,) from scratchpad, prelude and what the core reads."""
        scratchpad, prelude, *core = tensors
        unused = KeysValues(*tensors[:1] * 3)
        read = tuple(KeysValues(*core[start : start + 3]) for start in range(0, len(core), 3))
        return (self.network.step(Progress(scratchpad, prelude, read, unused)).scratchpad,)


class Coda(nn.Module):
    """The third graph: the plan [P, 3] of a scratchpad, in metres and radians."""

    def __init__(self, head: AnytimeHead) -> None:
        super().__init__()
        self.network, self.units = head.network, head.pose_units

    def forward(self, scratchpad: Tensor, *coda: Tensor) -> tuple[Tensor]:
        """(trajectory,)."""
        plan = self.network.plan(Progress(scratchpad, scratchpad, (), KeysValues(*coda)))
        return (plan[0].float() * self.units,)


def planner_graphs(planner: LearnedPlanner, cameras: Mapping[str, Camera]) -> list[Graph]:
    """The graphs of a planner, for cameras of these sizes."""
    sizes = {name: camera.size for name, camera in cameras.items()}
    inputs = example_inputs(planner, cameras)
    if not isinstance(planner, RefinesPlans):
        plan = Plan(planner, sizes, tuple(inputs)).eval()
        return [Graph(name=PLAN, module=plan, inputs=inputs, outputs=(TRAJECTORY,))]
    head, inputs = planner.head, inputs | {SCRATCHPAD: cold_scratchpad(planner.head)}
    begin = Begin(planner, sizes, tuple(inputs)).eval()
    with torch.no_grad():
        _, *progress = begin(*inputs.values())
    names = _progress_names(len(head.network.core))
    named = dict(zip(names, progress, strict=True))
    core = {name: value for name, value in named.items() if not name.startswith(f"{CODA}_")}
    coda = {name: value for name, value in named.items() if name == SCRATCHPAD or name.startswith(f"{CODA}_")}
    return [
        Graph(name=BEGIN, module=begin, inputs=inputs, outputs=(TRAJECTORY, NEXT, *names[1:])),
        Graph(name=STEP, module=Step(head).eval(), inputs=core, outputs=(NEXT,)),
        Graph(name=CODA, module=Coda(head).eval(), inputs=coda, outputs=(TRAJECTORY,)),
    ]


def cold_scratchpad(head: AnytimeHead) -> Tensor:
    """The noise that a bundle starts from: the same in every car."""
    return head.network.noise(1, torch.Generator().manual_seed(NOISE_SEED))


def example_inputs(planner: LearnedPlanner, cameras: Mapping[str, Camera]) -> dict[str, Tensor]:
    """Inputs of one scene: black pictures, the given calibration, a car that drives straight ahead.

    Raises ConfigError where a camera, its calibration or a source of embeddings is missing.
    """
    needed = planner.needs.cameras
    if missing := [name for name in needed if name not in cameras]:
        raise ConfigError(f"the planner looks at {', '.join(missing)}, and no size of its pictures is known")
    inputs = {f"{PICTURE}{name}": torch.zeros(*cameras[name].size, 3, dtype=torch.uint8) for name in needed}
    if isinstance(planner.sensors.cameras, Surround):
        inputs |= _calibration(planner.sensors.cameras.names, cameras)
    inputs |= {VELOCITY: torch.tensor([[5.0, 0.0]]), ACCELERATION: torch.zeros(1, 2)}
    inputs[COMMAND] = torch.tensor([int(Command.STRAIGHT)])
    if (grid := planner.sensors.lidar) is not None:
        cells = round(2 * grid.half_m * grid.cells_per_m)
        inputs[LIDAR] = torch.zeros(1 + grid.ground, cells, cells)
    if planner.reads is not None and not isinstance(planner.latents, LivePredictor):
        raise ConfigError(
            "this planner reads a predictor's embeddings, and a car has no store: give predictor=CHECKPOINT, a "
            "student that runs inside the graph"
        )
    return inputs


def _calibration(names: tuple[str, ...], cameras: Mapping[str, Camera]) -> dict[str, Tensor]:
    for name in names:
        if cameras[name].intrinsics is None or cameras[name].camera_to_ego is None:
            raise ConfigError(f"{name} has no calibration, but this planner projects points into its picture")
    return {
        INTRINSICS: torch.tensor([cameras[name].intrinsics for name in names], dtype=torch.float32),
        POSES: torch.tensor([cameras[name].camera_to_ego for name in names], dtype=torch.float32),
    }


def _flat(progress: Progress) -> tuple[Tensor, ...]:
    return (progress.scratchpad, progress.prelude, *(part for read in progress.core for part in read), *progress.coda)


def _progress_names(layers: int) -> tuple[str, ...]:
    reads = [f"core_{layer}" for layer in range(layers)] + [CODA]
    parts = KeysValues._fields
    return (SCRATCHPAD, "prelude", *(f"{read}_{part}" for read in reads for part in parts))
