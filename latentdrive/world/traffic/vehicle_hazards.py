"""Hazards by other vehicles: a stopped car behind a bend, a late cut-in, and an oncoming car on the ego's side."""

import numpy as np
from jaxtyping import Float64

from latentdrive.world.roads.layouts import Layout
from latentdrive.world.traffic.drivers import Calm, Driver, QuietRoad, StopLine
from latentdrive.world.traffic.hazards import BEFORE_M, HazardSpec, release, single_agent, stopping_m
from latentdrive.world.traffic.recording import Agents

STANDS = np.array([[-np.inf, 0.0]])  # the desired speeds of a vehicle that never drives
CAR_M = np.array([4.5, 1.8, 1.5])  # length, width, height
CLEAR_ROAD_M = 14.0  # vehicles closer than this to a placed car are removed
STOPPED_CAR_S, CUT_IN_S = 6.0, 5.0  # how long these hazards last


class StoppedCar:
    """A car that stands in the ego's lane where the road has just bent away."""

    waits_beside = False

    def __init__(self, rng: np.random.Generator, layout: Layout, spec: HazardSpec, *, calm: Calm) -> None:
        self._margin, self._calm, self._line = float(rng.uniform(*spec.margin)), calm, layout.line
        self._range, self._car = spec.bend_m, None
        self.span_s: tuple[float, float] | None = None

    def tick(self, rng: np.random.Generator, world: QuietRoad, ego: Driver, now_s: float) -> None:
        """Place the car at the first call. The hazard begins when the ego has to react to it."""
        if self._car is None:
            self._car = self._place(world, ego)
        gap = _bumper_gap(ego, self._car)
        same_lane = self._car.lane_index == ego.lane_index
        reaction_m = 1.6 * self._margin * stopping_m(ego) + 8.0
        if self.span_s is None and now_s > 0 and same_lane and 0 < gap < reaction_m:
            self.span_s = now_s, now_s + STOPPED_CAR_S

    def agents(self, times_s: Float64[np.ndarray, "T"]) -> Agents | None:
        """Return None: the stopped car is a driver like the others."""
        return None

    def agents_if_begun(self, times_s: Float64[np.ndarray, "T"], began_s: float) -> Agents | None:
        """Return None, as `agents` does."""
        return None

    def _place(self, world: QuietRoad, ego: Driver) -> Driver:
        """Put the car 15 m behind the sharpest bend in its range, and remove the vehicles between it and the ego."""
        near, far = ego.position[0] + self._range[0], ego.position[0] + self._range[1]
        s = np.arange(near, far, 2.0)
        place_m = float(s[int(np.argmax(np.abs(self._line.curvature_at(s - 15.0))))])
        between = [
            vehicle
            for vehicle in world.vehicles
            if vehicle.lane_index == ego.lane_index and ego.position[0] < vehicle.position[0] < place_m
        ]
        world.vehicles = [vehicle for vehicle in world.vehicles if vehicle not in between]
        return put_car(world, ego, ego.lane_index, place_m, self._calm, Parked)


class CutIn:
    """A vehicle that drives beside the ego, slightly ahead, changes into its lane late and slows down."""

    waits_beside = False

    def __init__(self, rng: np.random.Generator, layout: Layout, spec: HazardSpec, *, calm: Calm) -> None:
        self._gap, self._after = float(rng.uniform(*spec.cut_gap_m)), float(rng.uniform(*spec.cut_after_s))
        self._calm, self._car, self._slow_mps = calm, None, 0.0
        self.span_s: tuple[float, float] | None = None

    def tick(self, rng: np.random.Generator, world: QuietRoad, ego: Driver, now_s: float) -> None:
        """Keep the vehicle beside the ego, then let it cut in."""
        if self._car is None:
            sides = world.network.side_lanes(ego.lane_index)
            if not sides:
                return
            self._car = put_car(world, ego, sides[0], float(ego.position[0]) + 12.0, self._calm, Driver)
            self._car.speed = ego.speed
        gap = _bumper_gap(ego, self._car)
        if self.span_s is None:
            self._car.wishes = np.array([[-np.inf, max(0.0, ego.speed + 0.5 * (self._gap - gap))]])
            beside = self._car.lane_index in world.network.side_lanes(ego.lane_index)
            if now_s > self._after and beside and abs(gap - self._gap) < 1.5 and ego.speed > 3.0:
                self._car.target_lane_index = ego.lane_index
                self._slow_mps = 0.75 * ego.speed
                self.span_s = now_s, now_s + CUT_IN_S
        else:
            speed = self._slow_mps if now_s < self.span_s[1] else 1.3 * self._slow_mps
            self._car.wishes = np.array([[-np.inf, speed]])

    def agents(self, times_s: Float64[np.ndarray, "T"]) -> Agents | None:
        """Return None: the vehicle is a driver like the others."""
        return None

    def agents_if_begun(self, times_s: Float64[np.ndarray, "T"], began_s: float) -> Agents | None:
        """Return None, as `agents` does."""
        return None


class OncomingCar:
    """An oncoming car that goes around a parked car on its side, through the ego's lane."""

    waits_beside = False

    def __init__(self, rng: np.random.Generator, layout: Layout, spec: HazardSpec, *, calm: Calm) -> None:
        self._margin, self._speed = float(rng.uniform(*spec.margin)), float(rng.uniform(*spec.overtake_mps))
        self._lead, self._calm, self._parked = float(rng.uniform(*spec.lead_m)), calm, None
        self._around, self._shift = spec.around_m, spec.shift_m
        lanes = layout.network.lanes_dict()
        own_roads = {start.lane[:2] for start in layout.ego_starts}
        self._lane = next((index for index in lanes if index[:2] not in own_roads and index[2] == 0), None)
        self._oncoming_y = None if self._lane is None else -float(lanes[self._lane].position(0, 0)[1])
        self._own_y = max(-float(lane.position(0, 0)[1]) for index, lane in lanes.items() if index[:2] in own_roads)
        self._began_s: float | None = None
        self._lines: list[StopLine] = []
        self.span_s: tuple[float, float] | None = None

    def tick(self, rng: np.random.Generator, world: QuietRoad, ego: Driver, now_s: float) -> None:
        """Begin while the ego can still stop before the place where the oncoming car returns to its side."""
        if self._lane is None:
            return
        if self._parked is None:
            self._x = float(ego.position[0]) + self._lead + 60.0
            lane = world.network.get_lane(self._lane)
            s = lane.local_coordinates(np.array([self._x, lane.position(0, 0)[1]]))[0]
            self._parked = put_car(world, ego, self._lane, s, self._calm, Parked)
        return_x = self._x - self._around - self._shift
        if self._began_s is None:
            gap = return_x - BEFORE_M - ego.position[0] - ego.size[0] / 2
            if now_s > 0 and 0 < gap < self._margin * stopping_m(ego) + self._margin * ego.speed:
                self._began_s = now_s
                self.span_s = now_s, now_s + 2 * (self._around + self._shift) / self._speed
                self._lines = [StopLine(world, np.array([return_x - BEFORE_M, -self._own_y]))]
                world.objects += self._lines
        elif now_s > self.span_s[1]:
            release(world, self._lines)
            self._lines = []

    def agents(self, times_s: Float64[np.ndarray, "T"]) -> Agents | None:
        """Return the oncoming car, which changes sides along half cosine waves."""
        return None if self._began_s is None else self.agents_if_begun(times_s, self._began_s)

    def agents_if_begun(self, times_s: Float64[np.ndarray, "T"], began_s: float) -> Agents | None:
        """Return the oncoming car as it moves if it begins to go around the parked car at began_s."""
        reach = self._around + self._shift
        x = self._x + reach - self._speed * (times_s - began_s)
        into = np.clip((self._x + reach - x) / self._shift, 0.0, 1.0)
        back = np.clip((self._x - self._around - x) / self._shift, 0.0, 1.0)
        share = (np.cos(np.pi * back) - np.cos(np.pi * into)) / 2
        slope = np.pi / (2 * self._shift) * (np.sin(np.pi * into) - np.sin(np.pi * back))
        y = self._oncoming_y + (self._own_y - self._oncoming_y) * share
        heading = np.arctan2((self._own_y - self._oncoming_y) * slope, -1.0)
        return single_agent(np.stack([x, y, heading], -1), np.full(len(x), self._speed), CAR_M, "car")


class Parked(Driver):
    """A parked or broken-down car without a driver."""

    def act(self, action: dict | str | None = None) -> None:
        """Neither steer nor accelerate."""
        self.action = {"steering": 0.0, "acceleration": 0.0}

    def step(self, dt: float) -> None:
        """Stand."""
        self.speed = 0.0


def put_car(world: QuietRoad, ego: Driver, lane_index: tuple, s: float, calm: Calm, kind: type[Driver]) -> Driver:
    """Put a standing car at s metres of a lane, and remove the vehicles that are close to this place."""
    lane = world.network.get_lane(lane_index)
    place = lane.position(s, 0.0)
    world.vehicles = [
        vehicle for vehicle in world.vehicles if vehicle is ego or np.hypot(*(vehicle.position - place)) > CLEAR_ROAD_M
    ]
    car = kind(world, place, lane.heading_at(s), speed=0.0, target_lane_index=lane_index, enable_lane_change=False)
    car.set_up(calm, 1.0, STANDS, CAR_M, "car", False)
    world.vehicles.append(car)
    return car


def _bumper_gap(ego: Driver, car: Driver) -> float:
    """Metres from the front of the ego to the rear of a car ahead."""
    return ego.lane_distance_to(car) - (ego.size[0] + car.size[0]) / 2
