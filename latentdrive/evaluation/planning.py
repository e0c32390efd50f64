"""From tokens to trajectories: every scene is opened as the planner wants it, and planned, in batches.

First step of an evaluation. A scene that can't be opened or planned is named with its reason and loses nothing else: a batch in
which one fails is planned again scene by scene.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from latentdrive.errors import MapError, StoreError, UnreadableClip, WrongShape
from latentdrive.pdms.scene import STEP_S, STEPS, ScoringScene
from latentdrive.pdms.scorer import SHORTEST_STEP_S
from latentdrive.types import FROZEN, Planner, PrivilegedPlanner, SceneSource, SceneTruth, Trajectory

HORIZON_S = (STEPS - 1) * STEP_S  # what a plan must cover
FAILS = (UnreadableClip, MapError, StoreError, WrongShape)  # what is a scene's fault, and not the whole run's


@dataclass(**FROZEN)
class Call:
    """One call of `planner.plan`: how many scenes it planned at once, and how long it took."""

    scenes: int
    seconds: float


@dataclass(**FROZEN)
class Plans:
    """Trajectories (poses [P, 3]) by token, and why the other scenes have none. calls: those that succeeded, in order."""

    trajectories: dict[str, Trajectory]
    failures: dict[str, str]
    calls: tuple[Call, ...] = ()


def what_it_takes(
    planner: Planner | PrivilegedPlanner, source: SceneSource, prepared: Callable[[str], ScoringScene]
) -> Callable[[str], Any]:
    """How a scene is opened for this planner, by token: what the car sees, unless the planner is privileged and says otherwise."""
    # A protocol asks only whether the attribute is there: nobody but who says True may see the future.
    if getattr(planner, "privileged", False) is not True:
        return source.__getitem__
    return {SceneTruth: source.truth, ScoringScene: prepared}[planner.takes]


def plan_scenes(
    planner: Planner | PrivilegedPlanner, tokens: Sequence[str], opener: Callable[[str], Any], *, batch: int,
    advance: Callable[[int], Any],
) -> Plans:  # fmt: skip
    """One trajectory for each of these scenes. opener: see `what_it_takes`. advance: is told how many more scenes are done."""
    trajectories: dict[str, Trajectory] = {}
    failures: dict[str, str] = {}
    calls: list[Call] = []
    for start in range(0, len(tokens), batch):
        chunk, opened = tokens[start : start + batch], {}
        for token in chunk:
            try:
                opened[token] = opener(token)
            except FAILS as error:
                failures[token] = str(error)
        _plan(planner, opened, trajectories, failures, calls)
        advance(len(chunk))
    return Plans(trajectories=trajectories, failures=failures, calls=tuple(calls))


def _plan(
    planner: Any, opened: dict[str, Any], trajectories: dict[str, Trajectory], failures: dict[str, str], calls: list[Call]
) -> None:  # fmt: skip
    if not opened:
        return
    try:
        start = time.perf_counter()
        planned = planner.plan(list(opened.values()))
        seconds = time.perf_counter() - start
        if planned.poses.ndim != 3 or len(planned.poses) != len(opened) or planned.poses.shape[2] != 3:
            raise WrongShape(
                f"{type(planner).__name__}.plan gave poses of shape {planned.poses.shape} for {len(opened)} scenes; expected "
                f"({len(opened)}, P, 3)"
            )
        if not abs(planned.poses.shape[1] * planned.dt_s - HORIZON_S) < SHORTEST_STEP_S:
            raise WrongShape(
                f"{type(planner).__name__}.plan gave {planned.poses.shape[1]} poses {planned.dt_s} s apart; the score expects them to "
                f"cover {HORIZON_S} s"
            )
    except FAILS as error:
        if len(opened) == 1:
            failures[next(iter(opened))] = str(error)
            return
        for token, scene in opened.items():
            _plan(planner, {token: scene}, trajectories, failures, calls)
        return
    calls.append(Call(scenes=len(opened), seconds=seconds))
    for token, poses in zip(opened, planned.poses):
        trajectories[token] = Trajectory(poses=poses, dt_s=planned.dt_s)
