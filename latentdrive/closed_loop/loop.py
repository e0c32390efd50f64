"""One drive in closed loop: plan, follow the plan with NAVSIM's tracker and bicycle, let the traffic react, again.

The car is the one of the score (pdms/simulate.py): each plan is simulated from the car's full state, and
the first steps of the result are driven.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float64

from latentdrive.boxes import boxes_touch
from latentdrive.closed_loop.settings import LoopSettings
from latentdrive.closed_loop.views import Views
from latentdrive.errors import WrongShape
from latentdrive.evaluation.planning import SCENE_ERRORS, AnyPlanner, is_privileged, row_of
from latentdrive.nuplan_vehicle import WHEEL_BASE_M
from latentdrive.pdms.prepare import prepare_scene
from latentdrive.pdms.reference_poses import reference_poses
from latentdrive.pdms.scene import AX, HEADING, STEERING, STEPS, VX, YAW_RATE
from latentdrive.pdms.simulate import simulate
from latentdrive.pdms.versions import Version
from latentdrive.types import FROZEN, Trajectory
from latentdrive.world.navsim.city_drive import on_the_road
from latentdrive.world.navsim.live_drive import LiveDrive
from latentdrive.world.navsim.log_frames import ego_motion
from latentdrive.world.traffic.recording import Body

TIME, COLLISION, OFF_ROAD, FAILED = "time", "collision", "off_road", "failed"


@dataclass(**FROZEN)
class Drive:
    """What happened on a drive, from the hand-over at row `first` on; one row for each step.

    states: of the car, columns as in pdms/scene.py, in the plane of the drive. touching: the agents that the car's
    box touches. on_road: whether all its corners were. plans: the row at which each plan was made, and its poses, dt_s
    apart, in the plane. ended: why it ended. failure: why the planner made no plan; empty if it always did.
    """

    first: int
    states: Float64[np.ndarray, "T 11"]
    touching: Bool[np.ndarray, "T N"]
    on_road: Bool[np.ndarray, "T"]
    plans: tuple[tuple[int, Trajectory], ...]
    ended: str
    failure: str


def drive(
    planner: AnyPlanner, live: LiveDrive, views: Views, body: Body, settings: LoopSettings, rate_hz: float
) -> Drive:
    """Let the planner drive until the recording's time is over, or something of `settings` ends the drive."""
    first, states, plans = live.row, [start_state(live, rate_hz)], []
    ended, failure = TIME, ""
    touching, on_road = [touched(live, body)], [_on_road(live, body)]
    while ended == TIME and live.row + 1 < len(live):
        try:
            plan = plan_now(planner, views)
        except SCENE_ERRORS as error:
            ended, failure = FAILED, str(error)
            break
        plans.append((live.row, plan))
        for state in following(states[-1], plan, settings.steps(plan, rate_hz=rate_hz)):
            live.advance(state[: HEADING + 1], float(state[VX]))
            states.append(state)
            touching.append(touched(live, body))
            on_road.append(_on_road(live, body))
            ended = _end(touching, on_road, settings, rate_hz)
            if ended != TIME or live.row + 1 == len(live):
                break
    return Drive(
        first=first,
        states=np.stack(states),
        touching=np.stack(touching),
        on_road=np.array(on_road),
        plans=tuple(plans),
        ended=ended,
        failure=failure,
    )


def start_state(live: LiveDrive, rate_hz: float) -> Float64[np.ndarray, "11"]:
    """The car's state at the hand-over, from the motion so far. The wheel stands as the yaw rate says."""
    ego, speed = live.drive.ego[: live.row + 1], live.drive.ego_speed_mps[: live.row + 1]
    velocity, _, acceleration, _, yaw_rate = ego_motion(ego, speed, rate_hz)[-1]
    state = np.zeros(11)
    state[: HEADING + 1], state[VX], state[AX], state[YAW_RATE] = ego[-1], velocity, acceleration, yaw_rate
    state[STEERING] = np.arctan(yaw_rate * WHEEL_BASE_M / max(velocity, 1.0))
    return state


def plan_now(planner: AnyPlanner, views: Views) -> Trajectory:
    """The plan of the present, as seen from the car. Raises SCENE_ERRORS if there is none.

    A privileged planner must take a ScoringScene: it is prepared from the present alone.
    """
    if is_privileged(planner):
        planned = planner.plan([prepare_scene(views.truth_of_now(), Version.PDMS_V1_1.rules)])
    else:
        planned = planner.plan([views.scene()])
    if not np.isfinite(planned.poses).all():
        raise WrongShape("the plan holds NaN or infinity")
    plan = row_of(planned, 0)
    return replace(plan, poses=np.asarray(plan.poses, np.float64))


def following(state: Float64[np.ndarray, "11"], plan: Trajectory, steps: int) -> Iterator[Float64[np.ndarray, "11"]]:
    """The next states of the car that follows a plan, 0.1 s apart; at most 40."""
    start = torch.from_numpy(state)[None]
    poses = torch.from_numpy(plan.poses)[None, None]
    follow = reference_poses(start[:, : HEADING + 1], poses, dt_s=plan.dt_s, times_us=[0])[:, 0]
    yield from simulate(start, follow)[0, 1 : min(steps, STEPS - 1) + 1].numpy()


def touched(live: LiveDrive, body: Body) -> Bool[np.ndarray, "N"]:
    """Which agents the car's box touches at the present row."""
    agents, row = live.drive.agents, live.row
    own, poses = body.centre(live.drive.ego[row : row + 1]), agents.poses[row]
    headings = ((np.cos(heading), np.sin(heading)) for heading in (own[:, 2], poses[:, 2]))
    with np.errstate(invalid="ignore"):
        return boxes_touch(poses[:, :2] - own[:, :2], *headings, np.array(body.size_m[:2]) / 2, agents.sizes[:, :2] / 2)


def _on_road(live: LiveDrive, body: Body) -> bool:
    return bool(on_the_road(live.drive.ego[live.row : live.row + 1], body, live.recorded.map)[0])


def _end(touching: list, on_road: list[bool], settings: LoopSettings, rate_hz: float) -> str:
    if settings.collision_ends and touching[-1].any():
        return COLLISION
    rows = max(1, round(settings.off_road_ends_s * rate_hz))
    return OFF_ROAD if len(on_road) >= rows and not any(on_road[-rows:]) else TIME
