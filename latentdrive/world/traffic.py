"""Traffic: IDM and MOBIL drivers of highway-env, recorded in the coordinates of their layout, y to the left.

Third step of the world, after roads.py. highway-env's y axis points down; `_mirrored` is the only place that turns it
over. What leaves this file has y to the left and headings counter-clockwise. Drivers differ from highway-env's in being
calm (yaw rate and lateral acceleration are bounded: the originals steer up to 2.7 rad/s) and moody (they change the speed
they want, brake for no reason, cut in), since a world in which everybody holds 25 m/s teaches nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from highway_env import utils
from highway_env.road.lane import LineType
from highway_env.road.regulation import RegulatedRoad
from highway_env.road.road import RoadNetwork
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.objects import Obstacle
from jaxtyping import Bool, Float64

from latentdrive.types import FROZEN
from latentdrive.world.drive import Agents, Lane, Mark
from latentdrive.world.roads import CENTRE_LINE, Layout, Start

EGO_SIZE = np.array([4.6, 1.85, 1.5])
LANE_POINT_M = 2.0  # spacing of the points that lanes are drawn with
CONFLICT_M = 40.0  # vehicles farther apart need not yield to each other
NEIGHBOUR_M = 70.0  # vehicles farther away, along x or y, are no neighbours
MARKS = {LineType.NONE: Mark.NONE, LineType.STRIPED: Mark.DASHED, CENTRE_LINE: Mark.CENTRE}
# length, width, height in metres: smallest and largest (common European vehicles), and how often.
SHAPES = {
    "car": ((3.9, 1.7, 1.4), (4.9, 1.9, 1.6), 0.66),
    "van": ((4.9, 1.9, 1.9), (6.0, 2.1, 2.6), 0.16),
    "truck": ((7.0, 2.3, 2.8), (10.0, 2.5, 3.6), 0.12),
    "bus": ((9.5, 2.4, 2.9), (12.0, 2.5, 3.2), 0.06),
}


@dataclass(**FROZEN)
class Calm:
    """What a driver never exceeds. yaw_rate: rad/s. lateral, braking, accelerating: m/s^2. lane_change_s: time constant.

    curve_share: how much of yaw rate and lateral acceleration a curve may take; the rest is for changing lanes in it.
    """

    yaw_rate: float
    lateral_mps2: float
    braking_mps2: float
    accelerating_mps2: float
    lane_change_s: float
    curve_share: float


@dataclass(**FROZEN)
class Mood:
    """How the wanted speed wanders. Ranges in m/s and s; stop_share: how often the next wanted speed is standstill."""

    speed_mps: tuple[float, float]
    hold_s: tuple[float, float]
    stop_share: float
    stop_s: tuple[float, float]


@dataclass(**FROZEN)
class Recording:
    """Poses in the coordinates of the layout, y to the left: on a bent road s along and d to the left. ego: rear axle.

    agents: centres. movable: see roads.Start. ego_route: centre points of the lanes that the ego's route leads over.
    """

    times_s: Float64[np.ndarray, "T"]
    ego: Float64[np.ndarray, "T 3"]
    ego_speed_mps: Float64[np.ndarray, "T"]
    agents: Agents
    movable: Bool[np.ndarray, "N"]
    lanes: tuple[Lane, ...]
    ego_route: Float64[np.ndarray, "n 2"]


class Driver(IDMVehicle):
    """highway-env's IDM/MOBIL driver, calmer in steering and braking, with wishes that change over time."""

    TAU_HEADING = 0.4  # s; the original 0.2 is too stiff for our longer steps
    KP_HEADING = 1 / TAU_HEADING
    TAU_PURSUIT = 0.5 * TAU_HEADING
    DISTANCE_WANTED = 3.0  # m between bumpers at standstill
    LANE_CHANGE_DELAY = 2.0  # s

    def set_up(
        self, calm: Calm, steering_share: float, wishes: Float64[np.ndarray, "n 2"], size: Float64[np.ndarray, "3"],
        kind: str, movable: bool,
    ) -> None:  # fmt: skip
        """wishes: rows of time in s and wanted speed in m/s, held until the next row. steering_share: of the calm's bounds."""
        self.calm, self.wishes, self.size, self.kind, self.movable = calm, wishes, size, kind, movable
        self.yaw_bound, self.lateral_bound = steering_share * calm.yaw_rate, steering_share * calm.lateral_mps2
        self.LENGTH, self.WIDTH = float(size[0]), float(size[1])
        self.KP_LATERAL = 1 / calm.lane_change_s

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
            gap = ego_vehicle.lane_distance_to(front_vehicle) - (ego_vehicle.LENGTH + front_vehicle.LENGTH) / 2
            wanted_gap = max(self.desired_gap(ego_vehicle, front_vehicle), self.DISTANCE_WANTED)
            result -= calm.accelerating_mps2 * (wanted_gap / max(gap, 0.5)) ** 2
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
        everybody = self.vehicles
        self.vehicles = [
            v for v in everybody if abs(v.position[0] - x) < NEIGHBOUR_M and abs(v.position[1] - y) < NEIGHBOUR_M
        ]
        try:
            return super().neighbour_vehicles(vehicle, lane_index)
        finally:
            self.vehicles = everybody

    @staticmethod
    def is_conflict_possible(v1, v2, horizon: int = 3, step: float = 0.25) -> bool:
        near = np.hypot(*(v1.position - v2.position)) < CONFLICT_M
        return bool(near and RegulatedRoad.is_conflict_possible(v1, v2, horizon, step))


def simulate(
    rng: np.random.Generator, layout: Layout, *, frames: int, rate_hz: float, step_s: float, settle_s: float, calm: Calm,
    ego_mood: Mood, mood: Mood, gap_m: tuple[float, float], limit: Callable[[Driver], float], hazard_every_s: float,
    lane_wish_every_s: float,
) -> Recording:  # fmt: skip
    """Let everybody drive and record `frames` states, rate_hz a second.

    step_s: longest step of the simulation. settle_s: time before the recording. limit(driver): comfortable speed where the
    driver is. hazard_every_s: mean time between a leader's braking or a cut-in before the ego. lane_wish_every_s: mean time
    between the ego's own wishes for another lane.
    """
    world = QuietRoad(layout.network, rng, rules=layout.regulated)
    world.objects += [Obstacle(world, position) for position in layout.obstacles]
    ego = _populate(rng, world, layout, calm, ego_mood, mood, gap_m, settle_s + frames / rate_hz)
    route = _route_points(layout.network, ego)
    ticks = int(np.ceil(1 / rate_hz / step_s))
    dt, settle = 1 / rate_hz / ticks, round(settle_s * rate_hz)
    rows = []
    for frame in range(settle + frames):
        if frame >= settle:
            rows.append([(*vehicle.position, vehicle.heading, vehicle.speed) for vehicle in world.vehicles])
        for tick in range(ticks):
            now_s = (frame + tick / ticks) / rate_hz
            for vehicle in world.vehicles:
                vehicle.wish(now_s, limit(vehicle))
            if rng.random() < dt / hazard_every_s:
                _hazard(rng, world, ego, now_s)
            if rng.random() < dt / lane_wish_every_s and not layout.exits:
                _other_lane(rng, world, ego)
            world.act()
            world.step(dt)
    return _recording(np.array(rows), world.vehicles, ego, rate_hz, _lanes(layout.network), route)


def _populate(rng, world, layout, calm, ego_mood, mood, gap_m, horizon_s) -> Driver:
    """Put the ego on one of its starts and others on all stretches, at random gaps."""
    share = 1.0 - calm.curve_share if layout.line is not None else 1.0
    start = layout.ego_starts[int(rng.integers(len(layout.ego_starts)))]
    ego_s = float(rng.uniform(start.from_m, start.to_m))
    ego = _add(rng, world, layout, start, ego_s, calm, share, ego_mood, horizon_s, ego=True)
    for stretch in layout.starts:
        s = stretch.from_m + rng.uniform(0.0, gap_m[0])
        while s < stretch.to_m:
            if stretch.lane != start.lane or abs(s - ego_s) > gap_m[0]:
                _add(rng, world, layout, stretch, s, calm, share, mood, horizon_s, ego=False)
            s += stretch.gap * rng.uniform(*gap_m)
    return ego


def _add(rng, world, layout: Layout, start: Start, s, calm, share, mood, horizon_s, *, ego: bool) -> Driver:
    lane = world.network.get_lane(start.lane)
    wishes = _wishes(rng, mood, horizon_s)
    vehicle = Driver(
        world, lane.position(s, 0.0), lane.heading_at(s), speed=float(wishes[0, 1]), target_lane_index=start.lane,
        enable_lane_change=not layout.exits,
    )  # fmt: skip
    odds = np.array([SHAPES[kind][2] for kind in layout.kinds])
    kind = str(rng.choice(layout.kinds, p=odds / odds.sum()))
    small, large, _ = SHAPES[kind]
    size = rng.uniform(small, large)
    vehicle.set_up(calm, share, wishes, EGO_SIZE if ego else size, "car" if ego else kind, start.movable)
    vehicle.randomize_behavior()
    if layout.exits:
        vehicle.plan_route_to(str(rng.choice(layout.exits)))
        vehicle.route = _with_lanes(world.network, vehicle.route)
    world.vehicles.append(vehicle)
    return vehicle


def _with_lanes(network: RoadNetwork, route: list) -> list:
    """The route with a lane for every road: that of the start where there are several, the outermost after a single one.

    highway-env looks up lanes that do not exist where a route leaves them open.
    """
    counts = [len(network.graph[start][end]) for start, end, _ in route]
    first = route[0][2] if counts[0] > 1 else max(counts)
    return [(start, end, min(first, count - 1)) for (start, end, _), count in zip(route, counts, strict=True)]


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


def _hazard(rng, world: QuietRoad, ego: Driver, now_s: float) -> None:
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
    elif vehicle.enable_lane_change:
        vehicle.target_lane_index = ego.lane_index


def _other_lane(rng, world: QuietRoad, vehicle: Driver) -> None:
    """Wish for a neighbouring lane, if nobody is there."""
    sides = [
        index for index in world.network.side_lanes(vehicle.lane_index) if not world.network.get_lane(index).forbidden
    ]
    if sides:
        index = sides[int(rng.integers(len(sides)))]
        front, rear = world.neighbour_vehicles(vehicle, index)
        if all(other is None or abs(vehicle.lane_distance_to(other)) > 10.0 for other in (front, rear)):
            vehicle.target_lane_index = index


def _mirrored(states: Float64[np.ndarray, "*n width"]) -> Float64[np.ndarray, "*n width"]:
    """x, y[, heading, speed] with y up instead of down. The only mirror of the package."""
    return states * np.array([1.0, -1.0, -1.0, 1.0])[: states.shape[-1]]


def _route_points(network: RoadNetwork, driver: Driver) -> Float64[np.ndarray, "n 2"]:
    """The lanes from where the driver is to where the route ends, as points a metre apart."""
    points = []
    for index in driver.route or [driver.lane_index]:
        lane = network.get_lane(index)
        points += [lane.position(s, 0.0) for s in np.arange(0.0, lane.length, 1.0)]
    return _mirrored(np.array(points))


def _lanes(network: RoadNetwork) -> tuple[Lane, ...]:
    """Every lane as it lies in the layout."""
    lanes = []
    for lane in network.lanes_list():
        count = max(2, round(lane.length / LANE_POINT_M) + 1)
        points = np.array([lane.position(s, 0.0) for s in np.linspace(0.0, lane.length, count)])
        # highway-env's first line type is at negative lateral positions, which with y down is the left.
        left, right = (MARKS.get(line, Mark.SOLID) for line in lane.line_types)
        lanes.append(Lane(points=_mirrored(points), width_m=float(lane.width_at(0.0)), left=left, right=right))
    return tuple(lanes)


def _recording(
    states: Float64[np.ndarray, "T N 4"], vehicles: list[Driver], ego: Driver, rate_hz: float, lanes: tuple[Lane, ...],
    route: Float64[np.ndarray, "n 2"],
) -> Recording:  # fmt: skip
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
    movable = np.array([vehicles[index].movable for index in others], bool)
    times = np.arange(len(states)) / rate_hz
    return Recording(
        times_s=times, ego=rear, ego_speed_mps=speed, agents=agents, movable=movable, lanes=lanes, ego_route=route
    )
