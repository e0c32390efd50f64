"""Hazards: a pedestrian who crosses, an oncoming car on our side, a stopped car behind a bend, a late cut-in, a red light.

Above traffic.py, below navsim_drive.py. Each is an Event of the simulation: it waits until the ego is near, and then happens in
a way that a driver who looks can master in comfort. What is not a driver (walkers, the oncoming car) gets its track afterwards.
Positions are those of a bent road before it is bent: x along, y to the left.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from latentdrive.types import FROZEN
from latentdrive.world.roads.layouts import Layout
from latentdrive.world.traffic.drivers import Calm, Driver, Event, QuietRoad, StopLine
from latentdrive.world.traffic.lights import Lights, LightTimes
from latentdrive.world.traffic.recording import Agents

STANDS = np.array([[-np.inf, 0.0]])  # the wish of who never drives
CAR_M = np.array([4.5, 1.8, 1.5])
CLEAR_ROAD_M = 14.0  # nobody else may start nearer to a placed vehicle
FIRST_S = 1.0  # a hazard counts if it begins at least this long after the first frame
BEFORE_M = 4.0  # stop lines lie this far before what blocks the way
CLEAR_LANE_M = 0.5  # drivers wait until a walker has left their lanes by this


class HazardKind(StrEnum):
    """What happens in a drive beside ordinary traffic."""

    NONE = "none"
    PEDESTRIAN = "pedestrian"
    ONCOMING = "oncoming"
    STOPPED_CAR = "stopped_car"
    CUT_IN = "cut_in"
    RED_LIGHT = "red_light"


@dataclass(**FROZEN)
class HazardSpec:
    """Ranges that hazards are drawn from. margin: distance at which one begins, as a multiple of a comfortable stop.

    lead_m: how far ahead of the ego's start it lies; bend_m: the same for a stopped car. walk_mps: pace of a pedestrian. overtake_mps: speed of the oncoming car;
    around_m: how far before and behind the standing car it drives on our side; shift_m: length of each of its changes of lane.
    cut_gap_m: bumper to bumper, when a vehicle cuts in; cut_after_s: not earlier.
    """

    margin: tuple[float, float]
    lead_m: tuple[float, float]
    bend_m: tuple[float, float]
    walk_mps: tuple[float, float]
    overtake_mps: tuple[float, float]
    around_m: float
    shift_m: float
    cut_gap_m: tuple[float, float]
    cut_after_s: tuple[float, float]


@runtime_checkable
class Hazard(Event, Protocol):
    """An event that the ego has to answer. span_s: when it began and ended after the first frame; None if it never happened."""

    span_s: tuple[float, float] | None

    def agents(self, times_s: Float64[np.ndarray, "T"]) -> Agents | None:
        """Those that are no drivers, in the coordinates of the layout."""


class CrossingPedestrian:
    """Somebody steps onto a crosswalk before the ego and walks over the whole road."""

    def __init__(
        self,
        rng: np.random.Generator,
        layout: Layout,
        spec: HazardSpec,
        *,
        crosswalks_m: tuple[float, ...],
        shoulder_m: float,
    ):
        self._margin, self._pace = float(rng.uniform(*spec.margin)), float(rng.uniform(*spec.walk_mps))
        self._lead = float(rng.uniform(*spec.lead_m))
        self._crosswalks, self._from_right = crosswalks_m, bool(rng.random() < 0.5)
        lanes = layout.network.lanes_dict()
        edges = [(index[:2], -float(lane.position(0, 0)[1]), lane.width_at(0) / 2) for index, lane in lanes.items()]
        self._lanes_right, self._lanes_left = (
            min(y - half for _, y, half in edges),
            max(y + half for _, y, half in edges),
        )
        self._right, self._left = self._lanes_right - shoulder_m, self._lanes_left + shoulder_m
        own = {start.lane[:2] for start in layout.ego_starts}
        self._own_left = max(y + half for road, y, half in edges if road in own)
        self._theirs = min((y - half for road, y, half in edges if road not in own), default=self._own_left)
        self._lanes, self._own = lanes, own
        self._x: float | None = None
        self._begun: float | None = None
        self._lines: dict[bool, list[StopLine]] = {}
        self.span_s: tuple[float, float] | None = None

    def tick(self, rng: np.random.Generator, world: QuietRoad, ego: Driver, now_s: float) -> None:
        """Wait for the ego, hold up everybody while walking, and let them go."""
        if self._x is None:
            ahead = [x for x in self._crosswalks if x > ego.position[0] + self._lead]
            if not ahead:
                return
            self._x = ahead[0]
        if self._begun is None:
            gap = self._x - BEFORE_M - ego.position[0] - ego.size[0] / 2
            if now_s > 0 and 0 < gap < self._margin * stopping_m(ego) + 4.0:
                self._begun = now_s
                self.span_s = now_s, now_s + (self._left - self._right + 4.0) / self._pace
                self._hold(world)
            return
        y = self._y(np.array([now_s]))[0]
        if self._own_left + CLEAR_LANE_M < y if self._from_right else y < self._lanes_right - CLEAR_LANE_M:
            release(world, self._lines.pop(True, []))
        if y > self._lanes_left + CLEAR_LANE_M if self._from_right else y < self._theirs - CLEAR_LANE_M:
            release(world, self._lines.pop(False, []))

    def agents(self, times_s: Float64[np.ndarray, "T"]) -> Agents | None:
        if self._begun is None:
            return None
        y = self._y(times_s)
        turn = np.pi / 2 if self._from_right else -np.pi / 2
        poses = np.stack([np.full(len(y), self._x), y, np.full(len(y), turn)], -1)
        speed = np.where(times_s >= self._begun, self._pace, 0.0)
        return one_agent(poses, speed, np.array([0.6, 0.6, 1.75]), "pedestrian")

    def _y(self, times_s: Float64[np.ndarray, "T"]) -> Float64[np.ndarray, "T"]:
        walked = self._pace * np.maximum(times_s - self._begun, 0.0)
        return self._right - 0.8 + walked if self._from_right else self._left + 0.8 - walked

    def _hold(self, world: QuietRoad) -> None:
        for index, lane in self._lanes.items():
            own, forward = index[:2] in self._own, bool(np.cos(lane.heading_at(0.0)) > 0)
            at = self._x - BEFORE_M if forward else self._x + BEFORE_M
            line = StopLine(world, np.array([at, lane.position(0.0, 0.0)[1]]))
            self._lines.setdefault(own, []).append(line)
            world.objects.append(line)


class StoppedCar:
    """A car stands in the ego's lane, where the road has just bent away."""

    def __init__(self, rng: np.random.Generator, layout: Layout, spec: HazardSpec, *, calm: Calm):
        self._margin, self._calm, self._line = float(rng.uniform(*spec.margin)), calm, layout.line
        self._range, self._car, self._begun = spec.bend_m, None, None
        self.span_s: tuple[float, float] | None = None

    def tick(self, rng: np.random.Generator, world: QuietRoad, ego: Driver, now_s: float) -> None:
        """Stand there; it counts from when the ego has to answer until it stands or has passed."""
        if self._car is None:
            near, far = ego.position[0] + self._range[0], ego.position[0] + self._range[1]
            s = np.arange(near, far, 2.0)
            bend = float(s[int(np.argmax(np.abs(self._line.curvature_at(s - 15.0))))])
            between = [
                v for v in world.vehicles if v.lane_index == ego.lane_index and ego.position[0] < v.position[0] < bend
            ]
            world.vehicles = [v for v in world.vehicles if v not in between]
            self._car = put(world, ego, ego.lane_index, bend, self._calm, Parked)
        gap = ego.lane_distance_to(self._car) - (ego.size[0] + self._car.size[0]) / 2
        same = self._car.lane_index == ego.lane_index
        if self._begun is None and now_s > 0 and same and 0 < gap < 1.6 * self._margin * stopping_m(ego) + 8.0:
            self._begun = now_s
            self.span_s = now_s, now_s + 6.0

    def agents(self, times_s: Float64[np.ndarray, "T"]) -> Agents | None:
        return None  # a driver like the others


class CutIn:
    """A vehicle beside the ego, a little ahead, changes into its lane late and slows down."""

    def __init__(self, rng: np.random.Generator, layout: Layout, spec: HazardSpec, *, calm: Calm):
        self._gap, self._after = float(rng.uniform(*spec.cut_gap_m)), float(rng.uniform(*spec.cut_after_s))
        self._calm, self._car = calm, None
        self.span_s: tuple[float, float] | None = None

    def tick(self, rng: np.random.Generator, world: QuietRoad, ego: Driver, now_s: float) -> None:
        """Stay beside the ego, then cut in."""
        if self._car is None:
            sides = world.network.side_lanes(ego.lane_index)
            if not sides:
                return
            self._car = put(world, ego, sides[0], float(ego.position[0]) + 12.0, self._calm, Driver)
            self._car.speed = ego.speed
        ahead = ego.lane_distance_to(self._car)
        gap = ahead - (ego.size[0] + self._car.size[0]) / 2
        if self.span_s is None:
            self._car.wishes = np.array([[-np.inf, max(0.0, ego.speed + 0.5 * (self._gap - gap))]])
            beside = self._car.lane_index in world.network.side_lanes(ego.lane_index)
            if now_s > self._after and beside and abs(gap - self._gap) < 1.5 and ego.speed > 3.0:
                self._car.target_lane_index = ego.lane_index
                self._slow = 0.75 * ego.speed
                self.span_s = now_s, now_s + 5.0
        else:
            self._car.wishes = np.array([[-np.inf, self._slow if now_s < self.span_s[1] else 1.3 * self._slow]])

    def agents(self, times_s: Float64[np.ndarray, "T"]) -> Agents | None:
        return None


class OncomingCar:
    """A car stands on the other side, and one that comes towards us goes around it through our lane."""

    def __init__(self, rng: np.random.Generator, layout: Layout, spec: HazardSpec, *, calm: Calm):
        self._margin, self._speed = float(rng.uniform(*spec.margin)), float(rng.uniform(*spec.overtake_mps))
        self._lead, self._calm, self._parked = float(rng.uniform(*spec.lead_m)), calm, None
        self._around, self._shift = spec.around_m, spec.shift_m
        lanes = layout.network.lanes_dict()
        own = {start.lane[:2] for start in layout.ego_starts}
        self._lane = next((index for index in lanes if index[:2] not in own and index[2] == 0), None)
        self._theirs = None if self._lane is None else -float(lanes[self._lane].position(0, 0)[1])
        self._ours = max(-float(lane.position(0, 0)[1]) for index, lane in lanes.items() if index[:2] in own)
        self._begun, self._lines = None, []
        self.span_s: tuple[float, float] | None = None

    def tick(self, rng: np.random.Generator, world: QuietRoad, ego: Driver, now_s: float) -> None:
        """Begin when the ego can still stop before the place where the other returns to its side."""
        if self._lane is None:
            return
        if self._parked is None:
            self._x = float(ego.position[0]) + self._lead + 60.0
            lane = world.network.get_lane(self._lane)
            s = lane.local_coordinates(np.array([self._x, lane.position(0, 0)[1]]))[0]
            self._parked = put(world, ego, self._lane, s, self._calm, Parked)
        back = self._x - self._around - self._shift
        if self._begun is None:
            gap = back - BEFORE_M - ego.position[0] - ego.size[0] / 2
            if now_s > 0 and 0 < gap < self._margin * stopping_m(ego) + self._margin * ego.speed:
                self._begun = now_s
                end = now_s + 2 * (self._around + self._shift) / self._speed
                self.span_s = now_s, end
                y = -self._ours
                self._lines = [StopLine(world, np.array([back - BEFORE_M, y]))]
                world.objects += self._lines
        elif now_s > self.span_s[1]:
            release(world, self._lines)
            self._lines = []

    def agents(self, times_s: Float64[np.ndarray, "T"]) -> Agents | None:
        if self._begun is None:
            return None
        reach = self._around + self._shift
        x = self._x + reach - self._speed * (times_s - self._begun)
        into = np.clip((self._x + reach - x) / self._shift, 0.0, 1.0)
        back = np.clip((self._x - self._around - x) / self._shift, 0.0, 1.0)
        share = (np.cos(np.pi * back) - np.cos(np.pi * into)) / 2
        slope = np.pi / (2 * self._shift) * (np.sin(np.pi * into) - np.sin(np.pi * back))
        y = self._theirs + (self._ours - self._theirs) * share
        heading = np.arctan2((self._ours - self._theirs) * slope, -1.0)
        return one_agent(np.stack([x, y, heading], -1), np.full(len(x), self._speed), CAR_M, "car")


class RedLight:
    """The light of the ego's approach is red and turns green some seconds after the ego would be there."""

    def __init__(self, rng: np.random.Generator, layout: Layout, spec: HazardSpec, *, times: LightTimes):
        self._layout, self._times = layout, times
        self._wait_s = float(rng.uniform(*spec.cut_after_s))
        self.lights: Lights | None = None
        self.span_s: tuple[float, float] | None = None

    def tick(self, rng: np.random.Generator, world: QuietRoad, ego: Driver, now_s: float) -> None:
        """Set the lights once the ego is there, then let them work."""
        if self.lights is None:
            lane = world.network.get_lane(ego.lane_index)
            left = lane.length - lane.local_coordinates(ego.position)[0]
            arrival = now_s + left / max(ego.speed, 4.0)
            green = max(arrival, 4.0) + self._wait_s
            self.lights = Lights.red_until(rng, self._layout, self._times, road=ego.lane_index[:2], until_s=green)
            self.span_s = max(FIRST_S, arrival - 5.0), green + 1.0
        self.lights.tick(rng, world, ego, now_s)

    def agents(self, times_s: Float64[np.ndarray, "T"]) -> Agents | None:
        return None


def stopping_m(driver: Driver) -> float:
    """Length of a stop in comfort, metres."""
    return driver.speed**2 / (2 * 0.8 * driver.calm.braking_mps2)


def release(world: QuietRoad, lines: list[StopLine]) -> None:
    """Take stop lines away."""
    for line in lines:
        world.objects.remove(line)


class Parked(Driver):
    """A car that nobody drives."""

    def act(self, action: dict | str | None = None) -> None:
        self.action = {"steering": 0.0, "acceleration": 0.0}

    def step(self, dt: float) -> None:
        self.speed = 0.0


def put(world: QuietRoad, ego: Driver, lane_index: tuple, s: float, calm: Calm, kind: type[Driver]) -> Driver:
    """A car that stands at s metres of a lane; whoever was near that place is taken off the road."""
    lane = world.network.get_lane(lane_index)
    place = lane.position(s, 0.0)
    world.vehicles = [v for v in world.vehicles if v is ego or np.hypot(*(v.position - place)) > CLEAR_ROAD_M]
    car = kind(world, place, lane.heading_at(s), speed=0.0, target_lane_index=lane_index, enable_lane_change=False)
    car.set_up(calm, 1.0, STANDS, CAR_M, "car", False)
    world.vehicles.append(car)
    return car


def one_agent(
    poses: Float64[np.ndarray, "T 3"], speed: Float64[np.ndarray, "T"], size: Float64[np.ndarray, "3"], kind: str
) -> Agents:
    """A single agent over time."""
    return Agents(poses=poses[:, None], speed_mps=speed[:, None], sizes=size[None], kinds=(kind,))
