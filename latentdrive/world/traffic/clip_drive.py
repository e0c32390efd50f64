"""Making a drive: a road, the traffic on it, and an ego that takes part in it or goes its own way.

Joins roads.py, traffic.py and own_way.py; what comes out is a Drive in the plane.
"""

from collections.abc import Callable
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
from latentdrive.world.traffic.decorrelated import OwnWay, Replay, go_own_way, place_replay, without_contact
from latentdrive.world.traffic.drivers import Calm, Driver, Mood
from latentdrive.world.traffic.recording import Agents, Body, Drive, Lane
from latentdrive.world.traffic.simulate import Recording, simulate

Wish = TypeVar("Wish", Mood, OwnWay)
LIMIT_STEP_M = 2.0  # spacing of speed limits along a curve
ROUTE_SMOOTH_M = 6.0  # where lanes of a junction meet, the heading changes over about this length


class Kind(StrEnum):
    """natural: the ego takes part in the traffic. decorrelated: it goes its own way, the others are a replay."""

    NATURAL = "natural"
    DECORRELATED = "decorrelated"


@dataclass(**FROZEN)
class TrafficSpec:
    """How people drive, on every type of road. See Calm, Mood, Replay and simulate for the parts.

    Speeds of the moods are in m/s, and cut to those of the road (in clips), or shares of the speed limit (in NAVSIM's world).
    replay: None where no drive is decorrelated.
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
    kind: Kind,
    seed: tuple[int, ...],
    road: RoadType,
    traffic: TrafficSpec,
    frames: int,
    rate_hz: float,
) -> Drive:
    """One drive; the same arguments give the same drive."""
    rng = np.random.default_rng(seed)
    settle_s = float(rng.uniform(*traffic.settle_s))
    layout = road.layout(rng, road.speed_mps[1] * (frames / rate_hz + settle_s))
    recording = simulate(
        rng,
        layout,
        frames=frames,
        rate_hz=rate_hz,
        step_s=traffic.step_s,
        settle_s=settle_s,
        body=traffic.ego,
        calm=traffic.calm,
        ego_mood=cut_to(traffic.ego_mood, road),
        mood=cut_to(traffic.mood, road),
        gap_m=traffic.gap_m,
        limit=comfortable_speed(layout, traffic),
        hazard_every_s=traffic.hazard_every_s,
        lane_wish_every_s=traffic.lane_wish_every_s,
    )
    if kind == Kind.NATURAL:
        ego, speed, agents = in_the_plane(layout, recording, traffic.ego)
    else:
        if traffic.replay is None:
            raise ConfigError(f"a decorrelated drive ({road_type}) needs traffic.replay; this world has none")
        replay = replace(traffic.replay, own_way=cut_to(traffic.replay.own_way, road))
        ego, speed, agents = _decorrelated(rng, layout, recording, traffic, replay, rate_hz)
    return Drive(
        road_type=road_type,
        seed=seed,
        times_s=recording.times_s,
        ego=ego,
        ego_speed_mps=speed,
        agents=agents,
        lanes=tuple(bent_lane(lane, layout.line) for lane in recording.lanes),
    )


def in_the_plane(
    layout: Layout, recording: Recording, body: Body
) -> tuple[Float64[np.ndarray, "T 3"], Float64[np.ndarray, "T"], Agents]:
    """The recording as it is, in the plane."""
    ego, speed, line = recording.ego, recording.ego_speed_mps, layout.line
    agents = without_contact(recording.agents, ego, body)
    if line is None:
        return ego, speed, agents
    speed = speed * np.hypot(line.stretch(ego[:, 0], ego[:, 1]) * np.cos(ego[:, 2]), np.sin(ego[:, 2]))
    return line.place(ego), speed, replace(agents, poses=line.place(agents.poses))


def _decorrelated(
    rng: np.random.Generator, layout: Layout, recording: Recording, traffic: TrafficSpec, replay: Replay, rate_hz: float
) -> tuple[Float64[np.ndarray, "T 3"], Float64[np.ndarray, "T"], Agents]:
    """The ego on its own way along the road, or along a route through the junction; the others on replay."""
    line = layout.line if layout.line is not None else Centreline.through(recording.ego_route, smooth_m=ROUTE_SMOOTH_M)
    start_m = BEHIND_M
    if layout.line is None:
        start = layout.ego_starts[0]
        start_m = float(rng.uniform(start.from_m, start.to_m))
    own, speed = go_own_way(
        rng,
        line,
        _speed_limit(line, traffic),
        way=replay.own_way,
        frames=len(recording.times_s),
        rate_hz=rate_hz,
        start_m=start_m,
        offsets_m=layout.own_offsets_m,
    )
    ego = line.place(own)
    road_ego = own if layout.line is not None else ego
    agents = place_replay(rng, recording.agents, road_ego, traffic.ego, replay.appearance, recording.movable)
    return ego, speed, agents if layout.line is None else replace(agents, poses=line.place(agents.poses))


def comfortable_speed(layout: Layout, traffic: TrafficSpec) -> Callable[[Driver], float]:
    """Comfortable speed where a driver is, m/s."""
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


def cut_to(wish: Wish, road: RoadType) -> Wish:
    """Wanted speeds, cut to those of the road."""
    low, high = (float(np.clip(speed, *road.speed_mps)) for speed in wish.speed_mps)
    return replace(wish, speed_mps=(low, high))


def bent_lane(lane: Lane, line: Centreline | None) -> Lane:
    """The lane as it lies in the plane."""
    if line is None:
        return lane
    road = np.concatenate([lane.points, np.zeros((len(lane.points), 1))], -1)
    return replace(lane, points=line.place(road)[:, :2])
