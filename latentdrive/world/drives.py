"""Making a drive: a road, the traffic on it, and an ego that takes part in it or goes its own way.

Joins centreline.py, traffic.py and own_way.py; what comes out is a Drive in the plane.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from latentdrive.types import FROZEN
from latentdrive.world.centreline import Centreline, random_curvature
from latentdrive.world.drive import Agents, Drive, Lane, Mark
from latentdrive.world.own_way import Appearance, OwnWay, go_own_way, place_replay, without_contact
from latentdrive.world.traffic import Calm, Mood, StraightRoad, simulate_straight

EGO_SIZE = np.array([4.6, 1.85, 1.5])
LANE_POINT_M = 2.0  # spacing of the points that lanes are drawn with


class Kind(StrEnum):
    """natural: the ego takes part in the traffic. decorrelated: it goes its own way, the others are a replay."""

    NATURAL = "natural"
    DECORRELATED = "decorrelated"


@dataclass(**FROZEN)
class RoadSpec:
    """A type of bent road. Ranges: own and oncoming lanes, lane width and median in m, radius, lengths of bends and straights in m."""

    own: tuple[int, int]
    oncoming: tuple[int, int]
    lane_m: tuple[float, float]
    median_m: tuple[float, float]
    radius_m: tuple[float, float]
    bend_m: tuple[float, float]
    straight_m: tuple[float, float]
    ramp_m: float
    speed_mps: tuple[float, float]


@dataclass(**FROZEN)
class TrafficSpec:
    """How people drive, on every type of road. See Calm, Mood, OwnWay, Appearance and simulate_straight for the parts."""

    calm: Calm
    ego_mood: Mood
    mood: Mood
    own_way: OwnWay
    appearance: Appearance
    gap_m: tuple[float, float]
    step_s: float
    settle_s: float
    curve_lateral_mps2: float
    curve_yaw_rate: float
    hazard_every_s: float
    lane_wish_every_s: float


def make_drive(
    *, road_type: str, kind: Kind, seed: tuple[int, ...], road: RoadSpec, traffic: TrafficSpec, frames: int, rate_hz: float
) -> Drive:
    """One drive; the same arguments give the same drive."""
    rng = np.random.default_rng(seed)
    straight = StraightRoad(
        own=int(rng.integers(road.own[0], road.own[1] + 1)), oncoming=int(rng.integers(road.oncoming[0], road.oncoming[1] + 1)),
        lane_m=float(rng.uniform(*road.lane_m)), median_m=float(rng.uniform(*road.median_m)), along_m=(-250.0, 1000.0),
    )  # fmt: skip
    start_m = 30.0
    length = start_m + road.speed_mps[1] * (frames / rate_hz + traffic.settle_s) + 180.0
    line = Centreline.from_curvature(
        random_curvature(rng, length_m=length, radius_m=road.radius_m, bend_m=road.bend_m, straight_m=road.straight_m, ramp_m=road.ramp_m)
    )
    limit = line.speed_limit(
        lateral_mps2=traffic.curve_lateral_mps2, yaw_rate=traffic.curve_yaw_rate, braking_mps2=2.0, step_m=2.0
    )
    recording = simulate_straight(
        rng, straight, frames=frames, rate_hz=rate_hz, step_s=traffic.step_s, settle_s=traffic.settle_s, calm=traffic.calm,
        ego_mood=_within(traffic.ego_mood, road), mood=_within(traffic.mood, road), gap_m=traffic.gap_m, start_m=start_m,
        limit=lambda s, forward: limit.at(s, forward=forward), hazard_every_s=traffic.hazard_every_s,
        lane_wish_every_s=traffic.lane_wish_every_s,
    )  # fmt: skip
    ego, speed, agents = recording.ego, recording.ego_speed_mps, recording.agents
    if kind == Kind.DECORRELATED:
        inside = -straight.median_m / 2 - straight.own * straight.lane_m
        ego, speed = go_own_way(
            rng, line, limit, way=replace(traffic.own_way, speed_mps=_cut(traffic.own_way.speed_mps, road)), frames=frames,
            rate_hz=rate_hz, start_m=start_m, offsets_m=(inside + 1.2, -straight.median_m / 2 - 1.2),
        )  # fmt: skip
        agents = place_replay(rng, agents, ego, EGO_SIZE, traffic.appearance)
    else:
        agents = without_contact(agents, ego, EGO_SIZE)
        speed = speed * np.hypot(line.stretch(ego[:, 0], ego[:, 1]) * np.cos(ego[:, 2]), np.sin(ego[:, 2]))
    return Drive(
        road_type=road_type, seed=seed, times_s=recording.times_s, ego=line.place(ego), ego_speed_mps=speed,
        agents=replace(agents, poses=line.place(agents.poses)), lanes=_lanes(straight, line),
    )  # fmt: skip


def _cut(speed: tuple[float, float], road: RoadSpec) -> tuple[float, float]:
    return max(speed[0], road.speed_mps[0]), min(speed[1], road.speed_mps[1])


def _within(mood: Mood, road: RoadSpec) -> Mood:
    return replace(mood, speed_mps=_cut(mood.speed_mps, road))


def _lanes(road: StraightRoad, line: Centreline) -> tuple[Lane, ...]:
    """The lanes as they lie in the plane, marked as two-way or one-way roads are."""
    s = np.arange(-20.0, line.length_m, LANE_POINT_M)
    lanes = []
    for count, side in ((road.own, -1.0), (road.oncoming, 1.0)):
        for index in range(count):
            d = side * (road.median_m / 2 + (index + 0.5) * road.lane_m)
            points = line.place(np.stack([s, np.full(len(s), d), np.zeros(len(s))], -1))[:, :2]
            inner = Mark.DASHED if index else (Mark.SOLID if road.median_m > 1.0 or not road.oncoming else Mark.CENTRE)
            outer = Mark.SOLID if index == count - 1 else Mark.NONE
            lanes.append(Lane(points=points if side < 0 else points[::-1], width_m=road.lane_m, left=inner, right=outer))
    return tuple(lanes)
