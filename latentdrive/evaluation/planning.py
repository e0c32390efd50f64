"""From scenes to trajectories: opens each scene in the form its planner takes, and plans in
batches.

First step of an evaluation, and the whole of what the NAVSIM devkit's agent asks for. A scene that
cannot be opened or planned is reported with its reason and costs no other scene its plan: a batch
in which one scene fails is planned again scene by scene.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from latentdrive.counting import counted
from latentdrive.errors import MapError, StoreError, UnreadableClip, WrongShape
from latentdrive.pdms.scene import STEP_S, STEPS, ScoringScene
from latentdrive.pdms.scorer import SHORTEST_STEP_S
from latentdrive.planners.sampling import NO_SENSORS
from latentdrive.types import (
    FROZEN,
    Planner,
    PrivilegedPlanner,
    Refined,
    SceneSource,
    SceneTruth,
    SensorNeeds,
    Trajectory,
)

HORIZON_S = (STEPS - 1) * STEP_S  # a plan must cover exactly this time
SCENE_ERRORS = (UnreadableClip, MapError, StoreError, WrongShape)  # they fail one scene and not the run

AnyPlanner = Planner | PrivilegedPlanner


@dataclass(**FROZEN)
class PlanCall:
    """One call of `planner.plan`: how many scenes it planned at once, and how long it took."""

    scenes: int
    seconds: float


@dataclass(**FROZEN)
class Plans:
    """Trajectories (poses [P, 3]) by token, and why the other scenes have none. calls: those that
    succeeded, in order."""

    trajectories: dict[str, Trajectory]
    failures: dict[str, str]
    calls: tuple[PlanCall, ...] = ()


def is_privileged(planner: AnyPlanner) -> TypeGuard[PrivilegedPlanner]:
    """Whether the planner is given the truth of a scene, its future included.

    The protocol only asks whether the attributes exist. Only a planner that says
    `privileged = True` is shown the future.
    """
    return isinstance(planner, PrivilegedPlanner) and planner.privileged is True


def sensors_of(planner: AnyPlanner) -> SensorNeeds:
    """The sensors to open for this planner; a privileged planner looks at none."""
    return NO_SENSORS if is_privileged(planner) else planner.needs


def scene_opener(
    planner: AnyPlanner, source: SceneSource, prepared: Callable[[str], ScoringScene]
) -> Callable[[str], Any]:
    """How to open a scene by its token for this planner: as a Scene, or, if it is privileged, in
    the form that it takes."""
    if not is_privileged(planner):
        return source.__getitem__
    return {SceneTruth: source.truth, ScoringScene: prepared}[planner.takes]


def plan_scenes(
    planner: AnyPlanner,
    tokens: Sequence[str],
    opener: Callable[[str], Any],
    *,
    batch: int,
    advance: Callable[[int], Any],
) -> Plans:
    """Plan one trajectory for each of these scenes.

    opener: see `scene_opener`. advance: is called with the number of scenes that each batch has
    finished.
    """
    trajectories: dict[str, Trajectory] = {}
    failures: dict[str, str] = {}
    calls: list[PlanCall] = []
    for start in range(0, len(tokens), batch):
        chunk, opened = tokens[start : start + batch], {}
        for token in chunk:
            try:
                opened[token] = opener(token)
            except SCENE_ERRORS as error:
                failures[token] = str(error)
        _plan(planner, opened, trajectories, failures, calls)
        advance(len(chunk))
    return Plans(trajectories=trajectories, failures=failures, calls=tuple(calls))


def _plan(
    planner: AnyPlanner,
    opened: dict[str, Any],
    trajectories: dict[str, Trajectory],
    failures: dict[str, str],
    calls: list[PlanCall],
) -> None:
    """Plan the opened scenes in one call; if it fails, plan each of them alone to find the one at
    fault."""
    if not opened:
        return
    try:
        start = time.perf_counter()
        planned = planner.plan(list(opened.values()))
        seconds = time.perf_counter() - start
        _require_shape(planner, planned, len(opened))
    except SCENE_ERRORS as error:
        if len(opened) == 1:
            failures[next(iter(opened))] = str(error)
            return
        for token, scene in opened.items():
            _plan(planner, {token: scene}, trajectories, failures, calls)
        return
    calls.append(PlanCall(scenes=len(opened), seconds=seconds))
    for row, token in enumerate(opened):
        trajectories[token] = row_of(planned, row)


def row_of(planned: Trajectory, row: int) -> Trajectory:
    """The trajectory of one scene."""
    refined = planned.refined
    if refined is not None:
        refined = Refined(steps=refined.steps[row, ...], movement=refined.movement[row, ...])
    return Trajectory(poses=planned.poses[row], dt_s=planned.dt_s, refined=refined)


def _require_shape(planner: AnyPlanner, planned: Trajectory, scenes: int) -> None:
    """Raise WrongShape where the planner did not return one trajectory of HORIZON_S a scene."""
    name, shape = type(planner).__name__, planned.poses.shape
    if planned.poses.ndim != 3 or shape[0] != scenes or shape[2] != 3:
        raise WrongShape(
            f"{name}.plan returned poses of shape {shape} for {counted(scenes, 'scene')}; expected ({scenes}, P, 3)"
        )
    if not abs(shape[1] * planned.dt_s - HORIZON_S) < SHORTEST_STEP_S:
        raise WrongShape(
            f"{name}.plan returned {counted(shape[1], 'pose')} {planned.dt_s} s apart; the score expects them "
            f"to cover {HORIZON_S} s"
        )
