"""The nouns of latentdrive and the protocols between its stages.

Axes, the same letters everywhere: B batch, T frames, V cameras, C H W image, N points or objects, D width, A ego
latent-action slots, E environment slots, K codes, M proposals, P future poses. Ego frame: rear axle at the first frame of the item, x
forward, y left, heading counter-clockwise in (-pi, pi]. Global frame: the map's, x east, y north. Metres, seconds, radians.
Present is t = 0. A scalar carries its unit in its name.

Dataclasses are built at borders (reading, predicting, scoring); inside a network plain tensors are passed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8
from torch import Tensor

FROZEN = {"frozen": True, "kw_only": True, "slots": True}
Moved = TypeVar("Moved", bound="Batch")


class PoseSource(StrEnum):
    """Where a clip's poses come from. Visual odometry knows no metres: its unit is stated in the clip's card."""

    RECORDED = "recorded"
    VISUAL_ODOMETRY = "visual_odometry"
    NONE = "none"


class Origin(StrEnum):
    """Who made the codes. Codes of origin `inverse_dynamics` have seen the future: training targets only."""

    INVERSE_DYNAMICS = "inverse_dynamics"
    TEACHER = "teacher"
    STUDENT = "student"


class Command(IntEnum):
    """Driving command, in NAVSIM's order."""

    LEFT = 0
    STRAIGHT = 1
    RIGHT = 2
    UNKNOWN = 3


@dataclass(**FROZEN)
class DrivingClip:
    """Frames over time from one forward camera, evenly spaced in time except across cuts.

    frames: RGB. times_s: presentation times. shots: number of the shot each frame belongs to; no transition may join
    two shots. ego_poses: x, y, heading relative to the first frame, or None. ego_speed_mps: forward speed, or None.
    intrinsics: pinhole matrix in pixels of `frames`, or None where nothing was given (a guess is recorded by its user).
    drive: what is resampled together in a bootstrap; key: unique name of the clip. poses_causal: False where a pose was
    interpolated towards a recorded one that lies more than half a step of the frames later; None where none was. commands: one of
    Command at every frame; ego_motion: velocity (m/s) and acceleration (m/s^2), forward and left, as the car itself recorded them: None
    where the recording has none.
    """

    frames: UInt8[np.ndarray, "T 3 H W"]
    times_s: Float64[np.ndarray, "T"]
    shots: Int64[np.ndarray, "T"]
    ego_poses: Float32[np.ndarray, "T 3"] | None
    ego_speed_mps: Float32[np.ndarray, "T"] | None
    pose_source: PoseSource
    intrinsics: Float32[np.ndarray, "3 3"] | None
    key: str
    drive: str
    poses_causal: Bool[np.ndarray, "T"] | None = None
    commands: Int64[np.ndarray, "T"] | None = None
    ego_motion: Float32[np.ndarray, "T 4"] | None = None

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(**FROZEN)
class ClipTruth:
    """What the built-in world knows of a clip; for probes, and (boxes only) for patch weights. Never a network's input.

    N agents; rows of absent agents are NaN. agent_poses: x, y, heading in the ego frame of the clip's first frame.
    agent_sizes: length, width, height in metres. boxes: left, top, right, bottom as shares of image width and height,
    NaN where out of view. image_motion: for the transition from frame t to t + transition_frames, the image displacement
    (right, down; shares of width and height) that the agent's own motion causes, ego motion removed; NaN where the agent
    is not in view at t. key: that of the DrivingClip.
    """

    times_s: Float64[np.ndarray, "T"]
    agent_poses: Float32[np.ndarray, "T N 3"]
    agent_sizes: Float32[np.ndarray, "N 3"]
    boxes: Float32[np.ndarray, "T N 4"]
    image_motion: Float32[np.ndarray, "T N 2"]
    transition_s: float
    key: str


class Batch:
    """Mixin of batch dataclasses: every tensor field (and nested batch) moves together."""

    __slots__ = ()

    def to(self: Moved, *args, **kwargs) -> Moved:
        """The same batch with every tensor moved or cast as by `Tensor.to`."""
        return self._map(lambda tensor: tensor.to(*args, **kwargs))

    def pin_memory(self: Moved) -> Moved:
        """The same batch in page-locked memory."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self: Moved, change) -> Moved:
        changed = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = change(value)
            elif isinstance(value, Batch):
                changed[field.name] = value._map(change)
        return replace(self, **changed)


@dataclass(**FROZEN)
class LatentFeatures(Batch):
    """Pooled states behind a prediction, in the teacher's widths; the student projects to the same widths."""

    visual: Float[Tensor, "*batch Nv Dv"]
    action: Float[Tensor, "*batch A Da"]


@dataclass(**FROZEN)
class LatentActions(Batch):
    """What the driver did or will do, as small integers.

    codes: ego codes in [0, K), transition first, then code. environment: codes of what the rest of the world did, or None.
    logits: over the K codes, or None. codebook_id: fingerprint of the codebook, transition length included.
    """

    codes: Int64[Tensor, "*batch A"]
    environment: Int64[Tensor, "*batch E"] | None
    logits: Float[Tensor, "*batch A K"] | None
    features: LatentFeatures | None
    codebook_id: str
    origin: Origin


@dataclass(**FROZEN)
class CameraImage:
    """One camera's picture at one time. intrinsics in pixels, camera_to_ego in metres; None where unknown."""

    pixels: UInt8[np.ndarray, "3 H W"]
    intrinsics: Float32[np.ndarray, "3 3"] | None
    camera_to_ego: Float32[np.ndarray, "4 4"] | None


@dataclass(**FROZEN)
class EgoHistory:
    """The ego's past, oldest first, last row now.

    poses: x, y, heading in the ego frame of now. velocity in m/s and acceleration in m/s^2: forward, left. Each with a
    flag that says whether it is known; unknown rows are 0.
    """

    times_s: Float64[np.ndarray, "T"]
    poses: Float32[np.ndarray, "T 3"]
    poses_known: bool
    velocity: Float32[np.ndarray, "T 2"]
    velocity_known: bool
    acceleration: Float32[np.ndarray, "T 2"]
    acceleration_known: bool
    command: Command
    command_known: bool


@dataclass(**FROZEN)
class Scene:
    """What the car sees now and saw before, and nothing later. cameras: name → images over time, oldest first, last now.

    lidar: x, y, z in the ego frame of now (metres) and intensity; None where nobody asked for it. A sensor that was asked for
    and is not there is an UnreadableScene. time_s: now, in seconds since the drive's clip began: with the drive, its window's address in a
    latent store; None where no clip belongs to it.
    """

    token: str
    drive: str
    cameras: dict[str, list[CameraImage]]
    ego: EgoHistory
    lidar: Float32[np.ndarray, "N 4"] | None = None
    time_s: float | None = None


@dataclass(**FROZEN)
class Trajectory:
    """Poses (x, y, heading) in the ego frame of now, dt_s apart; the first one lies dt_s after now. Precision is kept as given."""

    poses: Float[np.ndarray, "*batch P 3"]
    dt_s: float


@dataclass(**FROZEN)
class MapArea:
    """A polygon of the map in the global frame. rings: exterior first, then holes; the last point does not repeat the first."""

    id: str
    rings: tuple[Float64[np.ndarray, "_ 2"], ...]


@dataclass(**FROZEN)
class MapLane(MapArea):
    """A lane, or a lane connector (what joins two lanes in an intersection). baseline: its centre line, in driving direction.

    roadblock: the roadblock, or roadblock connector, that it lies in. outgoing, incoming: a lane's connectors, a connector's
    lane. speed_limit_mps: None where unknown. index: 0 is the leftmost lane of its roadblock; None for connectors.
    has_light: a traffic light may stop traffic before this connector.
    """

    roadblock: str
    baseline: Float64[np.ndarray, "n 2"]
    outgoing: tuple[str, ...]
    incoming: tuple[str, ...]
    speed_limit_mps: float | None
    index: int | None
    has_light: bool


@dataclass(**FROZEN)
class MapConnection(MapArea):
    """A roadblock connector: all ways from one roadblock to another, through an intersection (None where unknown)."""

    from_roadblock: str
    to_roadblock: str
    intersection: str | None


@dataclass(**FROZEN)
class RoadMap:
    """Everything of a nuPlan map that is driven on or scored. Ids are unique over all kinds; order is that of the map file.

    name: nuPlan's name of the place, us-ma-boston for example. walkways, crosswalks: for pictures and bird's-eye views alone.
    """

    name: str
    lanes: tuple[MapLane, ...]
    connectors: tuple[MapLane, ...]
    roadblocks: tuple[MapArea, ...]
    roadblock_connectors: tuple[MapConnection, ...]
    intersections: tuple[MapArea, ...]
    carparks: tuple[MapArea, ...]
    crosswalks: tuple[MapArea, ...]
    walkways: tuple[MapArea, ...]


@dataclass(**FROZEN)
class TrackedObjects:
    """Objects annotated at one moment, in the log's order, global frame. poses: centre. sizes: length, width, height. centre_z_m:
    height of the centre above the ego's z = 0 (in the recording's own frame for scenarios); scores do not use it.

    velocity: absolute, global axes, m/s. names: vehicle, pedestrian, bicycle, traffic_cone, barrier, czone_sign or
    generic_object. tracks: the same object has the same name all through a log.
    """

    poses: Float64[np.ndarray, "N 3"]
    centre_z_m: Float64[np.ndarray, "N"]
    sizes: Float64[np.ndarray, "N 3"]
    velocity: Float64[np.ndarray, "N 2"]
    names: tuple[str, ...]
    tracks: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


@dataclass(**FROZEN)
class LoggedFrame:
    """One 2 Hz frame of a log as it was: the ego, everybody else, and the lights.

    ego_pose: rear axle, global frame. velocity (m/s), acceleration (m/s^2): rear axle, forward and left. lights: lane
    connector and whether it is red.
    """

    token: str
    timestamp_us: int
    ego_pose: Float64[np.ndarray, "3"]
    velocity: Float32[np.ndarray, "2"]
    acceleration: Float32[np.ndarray, "2"]
    command: Command
    objects: TrackedObjects
    lights: tuple[tuple[str, bool], ...]


@dataclass(**FROZEN)
class SceneTruth:
    """What scoring and training targets may know of a scene, future included; no planner is ever given it.

    token, drive: those of the Scene. frames: history, now (at index `now`) and future, 0.5 s apart by name. route: roadblocks
    in the order they were driven, as logged. human: the future poses of the ego in the frame of now, as many as there are. map:
    that of the whole place, shared by all its scenes: a truth is used in the process that opened it, not sent to another.
    """

    token: str
    drive: str
    frames: tuple[LoggedFrame, ...]
    now: int
    route: tuple[str, ...]
    map: RoadMap
    human: Trajectory


@dataclass(**FROZEN)
class SceneBatch(Batch):
    """Scenes as tensors: what teacher, student and planners are given.

    images: front camera, oldest first, last now, T = 1 + history_frames. velocity (m/s), acceleration (m/s^2): forward,
    left, now; rows that are unknown are 0 and flagged False. command: one of Command.
    """

    images: UInt8[Tensor, "B T 3 H W"]
    velocity: Float[Tensor, "B 2"]
    velocity_known: Bool[Tensor, "B"]
    acceleration: Float[Tensor, "B 2"]
    acceleration_known: Bool[Tensor, "B"]
    command: Int64[Tensor, "B"]
    command_known: Bool[Tensor, "B"]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(**FROZEN)
class PdmScores(Batch):
    """What NAVSIM's score says about M trajectories in each of B scenes; every sub-score and the total lie in [0, 1].

    tokens: of the scenes. version: stamp of the score. Sub-scores that a version does not have are None; names are the columns of
    the devkit's result file. score: the total. valid: False where a trajectory can't be scored (its scores are 0; `failures`
    says why, by token). progress_m: along the route's centre line; reference_progress_m: PDM-Closed's, times its multiplicative
    sub-scores. product: multiplicative sub-scores, multiplied. collision_step, ttc_step: first state (0.1 s apart, 0 is now) of an
    at-fault collision, of a too short time to collision; -1 for none. collision_track, ttc_track: index into `tracks` of who was hit, who
    came too close; -1 for none.
    states: simulated, global frame, columns as in pdms/scene.py; None unless asked for.
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


@dataclass(**FROZEN)
class SensorNeeds:
    """What a planner wants opened. cameras: names as in NAVSIM, lower case. frames: now, or all of the history."""

    cameras: tuple[str, ...]
    frames: str
    lidar: bool


@runtime_checkable
class ClipSource(Protocol):
    """A list of clips. Indexing opens the clip, and raises UnreadableClip where that fails."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> DrivingClip: ...


@runtime_checkable
class SceneSource(Protocol):
    """Decision points by token. Indexing opens the scene, and raises UnreadableScene where that fails."""

    tokens: Sequence[str]

    def __getitem__(self, token: str) -> Scene: ...

    def truth(self, token: str) -> SceneTruth: ...


@runtime_checkable
class LatentPredictor(Protocol):
    """Anything that predicts ego latent actions from scenes: teacher or student."""

    codebook_id: str

    def predict(self, batch: SceneBatch) -> LatentActions: ...


@runtime_checkable
class Planner(Protocol):
    """Anything that plans from what the car sees. `plan` gives one trajectory a scene, poses [B, P, 3], ego frame of now."""

    needs: SensorNeeds

    def plan(self, scenes: Sequence[Scene]) -> Trajectory: ...


@runtime_checkable
class PrivilegedPlanner(Protocol):
    """The human and PDM-Closed: they are given the truth, future included. Nothing learned may implement it."""

    privileged: bool  # True
    takes: type  # SceneTruth, or what scoring prepares of it

    def plan(self, truths: Sequence[SceneTruth]) -> Trajectory: ...


@runtime_checkable
class OfficialWeights(Protocol):
    """A model that can start from weights published elsewhere (for planners: NAVSIM's Lightning checkpoints).

    `load_official` replaces the model's weights by those of the file. It raises CheckpointError where they do not fit.
    """

    def load_official(self, file: str | Path) -> None: ...


FRONT = "front"
