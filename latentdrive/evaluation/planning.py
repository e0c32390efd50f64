"""From tokens to trajectories: every scene is opened as the planner wants it, and planned, in batches.

First step of an evaluation. A scene that can't be opened or planned is named with its reason and loses nothing else: a batch in
which one fails is planned again scene by scene.
"""

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
class Plans:
    """Trajectories (poses [P, 3]) by token, and why the other scenes have none."""

    trajectories: dict[str, Trajectory]
    failures: dict[str, str]


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
    for start in range(0, len(tokens), batch):
        chunk, opened = tokens[start : start + batch], {}
        for token in chunk:
            try:
                opened[token] = opener(token)
            except FAILS as error:
                failures[token] = str(error)
        _plan(planner, opened, trajectories, failures)
        advance(len(chunk))
    return Plans(trajectories=trajectories, failures=failures)


def _plan(
    planner: Any, opened: dict[str, Any], trajectories: dict[str, Trajectory], failures: dict[str, str]
) -> None:  # fmt: skip
    if not opened:
        return
    try:
        planned = planner.plan(list(opened.values()))
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
            _plan(planner, {token: scene}, trajectories, failures)
        return
    for token, poses in zip(opened, planned.poses):
        trajectories[token] = Trajectory(poses=poses, dt_s=planned.dt_s)
