"""The nouns of latentdrive and the protocols between its stages.

Axes have the same letter everywhere: B batch, T frames, V cameras, C H W image, N points or objects, D width, A ego
latent-action slots, E environment slots, K codes, M proposals, P future poses. The ego frame's origin is the rear axle
at the item's first frame: x forward, y left, headings counter-clockwise in (-pi, pi]. The global frame is the map's:
x east, y north. Units are metres, seconds and radians; a scalar's name ends in its unit. Now is t = 0.
Dataclasses are built at borders (reading, predicting, scoring); inside a network, plain tensors are passed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8
from torch import Tensor

FROZEN = {"frozen": True, "kw_only": True, "slots": True}
FRONT = "front"  # the front camera's name in Scene.cameras; every other camera keeps its data set's name
FRONT_CAMERA = "cam_f0"  # NAVSIM's name of the front camera
MAP_ALIASES = {"las_vegas": "us-nv-las-vegas-strip"}  # other names of maps, as some logs write them
Moved = TypeVar("Moved", bound="Batch")


class PoseSource(StrEnum):
    """Where a clip's poses come from. Visual odometry has no metric scale; the clip's card states its unit."""

    RECORDED = "recorded"
    VISUAL_ODOMETRY = "visual_odometry"
    NONE = "none"


class Origin(StrEnum):
    """Which model made the codes. Those of `inverse_dynamics` depend on future frames: use them as targets only."""

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

    frames: RGB. times_s: presentation times. shots: number of the shot that each frame belongs to; no transition may
    join two shots. ego_poses: x, y, heading relative to the first frame. ego_speed_mps: forward speed. intrinsics:
    pinhole matrix in pixels of `frames`, None where the source gives none (code that guesses it records the guess).
    key: unique name of the clip. drive: name of the recording; bootstraps resample whole drives. known_poses: as
    ego_poses, but each from poses recorded up to its frame alone, NaN where none is recent; where it is known, no
    earlier row of ego_poses depends on a pose recorded after the frame. None if all of that holds for ego_poses.
    commands: a Command at every frame. ego_motion: recorded velocity (m/s) and acceleration (m/s^2), each forward and
    left. Optional fields are None where the recording lacks them.
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
    known_poses: Float32[np.ndarray, "T 3"] | None = None
    commands: Int64[np.ndarray, "T"] | None = None
    ego_motion: Float32[np.ndarray, "T 4"] | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def poses_causal(self) -> Bool[np.ndarray, "T"]:
        """Whether the pose of each frame can be told at the frame."""
        if self.known_poses is None:
            return np.full(len(self), self.ego_poses is not None)
        return ~np.isnan(self.known_poses[:, 0])


@dataclass(**FROZEN)
class ClipTruth:
    """The built-in world's ground truth of a clip, for probes and (boxes only) patch weights; never a network's input.

    N agents; rows of absent agents are NaN. agent_poses: x, y, heading in the ego frame of the clip's first frame.
    agent_sizes: length, width, height in metres. boxes: left, top, right, bottom as shares of image width and height,
    NaN where out of view. image_motion: for the transition from frame t to t + transition_frames, the image
    displacement (right, down; shares of width and height) that the agent's own motion causes, with ego motion removed;
    NaN where the agent is out of view at t. key: that of the DrivingClip.
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
    """Pooled states behind a prediction, in the teacher's widths; the student projects to the same widths.

    middle: the same states of a layer in the middle of the network; None where their maker was built without.
    """

    visual: Float[Tensor, "*batch Nv Dv"]
    action: Float[Tensor, "*batch A Da"]
    middle: "LatentFeatures | None" = None


@dataclass(**FROZEN)
class LatentActions(Batch):
    """What the driver did or will do, as codes of a codebook."""

    codes: Int64[Tensor, "*batch A"]  # ego codes in [0, K), ordered by transition, then slot
    environment: Int64[Tensor, "*batch E"] | None  # codes of the motion that the ego did not cause
    logits: Float[Tensor, "*batch A K"] | None
    features: LatentFeatures | None
    codebook_id: str  # fingerprint of the codebook, transition length included
    origin: Origin


@dataclass(**FROZEN)
class CameraImage:
    """One camera's picture at one time. intrinsics: in pixels; camera_to_ego: in metres; None where unknown."""

    pixels: UInt8[np.ndarray, "3 H W"]
    intrinsics: Float32[np.ndarray, "3 3"] | None
    camera_to_ego: Float32[np.ndarray, "4 4"] | None


@dataclass(**FROZEN)
class EgoHistory:
    """The ego's past, oldest first; the last row is now. Flags say what is known; unknown rows are 0."""

    times_s: Float64[np.ndarray, "T"]
    poses: Float32[np.ndarray, "T 3"]  # x, y, heading in the ego frame of now
    poses_known: bool
    velocity: Float32[np.ndarray, "T 2"]  # m/s, forward and left
    velocity_known: bool
    acceleration: Float32[np.ndarray, "T 2"]  # m/s^2, forward and left
    acceleration_known: bool
    command: Command
    command_known: bool


@dataclass(**FROZEN)
class Scene:
    """What the car sees now and saw before, and nothing later. cameras: name → images over time, oldest first.

    lidar: x, y, z in the ego frame of now (metres) and intensity; None unless requested. A requested sensor without
    data raises UnreadableScene. time_s: now, in seconds since the drive's clip began; with the drive, it addresses the
    scene's window in a latent store. None where the scene lies in no clip.
    """

    token: str
    drive: str
    cameras: dict[str, list[CameraImage]]
    ego: EgoHistory
    lidar: Float32[np.ndarray, "N 4"] | None = None
    time_s: float | None = None


def camera_key(camera: str) -> str:
    """The name of a camera in Scene.cameras. camera: NAVSIM's name in lower case."""
    return FRONT if camera == FRONT_CAMERA else camera


@dataclass(**FROZEN)
class Trajectory:
    """Poses (x, y, heading) in the ego frame of now, dt_s apart; the first lies dt_s after now. Any float precision.

    refined: how it came about, from a planner that refines its plan step by step.
    """

    poses: Float[np.ndarray, "*batch P 3"]
    dt_s: float
    refined: "Refined | None" = None


@dataclass(**FROZEN)
class Refined:
    """steps: that each plan took. movement: how far it still moved at the last one, in its planner's units; the
    larger, the less certain. NaN after fewer than two steps."""

    steps: Int64[np.ndarray, "*batch"]
    movement: Float32[np.ndarray, "*batch"]


@dataclass(**FROZEN)
class MapArea:
    """A polygon of the map, global frame. rings: exterior, then holes; the last point does not repeat the first."""

    id: str
    rings: tuple[Float64[np.ndarray, "_ 2"], ...]


@dataclass(**FROZEN)
class MapLane(MapArea):
    """A lane, or a lane connector, which joins two lanes. baseline: its centre line, in driving direction.

    roadblock: the roadblock (of a connector: the roadblock connector) that contains it. outgoing, incoming: of a lane
    its connectors, of a connector its lanes. speed_limit_mps: None where unknown. index: position in its roadblock, 0
    leftmost; None for connectors. has_light: a traffic light may stop traffic before this connector.
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
    """A roadblock connector: all connectors from one roadblock to another, through an intersection (None: unknown)."""

    from_roadblock: str
    to_roadblock: str
    intersection: str | None


@dataclass(**FROZEN)
class RoadMap:
    """Everything of a nuPlan map that is driven on or scored, in the map file's order. All ids are unique."""

    name: str  # nuPlan's, for example us-ma-boston
    lanes: tuple[MapLane, ...]
    connectors: tuple[MapLane, ...]
    roadblocks: tuple[MapArea, ...]
    roadblock_connectors: tuple[MapConnection, ...]
    intersections: tuple[MapArea, ...]
    carparks: tuple[MapArea, ...]
    crosswalks: tuple[MapArea, ...]  # for pictures and bird's-eye views only
    walkways: tuple[MapArea, ...]  # for pictures and bird's-eye views only


@dataclass(**FROZEN)
class TrackedObjects:
    """Objects annotated at one moment, in the log's order, global frame. poses: of the box centres.

    centre_z_m: height of the centre above the ego's z = 0 (for scenarios: z in the recording's own frame); scores do
    not use it. sizes: length, width, height. velocity: absolute, global axes, m/s. names: vehicle, pedestrian, bicycle,
    traffic_cone, barrier, czone_sign or generic_object. tracks: an object keeps its track id throughout a log.
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
    """One 2 Hz frame of a log as recorded: the ego's rear axle, all other objects, and the traffic lights."""

    token: str
    timestamp_us: int
    ego_pose: Float64[np.ndarray, "3"]  # global frame
    velocity: Float32[np.ndarray, "2"]  # m/s, forward and left
    acceleration: Float32[np.ndarray, "2"]  # m/s^2, forward and left
    command: Command
    objects: TrackedObjects
    lights: tuple[tuple[str, bool], ...]  # (lane connector, is red)


@dataclass(**FROZEN)
class SceneTruth:
    """What scoring and training targets may know of a scene, future included; no learned planner ever gets it.

    token, drive: those of the Scene. frames: history, now (at index `now`) and future, nominally 0.5 s apart. route:
    roadblocks in driving order, as logged. human: the future poses of the ego in the frame of now, as many as there
    are. map: of the whole place; its scenes share one object, so use a truth in the process that opened it. synthetic:
    rendered for NAVSIM v2's second stage. No human drove there: its score has no human filter, and the scenes of its
    log are no predecessors for the extended comfort.
    """

    token: str
    drive: str
    frames: tuple[LoggedFrame, ...]
    now: int
    route: tuple[str, ...]
    map: RoadMap
    human: Trajectory
    synthetic: bool


@dataclass(**FROZEN)
class SceneBatch(Batch):
    """Scenes as tensors, for teacher and student. Rows that are unknown are 0 and flagged False."""

    images: UInt8[Tensor, "B T 3 H W"]  # front camera, oldest first, last now, T = 1 + history_frames
    velocity: Float[Tensor, "B 2"]  # now, m/s, forward and left
    velocity_known: Bool[Tensor, "B"]
    acceleration: Float[Tensor, "B 2"]  # now, m/s^2, forward and left
    acceleration_known: Bool[Tensor, "B"]
    command: Int64[Tensor, "B"]  # values of Command
    command_known: Bool[Tensor, "B"]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(**FROZEN)
class SensorNeeds:
    """Sensors a planner takes. cameras: NAVSIM's names, lower case. frames: "now", or "all" of the history."""

    cameras: tuple[str, ...]
    frames: str
    lidar: bool


@runtime_checkable
class ClipSource(Protocol):
    """A list of clips. Indexing opens a clip, or raises UnreadableClip."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> DrivingClip: ...


@runtime_checkable
class SceneSource(Protocol):
    """Scenes by token. Indexing opens a scene, or raises UnreadableScene, as every other method does.

    truth: raises MapError where the map is missing. drive: the recording; statistics resample whole drives. location:
    the file that the scene is read from. start: time of now in microseconds, and the rear axle's pose then, global.
    summary: what the source found and left out, in a few lines.
    """

    tokens: Sequence[str]

    def __getitem__(self, token: str) -> Scene: ...
    def truth(self, token: str) -> SceneTruth: ...
    def drive(self, token: str) -> str: ...
    def location(self, token: str) -> Path: ...
    def start(self, token: str) -> tuple[int, Float64[np.ndarray, "3"]]: ...
    def summary(self) -> str: ...


@runtime_checkable
class TwoStage(Protocol):
    """A SceneSource that holds both stages of a split.

    second_stages: the entries of the split's mapping whose scenes are all there; empty where the split has no mapping.
    incomplete: why the other entries are left out, by the token of their present scene. synthetic: tokens of the second
    stage.
    """

    second_stages: Sequence[Any]
    synthetic: Sequence[str]
    incomplete: Mapping[str, str]


@runtime_checkable
class FirstStage(Protocol):
    """A SceneSource without second stages. skipped_second_stages: how many of them its split names nevertheless."""

    skipped_second_stages: int


@dataclass(**FROZEN)
class BoxCounts:
    """Annotated boxes of a scene. lost: left out, because their place or size is unknown. estimated: kept, with a
    velocity or heading that follows from the same object's other positions."""

    lost: int
    estimated: int


@runtime_checkable
class DescribesScenes(Protocol):
    """A SceneSource that says what decides its scenes, as plain values for the stamp of a score.

    filter: keys of NAVSIM's scene filter. data_split. incomplete_scenes: left out by complete_only. substrate: folder,
    number and fingerprint of second-stage scenes.
    """

    def description(self) -> dict[str, Any]: ...


@runtime_checkable
class CountsBoxes(Protocol):
    """A SceneSource that knows which annotated boxes its truths lack. box_counts raises UnreadableScene."""

    def box_counts(self, token: str) -> BoxCounts: ...


@runtime_checkable
class Timed(Protocol):
    """A SceneSource whose scenes lie in clips, at `time_s` seconds: a latent store can hold their windows.

    clip_files: the files of a scene's clip that are there, as the source of clips names them.
    """

    def drive(self, token: str) -> str: ...
    def time_s(self, token: str) -> float: ...
    def clip_files(self, token: str) -> Sequence[Path]: ...


@runtime_checkable
class LatentPredictor(Protocol):
    """A model that predicts ego latent actions from scenes: teacher or student."""

    codebook_id: str

    def predict(self, batch: SceneBatch) -> LatentActions: ...


@runtime_checkable
class Planner(Protocol):
    """Plans from what the car sees: one trajectory per scene, poses [B, P, 3] in the ego frame of now."""

    needs: SensorNeeds

    def plan(self, scenes: Sequence[Scene]) -> Trajectory: ...


@runtime_checkable
class PrivilegedPlanner(Protocol):
    """Plans from the truth, future included: the human driver and PDM-Closed. No learned planner may implement it."""

    privileged: bool  # True
    takes: type  # SceneTruth, or ScoringScene, which is prepared from it

    def plan(self, truths: Sequence[SceneTruth]) -> Trajectory: ...


@runtime_checkable
class OfficialWeights(Protocol):
    """A model that can start from weights published elsewhere, such as NAVSIM's Lightning checkpoints.

    load_official: replaces the model's weights by the file's. Raises CheckpointError if they do not fit.
    """

    def load_official(self, file: str | Path) -> None: ...
