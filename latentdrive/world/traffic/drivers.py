"""Drivers: highway-env's IDM and MOBIL drivers, calmer and moodier, and the road that they share.

Below traffic.py, which puts them on a road. Drivers differ from highway-env's in being calm (yaw rate and lateral acceleration
are bounded: the originals steer up to 2.7 rad/s) and moody (they change the speed they want, brake for no reason, cut in),
since a world in which everybody holds 25 m/s teaches nothing.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from highway_env.road.regulation import RegulatedRoad
from highway_env.road.road import RoadNetwork
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.objects import Obstacle
from jaxtyping import Float64

from latentdrive.types import FROZEN

CONFLICT_M = 40.0  # vehicles farther apart need not yield to each other
STANDSTILL_MPS = 0.1
NEIGHBOUR_M = 70.0  # vehicles farther away, along x or y, are no neighbours


@dataclass(**FROZEN)
class Calm:
    """What a driver never exceeds. yaw_rate: rad/s. lateral, braking, accelerating: m/s^2. lane_change_s: time constant.

    curve_share: how much of yaw rate and lateral acceleration a curve may take; the rest is for changing lanes in it.
    foresight_mps2: the braking that IDM plans with when it nears somebody: less of it means braking earlier. coolness: how far
    a driver trusts that nobody brakes suddenly, in place of IDM's fright when a gap is short (Kesting et al., 2010, c); 0 to 1.
    """

    yaw_rate: float
    lateral_mps2: float
    braking_mps2: float
    accelerating_mps2: float
    lane_change_s: float
    curve_share: float
    foresight_mps2: float
    coolness: float


@dataclass(**FROZEN)
class Mood:
    """How the wanted speed wanders. Ranges in m/s and s; stop_share: how often the next wanted speed is standstill."""

    speed_mps: tuple[float, float]
    hold_s: tuple[float, float]
    stop_share: float
    stop_s: tuple[float, float]


class StopLine(Obstacle):
    """A place that nobody may pass for now. Who could only stop before it by braking hard passes: as at an amber light."""

    def binds(self, driver: "Driver") -> bool:
        """Whether the driver can still stop here in comfort."""
        gap = float(np.hypot(*(self.position - driver.position))) - driver.size[0] / 2 - self.LENGTH / 2
        return bool(driver.speed**2 <= 2 * driver.calm.braking_mps2 * max(gap, 0.0) or driver.speed < STANDSTILL_MPS)


@runtime_checkable
class Event(Protocol):
    """Something that happens in a simulation beside the drivers: lights, hazards. Called before everybody acts."""

    def tick(self, rng: np.random.Generator, world: "QuietRoad", ego: "Driver", now_s: float) -> None: ...


class Driver(IDMVehicle):
    """highway-env's IDM/MOBIL driver, calmer in steering and braking, with wishes that change over time."""

    TAU_HEADING = 0.4  # s; the original 0.2 is too stiff for our longer steps
    KP_HEADING = 1 / TAU_HEADING
    TAU_PURSUIT = 0.5 * TAU_HEADING
    DISTANCE_WANTED = 3.0  # m between bumpers at standstill
    LANE_CHANGE_DELAY = 2.0  # s

    def set_up(
        self,
        calm: Calm,
        steering_share: float,
        wishes: Float64[np.ndarray, "n 2"],
        size: Float64[np.ndarray, "3"],
        kind: str,
        movable: bool,
        rear_to_centre_m: float | None = None,
    ) -> None:
        """wishes: rows of time in s and wanted speed in m/s, held until the next row. steering_share: of the calm's bounds.
        rear_to_centre_m: from the rear axle, which moves along the heading; half a length where None."""
        self.calm, self.wishes, self.size, self.kind, self.movable = calm, wishes, size, kind, movable
        self.yaw_bound, self.lateral_bound = steering_share * calm.yaw_rate, steering_share * calm.lateral_mps2
        # highway-env's bicycle has its axles half a LENGTH before and behind the centre; bodies are measured by `size`.
        self.LENGTH = float(size[0]) if rear_to_centre_m is None else 2 * rear_to_centre_m
        self.WIDTH = float(size[1])
        self.KP_LATERAL, self.COMFORT_ACC_MIN = 1 / calm.lane_change_s, -calm.foresight_mps2

    def wish(self, now_s: float, limit_mps: float) -> None:
        """Want what the mood says, but no more than the curve allows."""
        row = max(0, int(np.searchsorted(self.wishes[:, 0], now_s, side="right")) - 1)
        yields = getattr(self, "is_yielding", False)
        self.target_speed = 0.01 if yields else max(0.01, min(self.wishes[row, 1], limit_mps))

    def steering_control(self, target_lane_index) -> float:
        """The original's steering, with yaw rate and lateral acceleration bounded."""
        steering = super().steering_control(target_lane_index)
        speed = max(abs(self.speed), 0.5)
        yaw_rate = min(self.yaw_bound, self.lateral_bound / speed)
        slip = np.arcsin(min(1.0, yaw_rate * self.LENGTH / 2 / speed))
        bound = min(np.arctan(2 * np.tan(min(slip, 0.7))), 0.6)
        return float(max(-bound, min(steering, bound)))

    def acceleration(self, ego_vehicle, front_vehicle=None, rear_vehicle=None) -> float:
        """IDM (Treiber et al., 2000) with the gap measured between bumpers and bounded braking on a free road."""
        if not isinstance(ego_vehicle, Driver):
            return 0.0
        calm = ego_vehicle.calm
        wanted = max(ego_vehicle.target_speed, 0.01)
        free = 1 - (max(ego_vehicle.speed, 0.0) / wanted) ** self.DELTA
        result = max(calm.accelerating_mps2 * free, -calm.braking_mps2)
        if front_vehicle is not None:
            gap = ego_vehicle.lane_distance_to(front_vehicle) - (_length(ego_vehicle) + _length(front_vehicle)) / 2
            wanted_gap = max(self.desired_gap(ego_vehicle, front_vehicle), self.DISTANCE_WANTED)
            result -= calm.accelerating_mps2 * (wanted_gap / max(gap, 0.5)) ** 2
            if calm.coolness:
                result = _cooled(result, ego_vehicle, front_vehicle, max(gap, 0.5))
        return float(result)

    def on_state_update(self) -> None:
        """The original's search for the lane, among those that can be reached from the present one."""
        graph, (start, end, _) = self.road.network.graph, self.lane_index
        roads = [(start, end), self.target_lane_index[:2], *((end, following) for following in graph.get(end, {}))]
        indices = [(*road, number) for road in dict.fromkeys(roads) for number in range(len(graph[road[0]][road[1]]))]
        lanes = [self.road.network.get_lane(index) for index in indices]
        nearest = int(np.argmin([lane.distance_with_heading(self.position, self.heading) for lane in lanes]))
        self.lane_index, self.lane = indices[nearest], lanes[nearest]

    def step(self, dt: float) -> None:
        """The original's step, but nobody rolls backwards."""
        self.action["acceleration"] = max(self.action["acceleration"], -self.speed / dt)
        super().step(dt)
        self.speed = max(self.speed, 0.0)


class QuietRoad(RegulatedRoad):
    """A road that does not look for collisions: vehicles that touch are dropped from the recording. Some roads have rules."""

    def __init__(self, network: RoadNetwork, rng: np.random.Generator, *, rules: bool) -> None:
        super().__init__(network=network, np_random=rng, neighbour_vehicles_connected_lanes=True)
        self.rules = rules

    def step(self, dt: float) -> None:
        self.steps += 1
        if self.rules and self.steps % round(1 / dt / self.REGULATION_FREQUENCY) == 0:
            self.enforce_road_rules()
        for vehicle in self.vehicles:
            vehicle.step(dt)

    def neighbour_vehicles(self, vehicle, lane_index=None):
        """The original's search, among those near enough to matter: it is what a simulation spends its time on."""
        x, y = vehicle.position
        everybody, everything = self.vehicles, self.objects
        self.vehicles = [
            v for v in everybody if abs(v.position[0] - x) < NEIGHBOUR_M and abs(v.position[1] - y) < NEIGHBOUR_M
        ]
        self.objects = [thing for thing in everything if not isinstance(thing, StopLine) or thing.binds(vehicle)]
        try:
            return super().neighbour_vehicles(vehicle, lane_index)
        finally:
            self.vehicles, self.objects = everybody, everything

    @staticmethod
    def is_conflict_possible(v1, v2, horizon: int = 3, step: float = 0.25) -> bool:
        near = np.hypot(*(v1.position - v2.position)) < CONFLICT_M
        return bool(near and RegulatedRoad.is_conflict_possible(v1, v2, horizon, step))


def _cooled(idm: float, driver: Driver, front: Driver | Obstacle, gap: float) -> float:
    """The acceleration of the ACC model of Kesting et al. (2010): IDM's, softened where a constant one would do."""
    calm, speed = driver.calm, driver.speed
    theirs = min(getattr(front, "action", {}).get("acceleration", 0.0), calm.accelerating_mps2)
    lead = max(float(np.dot(front.velocity, driver.direction)), 0.0)
    if theirs < 0 and lead * (speed - lead) <= -2 * gap * theirs:
        enough = speed**2 * theirs / (lead**2 - 2 * gap * theirs)
    else:
        enough = theirs - max(speed - lead, 0.0) ** 2 / (2 * gap)
    if idm >= enough:
        return idm
    braking = calm.foresight_mps2
    return (1 - calm.coolness) * idm + calm.coolness * (enough + braking * np.tanh((idm - enough) / braking))


def _length(thing: Driver | Obstacle) -> float:
    return float(thing.size[0]) if isinstance(thing, Driver) else float(thing.LENGTH)
