"""Drivers based on highway-env's IDM and MOBIL vehicles, and the road that they share.

simulate.py puts them on a road. They differ from highway-env's drivers in two ways. Their yaw rate
and lateral acceleration are bounded (the originals steer with up to 2.7 rad/s), and their desired
speed changes over time with stops and cut-ins, because traffic in which everybody holds 25 m/s
teaches nothing.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from highway_env.road.regulation import RegulatedRoad
from highway_env.road.road import RoadNetwork
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.kinematics import Vehicle
from highway_env.vehicle.objects import Obstacle
from jaxtyping import Float64

from latentdrive.types import FROZEN

CONFLICT_M = 40.0  # vehicles farther apart than this never have to yield to each other
STANDSTILL_MPS = 0.1
NEIGHBOUR_M = 70.0  # vehicles farther away than this along x or y are no neighbours


@dataclass(**FROZEN)
class Calm:
    """The bounds of a calm driver.

    yaw_rate: rad/s. lateral_mps2, braking_mps2, accelerating_mps2: largest accelerations.
    lane_change_s: time constant. curve_share: the share of yaw_rate and lateral_mps2 that a curve
    may use; the rest is left for lane changes in it. foresight_mps2: the comfortable deceleration
    of IDM; with a smaller one the driver brakes earlier. coolness: from 0 (IDM, which brakes hard
    when a gap is short) to 1 (the driver trusts that no vehicle brakes suddenly); the coolness factor c
    of Kesting et al. (2010).
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
    """How the desired speed of a driver varies over time. Pairs are ranges.

    speed_mps: desired speeds. hold_s: how long one of them is held. stop_share: probability that
    the next desired speed is 0. stop_s: how long a stop lasts.
    """

    speed_mps: tuple[float, float]
    hold_s: tuple[float, float]
    stop_share: float
    stop_s: tuple[float, float]


class StopLine(Obstacle):
    """A line that no vehicle may pass while it is on the road, except drivers who could only stop by braking hard."""

    def binds(self, driver: "Driver") -> bool:
        """Return whether the driver can still stop here with comfortable braking."""
        gap = float(np.hypot(*(self.position - driver.position))) - driver.size[0] / 2 - self.LENGTH / 2
        return bool(driver.speed**2 <= 2 * driver.calm.braking_mps2 * max(gap, 0.0) or driver.speed < STANDSTILL_MPS)


@dataclass(**FROZEN)
class Led:
    """The next state of a driver who is led from outside, in highway-env's coordinates, SI units."""

    position: Float64[np.ndarray, "2"]
    heading: float
    speed: float
    acceleration: float


@runtime_checkable
class Event(Protocol):
    """Something that happens in a simulation besides the driving, such as traffic lights and hazards."""

    def tick(self, rng: np.random.Generator, world: "QuietRoad", ego: "Driver", now_s: float) -> None:
        """Change the road or its drivers. Called before every step. now_s: seconds since the first recorded frame."""


class Driver(IDMVehicle):
    """highway-env's IDM/MOBIL driver with bounded steering and braking and a desired speed that changes over time."""

    led: "Led | None" = None  # where somebody else takes this driver in the next step
    is_yielding: bool = False  # set by RegulatedRoad.enforce_road_rules while another vehicle has right of way
    TAU_HEADING = 0.4  # s; the original 0.2 is too stiff for the longer steps of this simulation
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
        """Set what highway-env's constructor does not know.

        steering_share: the share of the yaw rate and lateral acceleration of `calm` that steering
        may use. wishes: rows of time in s and desired speed in m/s, which is held until the next
        row. rear_to_centre_m: from the rear axle to the centre; half the length if None.
        """
        self.calm, self.wishes, self.size, self.kind, self.movable = calm, wishes, size, kind, movable
        self.yaw_bound, self.lateral_bound = steering_share * calm.yaw_rate, steering_share * calm.lateral_mps2
        # highway-env's bicycle model has its axles LENGTH / 2 before and behind the centre. The box
        # of the vehicle has `size`.
        self.LENGTH = float(size[0]) if rear_to_centre_m is None else 2 * rear_to_centre_m
        self.WIDTH = float(size[1])
        self.KP_LATERAL, self.COMFORT_ACC_MIN = 1 / calm.lane_change_s, -calm.foresight_mps2

    def wish(self, now_s: float, limit_mps: float) -> None:
        """Set the target speed to the desired one, but to no more than limit_mps; a yielding driver stops."""
        row = max(0, int(np.searchsorted(self.wishes[:, 0], now_s, side="right")) - 1)
        self.target_speed = 0.01 if self.is_yielding else max(0.01, min(self.wishes[row, 1], limit_mps))

    def steering_control(self, target_lane_index) -> float:
        """Return the steering angle of the original driver, bounded in yaw rate and lateral acceleration."""
        steering = super().steering_control(target_lane_index)
        speed = max(abs(self.speed), 0.5)
        yaw_rate = min(self.yaw_bound, self.lateral_bound / speed)
        slip = np.arcsin(min(1.0, yaw_rate * self.LENGTH / 2 / speed))
        bound = min(np.arctan(2 * np.tan(min(slip, 0.7))), 0.6)
        return float(max(-bound, min(steering, bound)))

    def acceleration(self, ego_vehicle, front_vehicle=None, rear_vehicle=None) -> float:
        """IDM (Treiber et al., 2000), with gaps between bumpers and with bounded braking on a free road."""
        if not isinstance(ego_vehicle, Driver):
            return 0.0
        calm = ego_vehicle.calm
        target_speed = max(ego_vehicle.target_speed, 0.01)
        free = 1 - (max(ego_vehicle.speed, 0.0) / target_speed) ** self.DELTA
        result = max(calm.accelerating_mps2 * free, -calm.braking_mps2)
        if front_vehicle is not None:
            gap = ego_vehicle.lane_distance_to(front_vehicle) - (_length(ego_vehicle) + _length(front_vehicle)) / 2
            desired_gap = max(self.desired_gap(ego_vehicle, front_vehicle), self.DISTANCE_WANTED)
            result -= calm.accelerating_mps2 * (desired_gap / max(gap, 0.5)) ** 2
            if calm.coolness:
                result = _cooled(result, ego_vehicle, front_vehicle, max(gap, 0.5))
        return float(result)

    def on_state_update(self) -> None:
        """Find the lane of the driver, as the original does, among those that can be reached from the present one."""
        graph, (start, end, _) = self.road.network.graph, self.lane_index
        roads = [(start, end), self.target_lane_index[:2], *((end, following) for following in graph.get(end, {}))]
        indices = [(*road, number) for road in dict.fromkeys(roads) for number in range(len(graph[road[0]][road[1]]))]
        lanes = [self.road.network.get_lane(index) for index in indices]
        nearest = int(np.argmin([lane.distance_with_heading(self.position, self.heading) for lane in lanes]))
        self.lane_index, self.lane = indices[nearest], lanes[nearest]

    def act(self, action: dict | str | None = None) -> None:
        """Decide as the original does. A driver who is led only keeps to its route, which the others foresee."""
        if self.led is None:
            super().act(action)
            return
        self.target_lane_index = self.lane_index
        self.follow_road()
        self.action = {"steering": 0.0, "acceleration": self.led.acceleration}

    def step(self, dt: float) -> None:
        """Advance by dt seconds, as the original does, but never backwards."""
        if self.led is not None:
            self.position, self.heading, self.speed = self.led.position, self.led.heading, self.led.speed
            self.on_state_update()
            return
        self.action["acceleration"] = max(self.action["acceleration"], -self.speed / dt)
        super().step(dt)
        self.speed = max(self.speed, 0.0)


class QuietRoad(RegulatedRoad):
    """A road that ignores collisions; vehicles that touch are dropped from the recording afterwards.

    rules: whether vehicles yield where ways cross.
    """

    def __init__(self, network: RoadNetwork, rng: np.random.Generator, *, rules: bool) -> None:
        super().__init__(network=network, np_random=rng, neighbour_vehicles_connected_lanes=True)
        self.rules = rules

    def step(self, dt: float) -> None:
        """Advance all vehicles by dt seconds, and apply the right of way at highway-env's rate."""
        self.steps += 1
        if self.rules and self.steps % round(1 / dt / self.REGULATION_FREQUENCY) == 0:
            self.enforce_road_rules()
        for vehicle in self.vehicles:
            vehicle.step(dt)

    def neighbour_vehicles(self, vehicle, lane_index=None):
        """Search for neighbours as the original does, but only nearby: a simulation spends most of its time here."""
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
        """Apply the original's test to vehicles that are near each other."""
        near = np.hypot(*(v1.position - v2.position)) < CONFLICT_M
        return bool(near and RegulatedRoad.is_conflict_possible(v1, v2, horizon, step))


def _cooled(idm: float, driver: Driver, front: Driver | Obstacle, gap: float) -> float:
    """The ACC model of Kesting et al. (2010): IDM's acceleration, softened where a constant braking is sufficient."""
    calm, speed = driver.calm, driver.speed
    lead_acceleration = front.action["acceleration"] if isinstance(front, Vehicle) else 0.0  # obstacles never move
    lead_acceleration = min(lead_acceleration, calm.accelerating_mps2)
    lead = max(float(np.dot(front.velocity, driver.direction)), 0.0)
    if lead_acceleration < 0 and lead * (speed - lead) <= -2 * gap * lead_acceleration:
        enough = speed**2 * lead_acceleration / (lead**2 - 2 * gap * lead_acceleration)
    else:
        enough = lead_acceleration - max(speed - lead, 0.0) ** 2 / (2 * gap)
    if idm >= enough:
        return idm
    braking = calm.foresight_mps2
    return (1 - calm.coolness) * idm + calm.coolness * (enough + braking * np.tanh((idm - enough) / braking))


def _length(obstacle: Driver | Obstacle) -> float:
    """Length in metres: a driver's box is its `size`, since its LENGTH is that of the bicycle model."""
    return float(obstacle.size[0]) if isinstance(obstacle, Driver) else float(obstacle.LENGTH)
