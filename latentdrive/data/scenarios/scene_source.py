"""Recorded traffic without cameras in ScenarioNet form (exports of nuScenes, nuPlan, Waymo) as decision points.

A SceneSource for whatever plans from states and maps alone, and for scoring: the ego's history, everybody's tracks, lanes and
lights. One file is one drive of some 20 s; scenario_file.py opens it, scenario_map.py makes nuPlan's map of its lanes,
scenario_route.py says which of them the ego drove.
"""

from collections import OrderedDict
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64

from latentdrive.data.scenarios.file import FRAME_S, Scenario, read_scenario
from latentdrive.data.scenarios.road_map import centre_line, is_lane, read_road_map
from latentdrive.data.scenarios.route import DrivenLanes, connectors_under
from latentdrive.data.scene_settings import SceneSettings
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.errors import ConfigError, NoScenes, UnreadableLogFile, UnreadableScene
from latentdrive.geometry import relative_pose
from latentdrive.progress import Progress
from latentdrive.types import (
    Command,
    EgoHistory,
    LoggedFrame,
    RoadMap,
    Scene,
    SceneTruth,
    TrackedObjects,
    Trajectory,
)

PAST, LEAST_FUTURE = 3, 8  # frames before now, and the fewest after it that can be scored
INDEX_FILES = ("dataset_summary.pkl", "dataset_mapping.pkl")  # what ScenarioNet writes beside its scenarios
OPEN_SCENARIOS = 16  # kept in memory: points of one scenario are usually asked for together


@dataclass(frozen=True, kw_only=True)
class ScenarioSettings(SceneSettings):
    """`scenes:` of configs/data/scenarios.yaml; the fields are arguments of ScenarioLogs."""

    future_frames: int
    ego_ahead_m: float
    command: str

    def content(self) -> dict[str, Any]:
        """Everything but the share of unreadable files."""
        # `_target_` and `_partial_` are part of the id since the first scoring stores; without them these would be made anew.
        return {
            "_target_": "ScenarioLogs",
            "_partial_": True,
            "path": self.path,
            "future_frames": self.future_frames,
            "ego_ahead_m": self.ego_ahead_m,
            "command": self.command,
        }

    def open(self, progress: Progress | None = None) -> "ScenarioLogs":
        """The source. Raises NoScenes."""
        return ScenarioLogs(**{field.name: getattr(self, field.name) for field in fields(self)})


class ScenarioLogs:
    """Decision points every 0.5 s of all scenarios below a folder (a SceneSource).

    A point has its own frame, three before it and `future_frames` (8 or more; 10 for NAVSIM v1's score) after it; the ego is known in
    all of them. Scenes hold no camera and no lidar, only the ego.
    path: a scenario file, or a folder that is searched for *.pkl in sorted order. ego_ahead_m: how far the recorded position of
    the ego lies ahead of its rear axle: 0 for nuScenes exports, whose ego positions are the rear axle itself (scene-0061 turns
    98 degrees: at this point motion stays within 1.5 cm a half second of the heading; 1.4 m behind, where the rear axle would
    be if it were the centre, 14 cm), while other tracks are centres. command: unknown, or route: NAVSIM's command from the
    lanes that the ego drove afterwards, which is knowledge of the future (the truth's frames have it in any case).
    max_unreadable: share of the files that may be unreadable, see UnreadableLog.

    Velocity and acceleration come from the ego's positions, by backward differences over one frame (the recorded velocities
    look ahead); the first frames, which have nothing before them, repeat those of the frame that has. Nothing later than the
    point enters its Scene. Ego sizes are not used: nuScenes exports exchange its length and width.
    """

    def __init__(
        self, *, path: str | Path, future_frames: int, ego_ahead_m: float, command: str, max_unreadable: float
    ) -> None:
        if future_frames < LEAST_FUTURE:
            raise ConfigError(f"data.scenes.future_frames must be {LEAST_FUTURE} or more, got {future_frames}")
        if command not in ("unknown", "route"):
            raise ConfigError(f"data.scenes.command must be unknown or route, got {command!r}")
        self.path, self.future_frames, self.ego_ahead_m = Path(path).expanduser(), future_frames, ego_ahead_m
        self.command = command
        self._points: dict[str, tuple[str, int]] = {}
        self._files: dict[str, tuple[Path, str]] = {}
        self._open: OrderedDict[str, _Drive] = OrderedDict()
        self._counts = {"tracks": 0, "no_size": 0, "not_finite": 0, "leaps": 0, "no_centre_line": 0, "no_point": 0}
        files = self._find()
        self.unreadable = UnreadableLog(clips=len(files), max_unreadable=max_unreadable, file=None)
        for index, file in enumerate(files):
            try:
                self._take(file)
            except UnreadableLogFile as error:
                self.unreadable.add(index, error)
        if not self._points:
            last = "" if self.unreadable.last is None else f"; the last unreadable one: {self.unreadable.last}"
            raise NoScenes(
                f"{self.path}: none of {len(files)} files gives a decision point ({self.unreadable.unreadable()} unreadable, "
                f"{self._counts['no_point']} shorter than {self._shortest_s:g} s of known ego){last}"
            )

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes: scenarios are opened anew there, not copied."""
        return self.__dict__ | {"_open": OrderedDict()}

    @property
    def tokens(self) -> tuple[str, ...]:
        """Names of the decision points: scenario, and seconds since it began."""
        return tuple(self._points)

    def __len__(self) -> int:
        return len(self._points)

    def __getitem__(self, token: str) -> Scene:
        drive, now = self._at(token)
        rows = slice(now - PAST, now + 1)
        times, poses = drive.scenario.times_s[rows], drive.scenario.ego_poses[rows]
        velocity, acceleration = drive.motion
        command = drive.commands[now] if self.command == "route" else Command.UNKNOWN
        return Scene(
            token=token,
            drive=drive.scenario.id,
            cameras={},
            ego=EgoHistory(
                times_s=times - times[-1],
                poses=relative_pose(np.broadcast_to(poses[-1:], poses.shape), poses).astype(np.float32),
                poses_known=True,
                velocity=velocity[rows],
                velocity_known=True,
                acceleration=acceleration[rows],
                acceleration_known=True,
                command=command,
                command_known=command != Command.UNKNOWN,
            ),
            lidar=None,
        )

    def truth(self, token: str) -> SceneTruth:
        """Everything of a point, future included: `future_frames` frames after now, and the route of the whole drive."""
        drive, now = self._at(token)
        stop = now + 1 + self.future_frames
        poses = drive.scenario.ego_poses[now:stop]
        return SceneTruth(
            token=token,
            drive=drive.scenario.id,
            frames=tuple(drive.frame(row) for row in range(now - PAST, stop)),
            now=PAST,
            route=drive.driven.route,
            map=drive.road_map,
            human=Trajectory(poses=relative_pose(np.broadcast_to(poses[:1], poses[1:].shape), poses[1:]), dt_s=FRAME_S),
            synthetic=False,
        )

    def drive(self, token: str) -> str:
        """The scenario of a point."""
        return self._known(token)[0]

    def location(self, token: str) -> Path:
        """The file of a point."""
        return self._files[self.drive(token)][0]

    def place(self, token: str) -> str:
        """Name of the map of a point, as the exporter wrote it."""
        return self._files[self.drive(token)][1]

    def summary(self) -> str:
        """One line for the end of a run: what there is, and what was left out."""
        counts = self._counts
        text = f"{len(self):,} decision points of {len(self._files):,} scenarios, {counts['tracks']:,} tracks"
        failed = self.unreadable.unreadable()
        text += f"; {failed} files unreadable, the last one: {self.unreadable.last}" if failed else ""
        left = {
            "no_size": "tracks without a size left out",
            "not_finite": "tracks cut where a number is NaN or infinite",
            "leaps": "leaps of the ego's position cut out",
            "no_centre_line": "lanes without a centre line left out",
            "no_point": f"scenarios shorter than {self._shortest_s:g} s of known ego left out",
        }
        return text + "".join(f"; {counts[key]} {what}" for key, what in left.items() if counts[key])

    @property
    def _shortest_s(self) -> float:
        """Of a recording with one point."""
        return (PAST + self.future_frames) * FRAME_S

    def _find(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        files = sorted(file for file in self.path.rglob("*.pkl") if file.name not in INDEX_FILES)
        if not files:
            raise NoScenes(
                f"{self.path} holds no scenario (*.pkl). Give the folder of the ScenarioNet files: data.path=FOLDER"
            )
        return files

    def _take(self, file: Path) -> None:
        """Note the points of one file, and count what it lacks."""
        scenario = read_scenario(file, ego_ahead_m=self.ego_ahead_m)
        if scenario.id in self._files:
            raise UnreadableLogFile(
                file, f"scenario {scenario.id} stands in {self._files[scenario.id][0]} too: remove one"
            )
        lanes = [one for one in scenario.features.values() if is_lane(one)]
        self._counts["no_centre_line"] += sum(centre_line(one) is None for one in lanes)
        self._counts["tracks"] += len(scenario.tracks.ids)
        self._counts["no_size"] += scenario.no_size
        self._counts["not_finite"] += scenario.not_finite
        self._counts["leaps"] += scenario.leaps
        known = np.isfinite(scenario.ego_poses).all(-1)
        after = self.future_frames
        points = [now for now in range(PAST, len(known) - after) if known[now - PAST : now + after + 1].all()]
        if not points:
            self._counts["no_point"] += 1
            return
        self._files[scenario.id] = (file, scenario.location)
        for now in points:
            since = scenario.times_s[now] - scenario.times_s[0]
            self._points[f"{scenario.id}@{since:.1f}"] = (scenario.id, now)

    def _known(self, token: str) -> tuple[str, int]:
        if token not in self._points:
            raise UnreadableScene(
                self.path, f"no decision point {token!r} here: `tokens` lists the {len(self):,} there are"
            )
        return self._points[token]

    def _at(self, token: str) -> tuple["_Drive", int]:
        name, now = self._known(token)
        if name not in self._open:
            file = self._files[name][0]
            try:
                self._open[name] = _Drive(read_scenario(file, ego_ahead_m=self.ego_ahead_m))
            except UnreadableLogFile as error:
                raise UnreadableScene(file, f"it changed since it was first read: {error.reason}") from error
            if len(self._open) > OPEN_SCENARIOS:
                self._open.popitem(last=False)
        self._open.move_to_end(name)
        return self._open[name], now


class _Drive:
    """One scenario and what is derived from it, each part when it is first asked for."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario

    @cached_property
    def road_map(self) -> RoadMap:
        lit = {lane for frame in self.scenario.lights for lane, _ in frame}
        return read_road_map(self.scenario.features, name=self.scenario.location, lit=lit)

    @cached_property
    def driven(self) -> DrivenLanes:
        return DrivenLanes(self.road_map, self.scenario.path_poses)

    @cached_property
    def commands(self) -> tuple[Command, ...]:
        return self.driven.commands(self.scenario.ego_poses)

    @cached_property
    def motion(self) -> tuple[Float32[np.ndarray, "F 2"], Float32[np.ndarray, "F 2"]]:
        return ego_motion(self.scenario.ego_poses)

    @cached_property
    def velocities(self) -> Float64[np.ndarray, "N F 2"]:
        tracks = self.scenario.tracks
        return track_velocity(tracks.poses, tracks.valid, tracks.velocity)

    def frame(self, row: int) -> LoggedFrame:
        scenario, tracks = self.scenario, self.scenario.tracks
        here = np.flatnonzero(tracks.valid[:, row])
        velocity, acceleration = self.motion
        since = scenario.times_s[row] - scenario.times_s[0]
        return LoggedFrame(
            token=f"{scenario.id}@{since:.1f}",
            timestamp_us=round(scenario.times_s[row] * 1e6),
            ego_pose=scenario.ego_poses[row],
            velocity=velocity[row],
            acceleration=acceleration[row],
            command=self.commands[row],
            objects=TrackedObjects(
                poses=tracks.poses[here, row],
                centre_z_m=tracks.centre_z_m[here, row],
                sizes=tracks.sizes[here, row],
                velocity=self.velocities[here, row],
                names=tuple(tracks.names[k] for k in here),
                tracks=tuple(tracks.ids[k] for k in here),
            ),
            lights=connectors_under(self.road_map, scenario.lights[row]),
        )


def ego_motion(poses: Float64[np.ndarray, "F 3"]) -> tuple[Float32[np.ndarray, "F 2"], Float32[np.ndarray, "F 2"]]:
    """Velocity (m/s) and acceleration (m/s^2) of the rear axle, forward and left in the ego frame of each frame.

    Both are backward differences over FRAME_S: velocity from the step that led to a frame, along the mean heading of that step
    (so a turn is no slip); acceleration from the change of the velocity in the global frame, turning included. No frame uses a
    later one but the first of a run of known poses (velocity: that of the second) and its first two (acceleration: that of the
    third). NaN where too little is known around a frame.
    """
    step = relative_pose(poses[:-1], poses[1:])
    half = step[:, 2] / 2
    velocity = np.full((len(poses), 2), np.nan)
    velocity[1:] = _turned(step[:, :2], -half) / FRAME_S
    _repeat_backward(velocity, 1)
    wide = _turned(velocity, poses[:, 2])
    acceleration = np.full((len(poses), 2), np.nan)
    # The step from the first frame led to its velocity too: differences begin with the third.
    fresh = np.concatenate([[False], np.isfinite(poses[:-1]).all(-1)])
    change = np.diff(wide, axis=0) / FRAME_S
    acceleration[1:] = np.where((fresh[1:] & fresh[:-1])[:, None], _turned(change, -poses[1:, 2]), np.nan)
    _repeat_backward(acceleration, 2)
    return velocity.astype(np.float32), acceleration.astype(np.float32)


def track_velocity(
    poses: Float64[np.ndarray, "N F 3"], valid: Bool[np.ndarray, "N F"], recorded: Float64[np.ndarray, "N F 2"]
) -> Float64[np.ndarray, "N F 2"]:
    """Velocity of tracks in the global frame, from the frames on both sides where both are known, else from one.

    The recorded one is taken only where neither is: exporters write differences to the next row, and 0 at a track's end.
    """
    before, after = np.zeros_like(valid), np.zeros_like(valid)
    before[:, 1:] = valid[:, :-1]
    after[:, :-1] = valid[:, 1:]
    here = np.arange(valid.shape[1])
    first, last = here - before, here + after
    rows = np.arange(len(valid))[:, None]
    way = poses[rows, last, :2] - poses[rows, first, :2]
    steps = (last - first)[..., None]
    return np.where(steps > 0, way / (np.maximum(steps, 1) * FRAME_S), recorded)


def _repeat_backward(rows: Float64[np.ndarray, "F 2"], count: int) -> None:
    """Fill up to `count` NaN rows before each known one with it, in place."""
    for _ in range(count):
        empty = np.isnan(rows[:-1]).any(-1) & np.isfinite(rows[1:]).all(-1)
        rows[:-1][empty] = rows[1:][empty]


def _turned(vectors: Float64[np.ndarray, "F 2"], angle: Float64[np.ndarray, "F"]) -> Float64[np.ndarray, "F 2"]:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * vectors[:, 0] - sin * vectors[:, 1], sin * vectors[:, 0] + cos * vectors[:, 1]], -1)
