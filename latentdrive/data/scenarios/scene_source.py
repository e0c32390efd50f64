"""Recorded traffic without cameras in ScenarioNet form (exports of nuScenes, nuPlan, Waymo) as decision points.

A SceneSource for whatever plans from states and maps alone, and for scoring: the ego's history,
everybody's tracks, lanes and lights. One file is one drive of some 20 s. file.py reads it,
road_map.py makes nuPlan's map of its lanes, route.py finds the lanes that the ego drove on, and
logged_scenario.py joins them.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from latentdrive.counting import counted
from latentdrive.data.scenarios.file import FRAME_S, read_scenario
from latentdrive.data.scenarios.lane_pieces import centre_line, is_lane
from latentdrive.data.scenarios.logged_scenario import LoggedScenario, time_us
from latentdrive.data.scene_settings import SceneSettings
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.errors import ConfigError, NoScenes, UnreadableLogFile, UnreadableScene
from latentdrive.geometry import relative_pose
from latentdrive.lru_cache import LruCache
from latentdrive.progress import Progress
from latentdrive.types import Command, EgoHistory, Scene, SceneTruth, Trajectory

PAST, LEAST_FUTURE = 3, 8  # frames before now, and the smallest number after it that can be scored
INDEX_FILES = ("dataset_summary.pkl", "dataset_mapping.pkl")  # what ScenarioNet writes beside its scenarios
OPEN_SCENARIOS = 16  # scenarios kept in memory: points of one scenario are usually needed together


@dataclass(frozen=True, kw_only=True)
class ScenarioSettings(SceneSettings):
    """`scenes:` of configs/data/scenarios.yaml; the fields are arguments of ScenarioLogs."""

    future_frames: int
    ego_ahead_m: float
    command: str

    def content(self) -> dict[str, Any]:
        """Everything but the share of unreadable files."""
        # Ids of the first scoring stores contain `_target_` and `_partial_`: without them all
        # stores would be remade.
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

    A point has its own frame, three frames before it and `future_frames` (8 or more; NAVSIM v1's
    score needs 10) after it, and the ego is known in all of them. Scenes hold no camera and no
    lidar, only the ego. Nothing later than the point enters its Scene.

    path: a scenario file, or a folder that is searched for *.pkl in sorted order. ego_ahead_m: how
    far the ego's recorded position lies ahead of its rear axle. It is 0 for nuScenes exports: their
    ego positions are the rear axle, while other tracks have centres. (In scene-0061, which turns by
    98 degrees, this point moves along the heading within 1.5 cm per half second. A point 1.4 m
    behind, where the rear axle would be if the position were the centre, slips by 14 cm.) command:
    "unknown", or "route" for NAVSIM's command from the lanes that the ego drove on afterwards,
    which is knowledge of the future; frames of the truth always have it. max_unreadable: share of
    the files that may be unreadable, see UnreadableLog.

    Velocity and acceleration are backward differences of the ego's positions; see
    logged_scenario.ego_motion. Sizes of the ego are not used, because nuScenes exports exchange its
    length and width.
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
        self._open: LruCache[str, LoggedScenario] = LruCache(OPEN_SCENARIOS)
        self._counts = {"tracks": 0, "no_size": 0, "not_finite": 0, "leaps": 0, "no_centre_line": 0, "no_point": 0}
        files = self._find()
        self.unreadable = UnreadableLog(clips=len(files), max_unreadable=max_unreadable, file=None)
        for index, file in enumerate(files):
            try:
                self._add_points(file)
            except UnreadableLogFile as error:
                self.unreadable.add(index, error)
        if not self._points:
            last = "" if self.unreadable.last is None else f"; the last unreadable one: {self.unreadable.last}"
            raise NoScenes(
                f"{self.path}: none of {counted(len(files), 'file')} gives a decision point "
                f"({self.unreadable.unreadable()} unreadable, {self._counts['no_point']} shorter than "
                f"{self._shortest_s:g} s of known ego){last}"
            )

    @property
    def tokens(self) -> tuple[str, ...]:
        """Names of the decision points: the scenario, and seconds since it began."""
        return tuple(self._points)

    def __len__(self) -> int:
        return len(self._points)

    def __getitem__(self, token: str) -> Scene:
        """The ego's history up to a point. Raises UnreadableScene."""
        logged, now = self._at(token)
        rows = slice(now - PAST, now + 1)
        times, poses = logged.scenario.times_s[rows], logged.scenario.ego_poses[rows]
        velocity, acceleration = logged.motion
        command = logged.commands[now] if self.command == "route" else Command.UNKNOWN
        return Scene(
            token=token,
            drive=logged.scenario.id,
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
        """Everything about a point: `future_frames` frames after now, and the route of the whole drive.

        Raises UnreadableScene.
        """
        logged, now = self._at(token)
        stop = now + 1 + self.future_frames
        poses = logged.scenario.ego_poses[now:stop]
        return SceneTruth(
            token=token,
            drive=logged.scenario.id,
            frames=tuple(logged.frame(row) for row in range(now - PAST, stop)),
            now=PAST,
            route=logged.driven.route,
            map=logged.road_map,
            human=Trajectory(poses=relative_pose(np.broadcast_to(poses[:1], poses[1:].shape), poses[1:]), dt_s=FRAME_S),
            synthetic=False,
        )

    def drive(self, token: str) -> str:
        """Id of the scenario that holds a point. Raises UnreadableScene."""
        return self._known(token)[0]

    def location(self, token: str) -> Path:
        """File of the scenario that holds a point. Raises UnreadableScene."""
        return self._files[self.drive(token)][0]

    def start(self, token: str) -> tuple[int, Float64[np.ndarray, "3"]]:
        """Time of now in microseconds, and the rear axle's pose then, global. Raises UnreadableScene."""
        logged, now = self._at(token)
        return time_us(logged.scenario, now), logged.scenario.ego_poses[now]

    def place(self, token: str) -> str:
        """Name of a point's map, as the exporter wrote it."""
        return self._files[self.drive(token)][1]

    def summary(self) -> str:
        """What was found and what was left out, in one line."""
        counts = self._counts
        text = (
            f"{counted(len(self), 'decision point')} of {counted(len(self._files), 'scenario')}, "
            f"{counted(counts['tracks'], 'track')}"
        )
        failed = self.unreadable.unreadable()
        text += f"; {counted(failed, 'file')} unreadable, the last one: {self.unreadable.last}" if failed else ""
        left_out = {
            "no_size": ("track", "without a size left out"),
            "not_finite": ("track", "cut where a number is NaN or infinite"),
            "leaps": ("leap", "of the ego's position cut out"),
            "no_centre_line": ("lane", "without a centre line left out"),
            "no_point": ("scenario", f"shorter than {self._shortest_s:g} s of known ego left out"),
        }
        texts = [f"; {counted(counts[key], noun)} {why}" for key, (noun, why) in left_out.items() if counts[key]]
        return text + "".join(texts)

    @property
    def _shortest_s(self) -> float:
        """Seconds of the shortest recording that has a point."""
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

    def _add_points(self, file: Path) -> None:
        """Add the points of one file, and count what it lacks."""
        scenario = read_scenario(file, ego_ahead_m=self.ego_ahead_m)
        if scenario.id in self._files:
            first = self._files[scenario.id][0]
            raise UnreadableLogFile(file, f"scenario {scenario.id} stands in {first} too: remove one of the two files")
        lanes = [feature for feature in scenario.features.values() if is_lane(feature)]
        self._counts["no_centre_line"] += sum(centre_line(lane) is None for lane in lanes)
        self._counts["tracks"] += len(scenario.tracks.ids)
        self._counts["no_size"] += scenario.no_size
        self._counts["not_finite"] += scenario.not_finite
        self._counts["leaps"] += scenario.leaps
        known = np.isfinite(scenario.ego_poses).all(-1)
        future = self.future_frames
        points = [now for now in range(PAST, len(known) - future) if known[now - PAST : now + future + 1].all()]
        if not points:
            self._counts["no_point"] += 1
            return
        self._files[scenario.id] = (file, scenario.location)
        logged = LoggedScenario(scenario)
        self._points |= {logged.token(now): (scenario.id, now) for now in points}

    def _known(self, token: str) -> tuple[str, int]:
        if token not in self._points:
            raise UnreadableScene(
                self.path, f"it has no decision point {token!r}; `tokens` lists its {counted(len(self), 'point')}"
            )
        return self._points[token]

    def _at(self, token: str) -> tuple[LoggedScenario, int]:
        """The scenario of a point, opened, and the number of the point's frame."""
        name, now = self._known(token)
        file = self._files[name][0]
        try:
            scenario = self._open.get(name, lambda: LoggedScenario(read_scenario(file, ego_ahead_m=self.ego_ahead_m)))
        except UnreadableLogFile as error:
            raise UnreadableScene(file, f"it changed since it was first read: {error.reason}") from error
        return scenario, now
