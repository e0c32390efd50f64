"""The traffic simulation: puts drivers on a road, moves them, and records them in the coordinates of the layout.

`Traffic` moves one frame at a time; `record` is a loop over it, and so is the closed loop, whose
ego is moved from outside.

highway-env's y axis points down. The recordings that leave this file have y to the left and
counter-clockwise headings; `layouts.mirrored` converts between the two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from highway_env import utils
from highway_env.road.lane import LineType
from highway_env.road.road import RoadNetwork
from highway_env.vehicle.objects import Obstacle
from jaxtyping import Bool, Float64

from latentdrive.types import FROZEN
from latentdrive.world.roads.layouts import CENTRE_LINE, Layout, Road, Start, mirrored
from latentdrive.world.traffic.drivers import Calm, Driver, Event, Led, Mood, QuietRoad
from latentdrive.world.traffic.recording import Agents, Body, Lane, Mark

LANE_POINT_M = 2.0  # spacing of the points of recorded lanes
MARKS = {LineType.NONE: Mark.NONE, LineType.STRIPED: Mark.DASHED, CENTRE_LINE: Mark.CENTRE}
# By kind of vehicle: smallest and largest length, width and height in metres, and relative
# frequency. The sizes are those of common European vehicles.
SHAPES = {
    "car": ((3.9, 1.7, 1.4), (4.9, 1.9, 1.6), 0.66),
    "van": ((4.9, 1.9, 1.9), (6.0, 2.1, 2.6), 0.16),
    "truck": ((7.0, 2.3, 2.8), (10.0, 2.5, 3.6), 0.12),
    "bus": ((9.5, 2.4, 2.9), (12.0, 2.5, 3.2), 0.06),
}


@dataclass(**FROZEN)
class Recording:
    """A recorded simulation, in the coordinates of the layout with y to the left (s and d on a bent road).

    ego: poses of the rear axle. agents: poses of the centres. movable: of each agent, see
    layouts.Start. ego_route: centre points of the lanes of the ego's route. ego_roads: the roads of
    the route, continued to the end of the network. settle_s: simulated time before the first frame.
    """

    times_s: Float64[np.ndarray, "T"]
    ego: Float64[np.ndarray, "T 3"]
    ego_speed_mps: Float64[np.ndarray, "T"]
    agents: Agents
    movable: Bool[np.ndarray, "N"]
    lanes: tuple[Lane, ...]
    ego_route: Float64[np.ndarray, "n 2"]
    ego_roads: tuple[Road, ...]
    settle_s: float


class Traffic:
    """The traffic on a layout as it moves: one `advance` for each frame, for recordings and for the closed loop.

    step_s: longest time step. settle_s: simulated time before frame 0 of the recording. horizon_s: how long the
    drivers' wishes reach. calm, mood, ego_mood: see drivers.py. gap_m: range of the initial gaps between vehicles.
    limit: gives the comfortable speed (m/s) at the place of a driver. hazard_every_s: mean time between disturbances
    ahead of the ego (a leader brakes or a neighbour cuts in). lane_wish_every_s: mean time between the lane changes
    that the ego wishes for no reason. events: what else happens; their time counts from frame 0.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        layout: Layout,
        *,
        frames: int,
        rate_hz: float,
        step_s: float,
        settle_s: float,
        body: Body,
        calm: Calm,
        ego_mood: Mood,
        mood: Mood,
        gap_m: tuple[float, float],
        limit: Callable[[Driver], float],
        hazard_every_s: float,
        lane_wish_every_s: float,
        events: Sequence[Event] = (),
    ) -> None:
        self.road = QuietRoad(layout.network, rng, rules=layout.regulated)
        self.road.objects += [Obstacle(self.road, position) for position in layout.obstacles]
        horizon_s = settle_s + frames / rate_hz
        self.ego = _populate(rng, self.road, layout, body, calm, ego_mood, mood, gap_m, horizon_s)
        self.route = _route_points(layout.network, self.ego)
        self.roads = _route_roads(layout.network, self.ego)
        self.settle, self.rate_hz = round(settle_s * rate_hz), rate_hz
        self._rng, self._layout, self._limit, self._events = rng, layout, limit, events
        self._hazard_every_s, self._lane_wish_every_s = hazard_every_s, lane_wish_every_s
        self._ticks = int(np.ceil(1 / rate_hz / step_s))
        self._frame = 0

    @property
    def frame(self) -> int:
        """The frame that the road shows; negative while the traffic settles."""
        return self._frame - self.settle

    def states(self) -> Float64[np.ndarray, "N 4"]:
        """Present x, y, heading and speed of all vehicles, in highway-env's coordinates."""
        return np.array([(*vehicle.position, vehicle.heading, vehicle.speed) for vehicle in self.road.vehicles])

    def others(self) -> list[Driver]:
        """All vehicles but the ego, in the order of a recording's agents."""
        return [vehicle for vehicle in self.road.vehicles if vehicle is not self.ego]

    def advance(self, ego: Float64[np.ndarray, "4"] | None = None) -> None:
        """Move everybody to the next frame.

        ego: where somebody else takes the ego until then: x, y and heading of its rear axle and its speed, in the
        coordinates of the layout, with y to the left. None lets it drive itself.
        """
        dt = 1 / self.rate_hz / self._ticks
        for tick, led in enumerate(self._led(ego, dt)):
            self.ego.led = led
            self._tick((self._frame + tick / self._ticks) / self.rate_hz, dt)
        self._frame += 1

    def _led(self, ego: Float64[np.ndarray, "4"] | None, dt: float) -> Sequence[Led | None]:
        """The states through which the ego is led to the next frame, evenly spaced; None where it drives itself."""
        if ego is None:
            return [None] * self._ticks
        back, driver = self.ego.LENGTH / 2, self.ego
        centre = ego + np.array([back * np.cos(ego[2]), back * np.sin(ego[2]), 0.0, 0.0])
        end, start = mirrored(centre), np.array([*driver.position, driver.heading, driver.speed])
        change = end - start
        change[2] = utils.wrap_to_pi(change[2])
        rows = start + change * (np.arange(1, self._ticks + 1)[:, None] / self._ticks)
        acceleration = float(change[3] / (self._ticks * dt))
        return [
            Led(position=row[:2], heading=float(row[2]), speed=float(row[3]), acceleration=acceleration) for row in rows
        ]

    def _tick(self, now_s: float, dt: float) -> None:
        rng, road, ego = self._rng, self.road, self.ego
        for vehicle in road.vehicles:
            vehicle.wish(now_s, self._limit(vehicle))
        if rng.random() < dt / self._hazard_every_s:
            _disturb(rng, road, ego, now_s)
        if rng.random() < dt / self._lane_wish_every_s and not self._layout.exits:
            _wish_other_lane(rng, road, ego)
        for event in self._events:
            event.tick(rng, road, ego, now_s - self.settle / self.rate_hz)
        road.act()
        road.step(dt)


def record(traffic: Traffic, frames: int) -> Recording:
    """Let the traffic settle, and record `frames` states."""
    while traffic.frame < 0:
        traffic.advance()
    rows = []
    for _ in range(frames):
        rows.append(traffic.states())
        traffic.advance()
    return _recording(np.array(rows), traffic)


def _populate(rng, world, layout, body, calm, ego_mood, mood, gap_m, horizon_s) -> Driver:
    """Put the ego on one of its starts, and other drivers on all stretches at random gaps. Return the ego."""
    share = 1.0 - calm.curve_share if layout.line is not None else 1.0
    start = layout.ego_starts[int(rng.integers(len(layout.ego_starts)))]
    ego_s = float(rng.uniform(start.from_m, start.to_m))
    ego = _add(rng, world, layout, start, ego_s, calm, share, ego_mood, horizon_s, body=body)
    for stretch in layout.starts:
        s = stretch.from_m + rng.uniform(0.0, gap_m[0])
        while s < stretch.to_m:
            if stretch.lane != start.lane or abs(s - ego_s) > gap_m[0]:
                _add(rng, world, layout, stretch, s, calm, share, mood, horizon_s)
            s += stretch.gap * rng.uniform(*gap_m)
    return ego


def _add(
    rng, world, layout: Layout, start: Start, s, calm, share, mood, horizon_s, *, body: Body | None = None
) -> Driver:
    """Put a driver on a lane. body: that of the ego; other drivers get a random kind and size."""
    lane = world.network.get_lane(start.lane)
    wishes = _wishes(rng, mood, horizon_s)
    vehicle = Driver(
        world,
        lane.position(s, 0.0),
        lane.heading_at(s),
        speed=float(wishes[0, 1]),
        target_lane_index=start.lane,
        enable_lane_change=not layout.exits,
    )
    odds = np.array([SHAPES[kind][2] for kind in layout.kinds])
    kind = str(rng.choice(layout.kinds, p=odds / odds.sum()))
    small, large, _ = SHAPES[kind]
    size = rng.uniform(small, large)
    if body is None:
        vehicle.set_up(calm, share, wishes, size, kind, start.movable)
    else:
        vehicle.set_up(calm, share, wishes, np.array(body.size_m), "car", start.movable, body.rear_to_centre_m)
    vehicle.randomize_behavior()
    if layout.exits:
        exits = [node for node in layout.exits if world.network.shortest_path(start.lane[1], node)]
        vehicle.plan_route_to(str(rng.choice(exits)))
        vehicle.route = _with_lanes(world.network, vehicle.route)
    world.vehicles.append(vehicle)
    return vehicle


def _with_lanes(network: RoadNetwork, route: list) -> list:
    """Return the route with a lane for every road: the start's lane, or the outermost one if the
    start has only one lane.

    Where a route leaves lanes open, highway-env looks up lanes that do not exist.
    """
    counts = [len(network.graph[start][end]) for start, end, _ in route]
    first = route[0][2] if counts[0] > 1 else max(counts)
    return [(start, end, min(first, count - 1)) for (start, end, _), count in zip(route, counts, strict=True)]


def _wishes(rng, mood: Mood, horizon_s: float) -> Float64[np.ndarray, "n 2"]:
    """Draw desired speeds around a personal cruising speed, with stops. Rows of time in s and speed in m/s."""
    cruise, now_s, rows = rng.uniform(*mood.speed_mps), 0.0, []
    while now_s < horizon_s:
        if rng.random() < mood.stop_share:
            rows.append((now_s, 0.0))
            now_s += rng.uniform(*mood.stop_s)
        else:
            rows.append((now_s, np.clip(cruise * rng.uniform(0.6, 1.3), *mood.speed_mps)))
            now_s += rng.uniform(*mood.hold_s)
    return np.array(rows)


def _disturb(rng, world: QuietRoad, ego: Driver, now_s: float) -> None:
    """Let the nearest vehicle ahead of the ego slow down for a while, or cut in if it is on another lane."""
    ahead = [
        vehicle
        for vehicle in world.vehicles
        if vehicle is not ego
        and vehicle.lane_index[:2] == ego.lane_index[:2]
        and 3.0 < ego.lane_distance_to(vehicle) < 50.0
    ]
    if not ahead:
        return
    vehicle = min(ahead, key=ego.lane_distance_to)
    if vehicle.lane_index == ego.lane_index:
        later = vehicle.wishes[vehicle.wishes[:, 0] > now_s + 4.0]
        slow = [[now_s, rng.uniform(0.0, 4.0)], [now_s + rng.uniform(1.5, 4.0), vehicle.wishes[0, 1]]]
        vehicle.wishes = np.concatenate([slow, later])
    elif vehicle.enable_lane_change:
        vehicle.target_lane_index = ego.lane_index


def _wish_other_lane(rng, world: QuietRoad, vehicle: Driver) -> None:
    """Let the vehicle change to a neighbouring lane if there is room."""
    sides = [
        index for index in world.network.side_lanes(vehicle.lane_index) if not world.network.get_lane(index).forbidden
    ]
    if sides:
        index = sides[int(rng.integers(len(sides)))]
        front, rear = world.neighbour_vehicles(vehicle, index)
        if all(other is None or abs(vehicle.lane_distance_to(other)) > 10.0 for other in (front, rear)):
            vehicle.target_lane_index = index


def _route_points(network: RoadNetwork, driver: Driver) -> Float64[np.ndarray, "n 2"]:
    """Centre points, a metre apart, of the lanes from the driver's lane to the end of its route."""
    points = []
    for index in driver.route or [driver.lane_index]:
        lane = network.get_lane(index)
        points += [lane.position(s, 0.0) for s in np.arange(0.0, lane.length, 1.0)]
    return mirrored(np.array(points))


def _route_roads(network: RoadNetwork, driver: Driver) -> tuple[Road, ...]:
    """The roads of the driver's route, continued as long as only one road follows."""
    roads = [index[:2] for index in driver.route or [driver.lane_index]]
    while len(following := list(network.graph.get(roads[-1][1], {}))) == 1 and len(roads) <= len(network.lanes_list()):
        roads.append((roads[-1][1], following[0]))
    return tuple(roads)


def _lanes(network: RoadNetwork) -> tuple[Lane, ...]:
    """Every lane in the coordinates of the layout."""
    lanes = []
    for lane in network.lanes_list():
        count = max(2, round(lane.length / LANE_POINT_M) + 1)
        points = np.array([lane.position(s, 0.0) for s in np.linspace(0.0, lane.length, count)])
        # highway-env's first line type is at negative lateral positions: on the left, because its y points down.
        left, right = (MARKS.get(line, Mark.SOLID) for line in lane.line_types)
        lanes.append(Lane(points=mirrored(points), width_m=float(lane.width_at(0.0)), left=left, right=right))
    return tuple(lanes)


def _recording(states: Float64[np.ndarray, "T N 4"], traffic: Traffic) -> Recording:
    """Split the recorded states into the ego and the others. states: x, y, heading, speed in
    highway-env's coordinates.
    """
    states, vehicles, ego = mirrored(states), traffic.road.vehicles, traffic.ego
    row = vehicles.index(ego)
    x, y, heading, speed = states[:, row].T
    # The rear axle, which moves along the heading, is LENGTH / 2 behind the centre: see Driver.set_up.
    back = ego.LENGTH / 2
    rear = np.stack([x - back * np.cos(heading), y - back * np.sin(heading), utils.wrap_to_pi(heading)], -1)
    others = np.array([index for index in range(len(vehicles)) if index != row], int)
    agents = Agents(
        poses=states[:, others, :3],
        speed_mps=states[:, others, 3],
        sizes=np.array([vehicles[index].size for index in others]).reshape(-1, 3),
        kinds=tuple(vehicles[index].kind for index in others),
    )
    return Recording(
        times_s=np.arange(len(states)) / traffic.rate_hz,
        ego=rear,
        ego_speed_mps=speed,
        agents=agents,
        movable=np.array([vehicles[index].movable for index in others], bool),
        lanes=_lanes(traffic.road.network),
        ego_route=traffic.route,
        ego_roads=traffic.roads,
        settle_s=traffic.settle / traffic.rate_hz,
    )
