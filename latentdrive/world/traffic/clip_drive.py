"""Makes the drives of clips: a road, traffic on it, and an ego that takes part in it or moves independently of it.

Joins roads/layouts.py, simulate.py and decorrelated.py. The result is a SimulatedDrive in the
plane.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

import numpy as np
from jaxtyping import Float64

from latentdrive.errors import ConfigError
from latentdrive.types import FROZEN
from latentdrive.world.roads.centreline import Centreline, SpeedLimit
from latentdrive.world.roads.junctions import junction_limit
from latentdrive.world.roads.layouts import BEHIND_M, Layout, RoadType
from latentdrive.world.traffic.decorrelated import (
    IndependentMotion,
    Replay,
    independent_motion,
    place_replay,
    without_contact,
)
from latentdrive.world.traffic.drivers import Calm, Driver, Event, Mood
from latentdrive.world.traffic.recording import Agents, Body, Lane, SimulatedDrive
from latentdrive.world.traffic.simulate import Recording, Traffic, record

Speeds = TypeVar("Speeds", Mood, IndependentMotion)
# Poses of the ego's rear axle, its speeds in m/s, and the others, in the plane.
Motion = tuple[Float64[np.ndarray, "T 3"], Float64[np.ndarray, "T"], Agents]
LIMIT_STEP_M = 2.0  # spacing of the comfortable speeds along a curve
ROUTE_SMOOTH_M = 6.0  # the heading of a route is smoothed over this length where lanes of a junction meet


class DriveKind(StrEnum):
    """natural: the ego takes part in the traffic. decorrelated: it moves independently, and the others are a replay."""

    NATURAL = "natural"
    DECORRELATED = "decorrelated"


@dataclass(**FROZEN)
class TrafficSpec:
    """How people drive on every type of road. For the fields see Body, Calm, Mood, Replay and simulate.Traffic.

    In clips the speeds of the moods are in m/s and clipped to those of the road; in the NAVSIM
    world they are shares of the speed limit. curve_braking_mps2: deceleration before curves.
    replay: None if no drive is decorrelated.
    """

    ego: Body
    calm: Calm
    ego_mood: Mood
    mood: Mood
    replay: Replay | None
    gap_m: tuple[float, float]
    step_s: float
    settle_s: tuple[float, float]
    curve_braking_mps2: float
    hazard_every_s: float
    lane_wish_every_s: float


def make_drive(
    *,
    road_type: str,
    kind: DriveKind,
    seed: tuple[int, ...],
    road: RoadType,
    traffic: TrafficSpec,
    frames: int,
    rate_hz: float,
) -> SimulatedDrive:
    """Simulate a drive of `frames` states at rate_hz. The same arguments give the same drive."""
    rng = np.random.default_rng(seed)
    settle_s = float(rng.uniform(*traffic.settle_s))
    layout = road.layout(rng, road.speed_mps[1] * (frames / rate_hz + settle_s))
    started = start_traffic(
        rng,
        layout,
        traffic,
        ego_mood=clipped_to_road(traffic.ego_mood, road),
        mood=clipped_to_road(traffic.mood, road),
        settle_s=settle_s,
        frames=frames,
        rate_hz=rate_hz,
    )
    recording = record(started, frames)
    if kind == DriveKind.NATURAL:
        motion = plane_motion(layout, recording, traffic.ego)
    else:
        if traffic.replay is None:
            raise ConfigError(
                f"world.traffic.replay is null, but a drive on {road_type} is to be decorrelated: set traffic.replay, "
                "or decorrelated_share=0"
            )
        replay = replace(traffic.replay, ego_motion=clipped_to_road(traffic.replay.ego_motion, road))
        motion = _decorrelated_motion(rng, layout, recording, traffic, replay, rate_hz)
    return plane_drive(layout, recording, motion, road_type=road_type, seed=seed)


def start_traffic(
    rng: np.random.Generator,
    layout: Layout,
    traffic: TrafficSpec,
    *,
    ego_mood: Mood,
    mood: Mood,
    settle_s: float,
    frames: int,
    rate_hz: float,
    events: Sequence[Event] = (),
) -> Traffic:
    """Put the traffic on a layout, settle_s before frame 0. ego_mood, mood: those of `traffic`, with speeds in m/s."""
    return Traffic(
        rng,
        layout,
        frames=frames,
        rate_hz=rate_hz,
        step_s=traffic.step_s,
        settle_s=settle_s,
        body=traffic.ego,
        calm=traffic.calm,
        ego_mood=ego_mood,
        mood=mood,
        gap_m=traffic.gap_m,
        limit=comfortable_speed(layout, traffic),
        hazard_every_s=traffic.hazard_every_s,
        lane_wish_every_s=traffic.lane_wish_every_s,
        events=events,
    )


def plane_motion(layout: Layout, recording: Recording, body: Body) -> Motion:
    """Return the motion of a recording in the plane, without agents that touch the ego or each other."""
    ego, speed, line = recording.ego, recording.ego_speed_mps, layout.line
    agents = without_contact(recording.agents, ego, body)
    if line is None:
        return ego, speed, agents
    speed = speed * np.hypot(line.stretch(ego[:, 0], ego[:, 1]) * np.cos(ego[:, 2]), np.sin(ego[:, 2]))
    return line.place(ego), speed, replace(agents, poses=line.place(agents.poses))


def plane_drive(
    layout: Layout, recording: Recording, motion: Motion, *, road_type: str, seed: tuple[int, ...]
) -> SimulatedDrive:
    """Return the drive of a motion in the plane, with the lanes and times of the recording that it comes from."""
    ego, speed, agents = motion
    return SimulatedDrive(
        road_type=road_type,
        seed=seed,
        times_s=recording.times_s,
        ego=ego,
        ego_speed_mps=speed,
        agents=agents,
        lanes=tuple(bent_lane(lane, layout.line) for lane in recording.lanes),
    )


def _decorrelated_motion(
    rng: np.random.Generator, layout: Layout, recording: Recording, traffic: TrafficSpec, replay: Replay, rate_hz: float
) -> Motion:
    """The motion of an ego that moves independently along the road, or its route over a junction, and of the replay."""
    line = layout.line if layout.line is not None else Centreline.through(recording.ego_route, smooth_m=ROUTE_SMOOTH_M)
    start_m = BEHIND_M
    if layout.line is None:
        start = layout.ego_starts[0]
        start_m = float(rng.uniform(start.from_m, start.to_m))
    along_line, speed = independent_motion(
        rng,
        line,
        _speed_limit(line, traffic),
        motion=replay.ego_motion,
        frames=len(recording.times_s),
        rate_hz=rate_hz,
        start_m=start_m,
        offsets_m=layout.ego_offsets_m,
    )
    ego = line.place(along_line)
    layout_ego = along_line if layout.line is not None else ego
    agents = place_replay(rng, recording.agents, layout_ego, traffic.ego, replay.appearance, recording.movable)
    return ego, speed, agents if layout.line is None else replace(agents, poses=line.place(agents.poses))


def comfortable_speed(layout: Layout, traffic: TrafficSpec) -> Callable[[Driver], float]:
    """Return the function from a driver to the comfortable speed (m/s) at its place."""
    if layout.line is None:
        calm = traffic.calm
        return junction_limit(
            layout.network,
            lateral_mps2=calm.curve_share * calm.lateral_mps2,
            yaw_rate=calm.curve_share * calm.yaw_rate,
            braking_mps2=traffic.curve_braking_mps2,
        )
    limit = _speed_limit(layout.line, traffic)
    return lambda driver: limit.at(driver.position[0], forward=bool(np.cos(driver.heading) > 0))


def _speed_limit(line: Centreline, traffic: TrafficSpec) -> SpeedLimit:
    calm = traffic.calm
    return line.speed_limit(
        lateral_mps2=calm.curve_share * calm.lateral_mps2,
        yaw_rate=calm.curve_share * calm.yaw_rate,
        braking_mps2=traffic.curve_braking_mps2,
        step_m=LIMIT_STEP_M,
    )


def clipped_to_road(speeds: Speeds, road: RoadType) -> Speeds:
    """Return `speeds` with the range of desired speeds clipped to that of the road."""
    low, high = (float(np.clip(speed, *road.speed_mps)) for speed in speeds.speed_mps)
    return replace(speeds, speed_mps=(low, high))


def bent_lane(lane: Lane, line: Centreline | None) -> Lane:
    """Return the lane as it lies in the plane once the road is bent along `line`."""
    if line is None:
        return lane
    road = np.concatenate([lane.points, np.zeros((len(lane.points), 1))], -1)
    return replace(lane, points=line.place(road)[:, :2])
