"""One scenario with everything that is derived from it: map, route, commands and motion, frame by frame.

Between file.py, road_map.py and route.py, which read and derive, and scene_source.py, which cuts
decision points from the frames. Recorded velocities look ahead, so velocity and acceleration are
computed from positions here.
"""

from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Float64

from latentdrive.data.scenarios.file import FRAME_S, Scenario
from latentdrive.data.scenarios.road_map import read_road_map
from latentdrive.data.scenarios.route import DrivenLanes, connectors_under
from latentdrive.geometry import relative_pose
from latentdrive.types import Command, LoggedFrame, RoadMap, TrackedObjects


class LoggedScenario:
    """A scenario as logged frames. Each derived part is computed when it is first needed."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario

    @cached_property
    def road_map(self) -> RoadMap:
        """The map in nuPlan's structure."""
        lit = {lane for frame in self.scenario.lights for lane, _ in frame}
        return read_road_map(self.scenario.features, name=self.scenario.location, lit=lit)

    @cached_property
    def driven(self) -> DrivenLanes:
        """The lanes that the ego drove on."""
        return DrivenLanes(self.road_map, self.scenario.path_poses)

    @cached_property
    def commands(self) -> tuple[Command, ...]:
        """NAVSIM's driving command at every frame."""
        return self.driven.commands(self.scenario.ego_poses)

    @cached_property
    def motion(self) -> tuple[Float32[np.ndarray, "F 2"], Float32[np.ndarray, "F 2"]]:
        """Velocity and acceleration of the ego at every frame; see `ego_motion`."""
        return ego_motion(self.scenario.ego_poses)

    @cached_property
    def velocities(self) -> Float64[np.ndarray, "N F 2"]:
        """Velocity of every track at every frame; see `track_velocity`."""
        tracks = self.scenario.tracks
        return track_velocity(tracks.poses, tracks.valid, tracks.velocity)

    def token(self, row: int) -> str:
        """Name of a frame: the scenario, and seconds since it began."""
        since_s = self.scenario.times_s[row] - self.scenario.times_s[0]
        return f"{self.scenario.id}@{since_s:.1f}"

    def frame(self, row: int) -> LoggedFrame:
        """One frame, with the tracks that are valid then."""
        scenario, tracks = self.scenario, self.scenario.tracks
        valid = np.flatnonzero(tracks.valid[:, row])
        velocity, acceleration = self.motion
        return LoggedFrame(
            token=self.token(row),
            timestamp_us=time_us(scenario, row),
            ego_pose=scenario.ego_poses[row],
            velocity=velocity[row],
            acceleration=acceleration[row],
            command=self.commands[row],
            objects=TrackedObjects(
                poses=tracks.poses[valid, row],
                centre_z_m=tracks.centre_z_m[valid, row],
                sizes=tracks.sizes[valid, row],
                velocity=self.velocities[valid, row],
                names=tuple(tracks.names[k] for k in valid),
                tracks=tuple(tracks.ids[k] for k in valid),
            ),
            lights=connectors_under(self.road_map, scenario.lights[row]),
        )


def time_us(scenario: Scenario, row: int) -> int:
    """Time of a frame in microseconds, by the recording's own clock."""
    return round(scenario.times_s[row] * 1e6)


def ego_motion(poses: Float64[np.ndarray, "F 3"]) -> tuple[Float32[np.ndarray, "F 2"], Float32[np.ndarray, "F 2"]]:
    """Velocity (m/s) and acceleration (m/s^2) of the rear axle, forward and left in the ego frame of each frame.

    Both are backward differences over FRAME_S. Velocity is that of the step which led to a frame,
    along the mean heading of this step, so that a turn is no slip. Acceleration is the change of
    the velocity in the global frame, turning included. A frame uses no later one, except at the
    start of a run of known poses: the first frame repeats the velocity of the second, and the first
    two repeat the acceleration of the third. NaN where too little is known around a frame.
    """
    step = relative_pose(poses[:-1], poses[1:])
    half = step[:, 2] / 2
    velocity = np.full((len(poses), 2), np.nan)
    velocity[1:] = _turned(step[:, :2], -half) / FRAME_S
    _repeat_backward(velocity, 1)
    velocity_global = _turned(velocity, poses[:, 2])
    acceleration = np.full((len(poses), 2), np.nan)
    # The first velocity is a copy of the second, so differences begin with the third.
    own = np.concatenate([[False], np.isfinite(poses[:-1]).all(-1)])
    change = np.diff(velocity_global, axis=0) / FRAME_S
    acceleration[1:] = np.where((own[1:] & own[:-1])[:, None], _turned(change, -poses[1:, 2]), np.nan)
    _repeat_backward(acceleration, 2)
    return velocity.astype(np.float32), acceleration.astype(np.float32)


def track_velocity(
    poses: Float64[np.ndarray, "N F 3"], valid: Bool[np.ndarray, "N F"], recorded: Float64[np.ndarray, "N F 2"]
) -> Float64[np.ndarray, "N F 2"]:
    """Velocity of tracks in the global frame, from the frames on both sides if both are known, else from one of them.

    The recorded velocity is used only where neither is known, because exporters write differences
    to the next row, and 0 at a track's end.
    """
    before, after = np.zeros_like(valid), np.zeros_like(valid)
    before[:, 1:] = valid[:, :-1]
    after[:, :-1] = valid[:, 1:]
    frames = np.arange(valid.shape[1])
    first, last = frames - before, frames + after
    rows = np.arange(len(valid))[:, None]
    way = poses[rows, last, :2] - poses[rows, first, :2]
    steps = (last - first)[..., None]
    return np.where(steps > 0, way / (np.maximum(steps, 1) * FRAME_S), recorded)


def _repeat_backward(rows: Float64[np.ndarray, "F 2"], count: int) -> None:
    """Copies each known row into up to `count` NaN rows before it, in place."""
    for _ in range(count):
        empty = np.isnan(rows[:-1]).any(-1) & np.isfinite(rows[1:]).all(-1)
        rows[:-1][empty] = rows[1:][empty]


def _turned(vectors: Float64[np.ndarray, "F 2"], angle: Float64[np.ndarray, "F"]) -> Float64[np.ndarray, "F 2"]:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * vectors[:, 0] - sin * vectors[:, 1], sin * vectors[:, 0] + cos * vectors[:, 1]], -1)
