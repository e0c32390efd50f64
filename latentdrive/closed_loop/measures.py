"""The numbers of a drive in closed loop, each defined once. docs/closed_loop.md describes them."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import shapely
import torch

from latentdrive.closed_loop.loop import FAILED, Drive
from latentdrive.closed_loop.settings import LoopSettings
from latentdrive.closed_loop.views import Views
from latentdrive.errors import UnreadableScene
from latentdrive.geometry import relative_pose
from latentdrive.pdms.prepare import prepare_scene
from latentdrive.pdms.scene import HEADING, STEPS, VX
from latentdrive.pdms.scorer import Scorer
from latentdrive.pdms.sub_scores.comfort import comfort
from latentdrive.pdms.versions import Version
from latentdrive.types import FROZEN, Trajectory
from latentdrive.world.navsim.live_drive import LiveDrive
from latentdrive.world.traffic.recording import Body

SHORTEST_PATH_M = 1.0  # a route that is shorter counts as driven
VERSION = Version.PDMS_V1_1
COLLISION_STEP = "collision_step"
SAME_TOUCH_STEPS = 5  # the score drives the path once more, so it may see a touch some steps earlier or later


@dataclass(**FROZEN)
class Measures:
    """The numbers of one drive. Definitions: docs/closed_loop.md. None where a drive is too short for a number."""

    score: float
    route_completion: float
    collisions: int
    at_fault: int
    off_road: int
    red_lights: int
    comfort: float | None
    stuck: bool
    km: float
    mean_speed_mps: float
    pdm: dict[str, float]

    @property
    def infractions(self) -> int:
        """Collisions at fault, times off the road, and red lights run."""
        return self.at_fault + self.off_road + self.red_lights

    def plain(self) -> dict[str, Any]:
        """The numbers and the infractions as plain values."""
        return asdict(self) | {"infractions": self.infractions}


def measure(done: Drive, live: LiveDrive, views: Views, body: Body, settings: LoopSettings, rate_hz: float) -> Measures:
    """Measure a drive that has ended."""
    moments = _moments(done, live, views)
    collisions, at_fault = _collisions(done, moments)
    metres = float(np.hypot(*np.diff(done.states[:, :2], axis=0).T).sum())
    planned = max(1, len(range(done.first, len(live) - STEPS + 1, views.every)))
    whole = [terms for row, terms in moments.items() if row + STEPS - 1 <= live.row]
    names = whole[0] if whole else {}
    return Measures(
        score=0.0 if done.ended == FAILED else sum(terms["score"] for terms in whole) / planned,
        route_completion=_completion(done, live),
        collisions=collisions,
        at_fault=at_fault,
        off_road=_times(~done.on_road),
        red_lights=_red_lights(done, live, body),
        comfort=_comfort(done, views.every),
        stuck=_stuck(done, live, settings, rate_hz),
        km=metres / 1000,
        mean_speed_mps=float(done.states[:, VX].mean()),
        pdm={name: float(np.mean([terms[name] for terms in whole])) for name in names if name != COLLISION_STEP},
    )


def _moments(done: Drive, live: LiveDrive, views: Views) -> dict[int, dict[str, float]]:
    """PDMS and its terms of the path that was driven after each 2 Hz moment; a cut path stays at its last pose."""
    rows, scenes, poses = [], [], []
    for row in range(done.first, live.row, views.every):
        try:
            scenes.append(prepare_scene(views.truth_at(row), VERSION.rules))
        except UnreadableScene:  # the car has left its route so far that the score has no reference there
            continue
        path = done.states[row - done.first :, : HEADING + 1][:STEPS]
        path = np.concatenate([path, np.repeat(path[-1:], STEPS - len(path), 0)])
        rows.append(row)
        poses.append(relative_pose(np.broadcast_to(path[0], path[1:].shape), path[1:]))
    if not rows:
        return {}
    scores = Scorer(scenes, version=VERSION).score(Trajectory(poses=np.stack(poses)[:, None], dt_s=0.1))
    names = (*VERSION.rules.columns, "score", COLLISION_STEP)
    columns = {name: getattr(scores, name) for name in dict.fromkeys(names)}
    return {row: {name: float(values[k, 0]) for name, values in columns.items()} for k, row in enumerate(rows)}


def _collisions(done: Drive, moments: dict[int, dict[str, float]]) -> tuple[int, int]:
    """Number of first touches of an agent, and how many of them some moment of the score calls at fault."""
    began = done.touching & ~np.concatenate([np.zeros_like(done.touching[:1]), done.touching[:-1]])
    rows = (done.first + np.flatnonzero(began.any(1))).tolist()
    blamed = [row + terms[COLLISION_STEP] for row, terms in moments.items() if terms[COLLISION_STEP] >= 0]
    return len(rows), sum(any(abs(step - row) <= SAME_TOUCH_STEPS for step in blamed) for row in rows)


def _completion(done: Drive, live: LiveDrive) -> float:
    """How far along the built-in driver's path of the same time the car came, as a share of the path."""
    path = live.recorded.drive.ego[done.first :, :2]
    moved = np.concatenate([[True], np.hypot(*np.diff(path, axis=0).T) > 1e-6])
    if done.ended == FAILED:
        return 0.0
    if moved.sum() < 2 or (line := shapely.LineString(path[moved])).length < SHORTEST_PATH_M:
        return 1.0
    return float(min(1.0, max(line.project(shapely.Point(x, y)) for x, y in done.states[:, :2]) / line.length))


def _red_lights(done: Drive, live: LiveDrive, body: Body) -> int:
    """How often the middle of the car's front enters a connector whose light is red."""
    x, y, heading = done.states[:, : HEADING + 1].T
    ahead = body.rear_to_centre_m + body.size_m[0] / 2
    front = np.stack([x + ahead * np.cos(heading), y + ahead * np.sin(heading)], -1)
    lanes = {lane.id: lane for lane in live.recorded.map.connectors}
    entered = np.zeros(len(front), bool)
    for lane_id, red in live.recorded.reds.items():
        inside = shapely.contains_xy(shapely.Polygon(lanes[lane_id].rings[0]), front[:, 0], front[:, 1])
        entered[1:] |= inside[1:] & ~inside[:-1] & red[done.first + 1 : done.first + len(front)]
    return _times(entered)


def _comfort(done: Drive, every: int) -> float | None:
    """Share of the 4 s windows, one for each 2 Hz moment, in which the driven states keep the score's bounds."""
    starts = range(0, len(done.states) - STEPS + 1, every)
    windows = [done.states[start : start + STEPS] for start in starts]
    return float(comfort(torch.from_numpy(np.stack(windows))).mean()) if windows else None


def _stuck(done: Drive, live: LiveDrive, settings: LoopSettings, rate_hz: float) -> bool:
    """Whether the car stood for stuck_s without a break while the built-in driver went on."""
    rows, standing = round(settings.stuck_s * rate_hz), done.states[:, VX] < settings.standing_mps
    human = live.recorded.drive.ego_speed_mps[done.first : done.first + len(standing)] > settings.standing_mps
    return any(standing[k : k + rows].all() and human[k : k + rows].all() for k in range(len(standing) - rows + 1))


def _times(happening: np.ndarray) -> int:
    """How often something begins to happen."""
    return int(np.count_nonzero(happening[1:] & ~happening[:-1]) + bool(happening[0]))
