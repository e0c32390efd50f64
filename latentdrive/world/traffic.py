"""Traffic: IDM and MOBIL drivers of highway-env on a straight road, recorded in road coordinates.

Second step of the world, after centreline.py. highway-env's y axis points down; `_mirrored` is the only place that turns it
over. What leaves this file has y to the left and headings counter-clockwise. Drivers differ from highway-env's in being
calm (yaw rate and lateral acceleration are bounded: the originals steer up to 2.7 rad/s) and moody (they change the speed
they want, brake for no reason, cut in), since a world in which everybody holds 25 m/s teaches nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from highway_env import utils
from highway_env.road.lane import LineType, StraightLane
from highway_env.road.road import Road, RoadNetwork
from highway_env.vehicle.behavior import IDMVehicle
from jaxtyping import Float64

from latentdrive.types import FROZEN
from latentdrive.world.drive import Agents

EGO_KIND = "car"
# length, width, height in metres: smallest and largest (common European vehicles), and how often.
SHAPES = {
    "car": ((3.9, 1.7, 1.4), (4.9, 1.9, 1.6), 0.66),
    "van": ((4.9, 1.9, 1.9), (6.0, 2.1, 2.6), 0.16),
    "truck": ((7.0, 2.3, 2.8), (10.0, 2.5, 3.6), 0.12),
    "bus": ((9.5, 2.4, 2.9), (12.0, 2.5, 3.2), 0.06),
}


@dataclass(**FROZEN)
class Calm:
    """What a driver never exceeds. yaw_rate: rad/s. lateral, braking, accelerating: m/s^2. lane_change_s: time constant."""

    yaw_rate: float
    lateral_mps2: float
    braking_mps2: float
    accelerating_mps2: float
    lane_change_s: float


@dataclass(**FROZEN)
class Mood:
    """How the wanted speed wanders. Ranges in m/s and s; stop_share: how often the next wanted speed is standstill."""

    speed_mps: tuple[float, float]
    hold_s: tuple[float, float]
    stop_share: float
    stop_s: tuple[float, float]


@dataclass(**FROZEN)
class StraightRoad:
    """A road before it is bent. own, oncoming: number of lanes a direction. d = 0 is the line between the directions
    (the middle of the median); own lanes are to its right: traffic keeps right. along_m: first and last metre."""

    own: int
    oncoming: int
    lane_m: float
    median_m: float
    along_m: tuple[float, float]


@dataclass(**FROZEN)
class Recording:
    """Road coordinates: s along, d to the left, heading against the road; metres and radians. ego: rear axle. agents: centres."""

    times_s: Float64[np.ndarray, "T"]
    ego: Float64[np.ndarray, "T 3"]
    ego_speed_mps: Float64[np.ndarray, "T"]
    agents: Agents


class Driver(IDMVehicle):
    """highway-env's IDM/MOBIL driver, calmer in steering and braking, with wishes that change over time."""

    TAU_HEADING = 0.4  # s; the original 0.2 is too stiff for our longer steps
    KP_HEADING = 1 / TAU_HEADING
    TAU_PURSUIT = 0.5 * TAU_HEADING
    DISTANCE_WANTED = 3.0  # m between bumpers at standstill
    LANE_CHANGE_DELAY = 2.0  # s

    def set_up(self, calm: Calm, wishes: Float64[np.ndarray, "n 2"], size: Float64[np.ndarray, "3"], kind: str) -> None:
        """wishes: rows of time in s and wanted speed in m/s, held until the next row."""
        self.calm, self.wishes, self.size, self.kind = calm, wishes, size, kind
        self.LENGTH, self.WIDTH = float(size[0]), float(size[1])
        self.KP_LATERAL = 1 / calm.lane_change_s

    def wish(self, now_s: float, limit_mps: float) -> None:
        """Want what the mood says, but no more than the curve allows."""
        row = max(0, int(np.searchsorted(self.wishes[:, 0], now_s, side="right")) - 1)
        self.target_speed = max(0.01, min(self.wishes[row, 1], limit_mps))

    def steering_control(self, target_lane_index) -> float:
        """The original's steering, with yaw rate and lateral acceleration bounded."""
        steering = super().steering_control(target_lane_index)
        speed = max(abs(self.speed), 0.5)
        yaw_rate = min(self.calm.yaw_rate, self.calm.lateral_mps2 / speed)
        slip = np.arcsin(min(1.0, yaw_rate * self.LENGTH / 2 / speed))
        bound = min(np.arctan(2 * np.tan(min(slip, 0.7))), 0.6)
        return float(np.clip(steering, -bound, bound))

    def acceleration(self, ego_vehicle, front_vehicle=None, rear_vehicle=None) -> float:
        """IDM (Treiber et al., 2000) with the gap measured between bumpers and bounded braking on a free road."""
        if not isinstance(ego_vehicle, Driver):
            return 0.0
        calm = ego_vehicle.calm
        wanted = max(ego_vehicle.target_speed, 0.01)
        free = 1 - (max(ego_vehicle.speed, 0.0) / wanted) ** self.DELTA
        result = max(calm.accelerating_mps2 * free, -calm.braking_mps2)
        if front_vehicle is not None:
            gap = ego_vehicle.lane_distance_to(front_vehicle) - (ego_vehicle.LENGTH + front_vehicle.LENGTH) / 2
            wanted_gap = max(self.desired_gap(ego_vehicle, front_vehicle), self.DISTANCE_WANTED)
            result -= calm.accelerating_mps2 * (wanted_gap / max(gap, 0.5)) ** 2
        return float(result)

    def step(self, dt: float) -> None:
        """The original's step, but nobody rolls backwards."""
        self.action["acceleration"] = max(self.action["acceleration"], -self.speed / dt)
        super().step(dt)
        self.speed = max(self.speed, 0.0)


class QuietRoad(Road):
    """A road that does not look for collisions: drivers that bump go on, and the pair is dropped from the recording."""

    def step(self, dt: float) -> None:
        for vehicle in self.vehicles:
            vehicle.step(dt)


def simulate_straight(
    rng: np.random.Generator, road: StraightRoad, *, frames: int, rate_hz: float, step_s: float, settle_s: float,
    calm: Calm, ego_mood: Mood, mood: Mood, gap_m: tuple[float, float], start_m: float,
    limit: Callable[[float, bool], float], hazard_every_s: float, lane_wish_every_s: float,
) -> Recording:  # fmt: skip
    """Let everybody drive on a straight road and record `frames` states, rate_hz a second.

    step_s: longest step of the simulation. settle_s: time before the recording. start_m: where the ego begins. limit(s,
    forward): comfortable speed at s. hazard_every_s: mean time between a leader's braking or a cut-in before the ego.
    lane_wish_every_s: mean time between the ego's own wishes for another lane.
    """
    world = QuietRoad(network=_network(road), np_random=rng)
    horizon_s = settle_s + frames / rate_hz
    ego = _populate(rng, world, road, calm, ego_mood, mood, gap_m, start_m, horizon_s)
    ticks = int(np.ceil(1 / rate_hz / step_s))
    dt, settle = 1 / rate_hz / ticks, round(settle_s * rate_hz)
    rows = []
    for frame in range(settle + frames):
        if frame >= settle:
            rows.append([_state(vehicle) for vehicle in world.vehicles])
        for tick in range(ticks):
            now_s = (frame + tick / ticks) / rate_hz
            for vehicle in world.vehicles:
                vehicle.wish(now_s, limit(vehicle.position[0], bool(np.cos(vehicle.heading) > 0)))
            if rng.random() < dt / hazard_every_s:
                _hazard(rng, world, ego, now_s)
            if rng.random() < dt / lane_wish_every_s:
                _other_lane(rng, world, ego)
            world.act()
            world.step(dt)
    return _recording(np.array(rows), world.vehicles, ego, rate_hz)


def _network(road: StraightRoad) -> RoadNetwork:
    """Own lanes drive along +x, below the middle line on highway-env's map (y > 0): right of it."""
    network = RoadNetwork()
    first, last = road.along_m
    for index in range(road.own):
        y = road.median_m / 2 + (index + 0.5) * road.lane_m
        network.add_lane("a", "b", _lane([first, y], [last, y], road.lane_m))
    for index in range(road.oncoming):
        y = -road.median_m / 2 - (index + 0.5) * road.lane_m
        network.add_lane("c", "d", _lane([last, y], [first, y], road.lane_m))
    return network


def _lane(start: list[float], end: list[float], width: float) -> StraightLane:
    # The limit is set through the driver's wish; a lane's own limit would clip it a second time.
    return StraightLane(start, end, width=width, line_types=[LineType.NONE, LineType.NONE], speed_limit=100.0)


def _populate(rng, world, road, calm, ego_mood, mood, gap_m, start_m, horizon_s) -> Driver:
    """Put the ego on a lane of its own direction and others on all lanes, around and ahead of it."""
    ego_lane, ego = int(rng.integers(road.own)), None
    for direction, count in (("a", "b"), road.own), (("c", "d"), road.oncoming):
        for index in range(count):
            ours = direction[0] == "a"
            s = start_m - (rng.uniform(*gap_m) if ours else 0.0)
            end = start_m + (95.0 if ours else 260.0)
            if ours and index == ego_lane:
                ego = _add(rng, world, (*direction, index), start_m, calm, ego_mood, horizon_s, EGO_KIND)
                s = start_m
            while (s := s + rng.uniform(*gap_m) * (1.0 if ours else 1.6)) < end:
                _add(rng, world, (*direction, index), s, calm, mood, horizon_s, None)
    return ego


def _add(rng, world, index, s, calm, mood, horizon_s, kind) -> Driver:
    lane = world.network.get_lane(index)
    forward = np.cos(lane.heading) > 0
    along = s - lane.start[0] if forward else lane.start[0] - s
    wishes = _wishes(rng, mood, horizon_s)
    vehicle = Driver(world, lane.position(along, 0.0), lane.heading_at(along), speed=float(wishes[0, 1]), target_lane_index=index)
    kind = kind or str(rng.choice(list(SHAPES), p=[share for _, _, share in SHAPES.values()]))
    small, large, _ = SHAPES[kind]
    vehicle.set_up(calm, wishes, rng.uniform(small, large), kind)
    vehicle.randomize_behavior()
    world.vehicles.append(vehicle)
    return vehicle


def _wishes(rng, mood: Mood, horizon_s: float) -> Float64[np.ndarray, "n 2"]:
    """Wanted speeds: held for a while around a personal cruising speed, with stops."""
    cruise, now_s, rows = rng.uniform(*mood.speed_mps), 0.0, []
    while now_s < horizon_s:
        if rng.random() < mood.stop_share:
            rows.append((now_s, 0.0))
            now_s += rng.uniform(*mood.stop_s)
        else:
            rows.append((now_s, np.clip(cruise * rng.uniform(0.6, 1.3), *mood.speed_mps)))
            now_s += rng.uniform(*mood.hold_s)
    return np.array(rows)


def _hazard(rng, world: Road, ego: Driver, now_s: float) -> None:
    """The nearest vehicle ahead of the ego brakes to a halt for a while, or one beside cuts in before it."""
    ahead = [
        vehicle for vehicle in world.vehicles
        if vehicle is not ego and vehicle.lane_index[:2] == ego.lane_index[:2] and 3.0 < ego.lane_distance_to(vehicle) < 50.0
    ]  # fmt: skip
    if not ahead:
        return
    vehicle = min(ahead, key=ego.lane_distance_to)
    if vehicle.lane_index == ego.lane_index:
        later = vehicle.wishes[vehicle.wishes[:, 0] > now_s + 4.0]
        slow = [[now_s, rng.uniform(0.0, 4.0)], [now_s + rng.uniform(1.5, 4.0), vehicle.wishes[0, 1]]]
        vehicle.wishes = np.concatenate([slow, later])
    else:
        vehicle.target_lane_index = ego.lane_index


def _other_lane(rng, world: Road, vehicle: Driver) -> None:
    """Wish for a neighbouring lane, if nobody is there."""
    if sides := world.network.side_lanes(vehicle.lane_index):
        index = sides[int(rng.integers(len(sides)))]
        front, rear = world.neighbour_vehicles(vehicle, index)
        if all(other is None or abs(vehicle.lane_distance_to(other)) > 10.0 for other in (front, rear)):
            vehicle.target_lane_index = index


def _state(vehicle: Driver) -> tuple[float, float, float, float]:
    return (*vehicle.position, vehicle.heading, vehicle.speed)


def _mirrored(states: Float64[np.ndarray, "*n 4"]) -> Float64[np.ndarray, "*n 4"]:
    """x, y, heading, speed with y up instead of down. The only mirror of the package."""
    return states * np.array([1.0, -1.0, -1.0, 1.0])


def _recording(states: Float64[np.ndarray, "T N 4"], vehicles: list[Driver], ego: Driver, rate_hz: float) -> Recording:
    states = _mirrored(states)
    row = vehicles.index(ego)
    x, y, heading, speed = states[:, row].T
    # highway-env's bicycle has its axles at the bumpers: the rear axle, which moves along the heading, is half a length back.
    back = ego.LENGTH / 2
    rear = np.stack([x - back * np.cos(heading), y - back * np.sin(heading), utils.wrap_to_pi(heading)], -1)
    others = np.array([index for index in range(len(vehicles)) if index != row], int)
    agents = Agents(
        poses=states[:, others, :3], speed_mps=states[:, others, 3],
        sizes=np.array([vehicles[index].size for index in others]).reshape(-1, 3),
        kinds=tuple(vehicles[index].kind for index in others),
    )  # fmt: skip
    return Recording(times_s=np.arange(len(states)) / rate_hz, ego=rear, ego_speed_mps=speed, agents=agents)
