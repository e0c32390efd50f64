"""Types of road with crossing ways: roundabouts and intersections, as highway-env networks with y down.

Extends layouts.py, which has the roads without crossing ways. `Junction` takes highway-env's own
shapes and serves clips; `Crossing` and `Circle` are drawn again for each drive of the NAVSIM world,
so that no two drives share their geometry.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from highway_env.envs.intersection_env import IntersectionEnv
from highway_env.envs.roundabout_env import RoundaboutEnv
from highway_env.road.lane import AbstractLane, CircularLane, LineType, SineLane, StraightLane
from highway_env.road.road import RoadNetwork

from latentdrive.errors import ConfigError
from latentdrive.types import FROZEN
from latentdrive.world.roads.layouts import AHEAD_M, BEHIND_M, CENTRE_LINE, FREE_MPS, Layout, Start, highway_env_network

QUEUE_M = 70.0  # traffic starts up to this far before a junction
QUEUE_GAP, CIRCLING_GAP = 1.3, 0.8  # factors on the usual gaps: on approaches, and inside a circle
LOOK_AHEAD_M = 40.0  # drivers slow down for lanes of their route up to this far ahead


@dataclass(**FROZEN)
class Junction:
    """highway-env's own roundabout or intersection, with four arms and one lane in each direction.

    shape: "roundabout" or "intersection". approach_m: range of the distance from the ego's start to
    the junction.
    """

    shape: str
    approach_m: tuple[float, float]
    speed_mps: tuple[float, float]

    def __post_init__(self) -> None:
        if self.shape not in ("roundabout", "intersection"):
            raise ConfigError(
                f"world.roads: shape of a junction is {self.shape!r}; it must be roundabout or intersection"
            )

    def layout(self, rng: np.random.Generator, travel_m: float) -> Layout:
        """Build the layout. Vehicles arrive on all arms and leave by any arm; the ego's arm is drawn at random."""
        if self.shape == "roundabout":
            network = highway_env_network(RoundaboutEnv)
            approaches = [(f"{arm}er", f"{arm}es", 0) for arm in "senw"]
            exits = tuple(f"{arm}xr" for arm in "senw")
            for lane in network.lanes_list():
                lane.priority = int(isinstance(lane, CircularLane))  # vehicles in the circle have right of way
            circle = [(a, b, 1) for a, b in (("ex", "ee"), ("nx", "ne"), ("wx", "we"), ("sx", "se"))]
        else:
            network = highway_env_network(IntersectionEnv)
            approaches = [(f"o{arm}", f"ir{arm}", 0) for arm in range(4)]
            exits = tuple(f"o{arm}" for arm in range(4))
            circle = []
        length = network.get_lane(approaches[0]).length
        starts = _before(approaches, length, (0.0, QUEUE_M), gap=QUEUE_GAP)
        starts += tuple(
            Start(lane=lane, from_m=0.0, to_m=network.get_lane(lane).length, gap=CIRCLING_GAP, movable=False)
            for lane in circle
        )
        return Layout(
            network=network,
            line=None,
            exits=exits,
            starts=starts,
            regulated=True,
            obstacles=(),
            kinds=("car", "van"),
            ego_starts=_before(approaches, length, self.approach_m),
            ego_offsets_m=(-0.7, 0.7),
        )


@dataclass(**FROZEN)
class Crossing:
    """A randomly drawn intersection with one lane in each direction. Pairs are ranges.

    arms: number of arms, 3 or 4. lane_m: width of a lane. corner_m: radius of the corner that a
    right turn follows. approach_m: distance from the ego's start to the junction. lights: whether
    there are traffic lights.
    """

    arms: tuple[int, int]
    lane_m: tuple[float, float]
    corner_m: tuple[float, float]
    approach_m: tuple[float, float]
    lights: bool
    speed_mps: tuple[float, float]

    def layout(self, rng: np.random.Generator, travel_m: float) -> Layout:
        """Draw a layout. Vehicles arrive on all arms and leave by any arm; the ego's arm is drawn at random."""
        count, width = int(rng.integers(*self.arms, endpoint=True)), float(rng.uniform(*self.lane_m))
        inner = float(rng.uniform(*self.corner_m)) + width / 2
        arms = sorted(rng.permutation(4)[:count].tolist())
        before, behind = inner + max(QUEUE_M, self.approach_m[1]) + BEHIND_M, inner + travel_m + AHEAD_M
        network, turns = RoadNetwork(), set()
        for arm in arms:
            arriving, leaving = _arm_lanes(arm, width, inner=inner, before=before, behind=behind)
            network.add_lane(f"o{arm}", f"ir{arm}", arriving)
            network.add_lane(f"il{arm}", f"o{arm}x", leaving)
            for other in arms:
                if other != arm:
                    network.add_lane(f"ir{arm}", f"il{other}", _turn(arm, other, inner, width))
                    turns.add((f"ir{arm}", f"il{other}"))
        approaches = [(f"o{arm}", f"ir{arm}", 0) for arm in arms]
        length = before - inner
        groups = [tuple(lane[:2] for arm, lane in zip(arms, approaches) if arm % 2 == road) for road in (0, 1)]
        return Layout(
            network=network,
            line=None,
            exits=tuple(f"o{arm}x" for arm in arms),
            regulated=True,
            obstacles=(),
            starts=_before(approaches, length, (0.0, QUEUE_M), gap=QUEUE_GAP),
            ego_starts=_before(approaches, length, self.approach_m),
            kinds=("car", "van"),
            ego_offsets_m=(-0.4, 0.4),
            turns=frozenset(turns),
            phases=tuple(groups) if self.lights else (),
        )


@dataclass(**FROZEN)
class Circle:
    """A randomly drawn roundabout with four arms and one lane. Pairs are ranges.

    radius_m: radius of the circle. entry_m: radius of the arcs that lead into the circle and out of
    it. lane_m and approach_m: see Crossing.
    """

    radius_m: tuple[float, float]
    entry_m: tuple[float, float]
    lane_m: tuple[float, float]
    approach_m: tuple[float, float]
    speed_mps: tuple[float, float]

    def layout(self, rng: np.random.Generator, travel_m: float) -> Layout:
        """Draw a layout. Vehicles in the circle have right of way; the ego's arm is drawn at random."""
        radius, entry, width = (float(rng.uniform(*size)) for size in (self.radius_m, self.entry_m, self.lane_m))
        aside = width / 2 + entry  # distance from the arm's axis to the centre of an entry arc
        inner = float(
            np.sqrt((radius + entry) ** 2 - aside**2)
        )  # an entry arc begins here, so that it touches the circle
        before, behind = inner + max(QUEUE_M, self.approach_m[1]) + BEHIND_M, inner + travel_m + AHEAD_M
        network = RoadNetwork()
        for arm in range(4):
            arriving, leaving = _arm_lanes(arm, width, inner=inner, before=before, behind=behind)
            entering, passing, circling, exiting = _circle_lanes(arm, radius, entry, aside, inner, width)
            network.add_lane(f"o{arm}", f"in{arm}", arriving)
            network.add_lane(f"in{arm}", f"enter{arm}", entering)
            network.add_lane(f"exit{arm}", f"enter{arm}", passing)
            network.add_lane(f"enter{arm}", f"exit{(arm + 3) % 4}", circling)
            network.add_lane(f"exit{arm}", f"out{arm}", exiting)
            network.add_lane(f"out{arm}", f"o{arm}x", leaving)
        approaches, length = [(f"o{arm}", f"in{arm}", 0) for arm in range(4)], before - inner
        turns = {
            road
            for arm in range(4)
            for road in ((f"in{arm}", f"enter{arm}"), (f"exit{arm}", f"enter{arm}"), (f"exit{arm}", f"out{arm}"))
        }
        return Layout(
            network=network,
            line=None,
            exits=tuple(f"o{arm}x" for arm in range(4)),
            regulated=False,
            starts=_before(approaches, length, (0.0, QUEUE_M), gap=QUEUE_GAP),
            obstacles=(),
            kinds=("car", "van"),
            ego_offsets_m=(-0.4, 0.4),
            turns=frozenset(turns),
            gives_way={
                (f"o{arm}", f"in{arm}"): ((f"enter{(arm + 1) % 4}", f"exit{arm}"), (f"exit{arm}", f"enter{arm}"))
                for arm in range(4)
            },
            ego_starts=_before(approaches, length, self.approach_m),
        )


def _before(
    approaches: list[tuple[str, str, int]], length: float, before_m: tuple[float, float], *, gap: float = 1.0
) -> tuple[Start, ...]:
    """Stretches of approaches of this length (metres). before_m: nearest and farthest distance to their ends."""
    near, far = before_m
    return tuple(
        Start(lane=lane, from_m=length - far, to_m=length - near, gap=gap, movable=False) for lane in approaches
    )


def _arm_lanes(
    arm: int, width: float, *, inner: float, before: float, behind: float
) -> tuple[StraightLane, StraightLane]:
    """The arriving and the leaving lane of an arm: from `before` and to `behind` metres from the
    middle, up to `inner`.
    """
    out = _direction(arm)
    side = width / 2 * np.array([out[1], -out[0]])  # right of the arriving traffic, in coordinates with y down
    arriving = StraightLane(
        before * out + side,
        inner * out + side,
        width=width,
        speed_limit=FREE_MPS,
        line_types=[CENTRE_LINE, LineType.CONTINUOUS_LINE],
    )
    leaving = StraightLane(
        inner * out - side,
        behind * out - side,
        width=width,
        speed_limit=FREE_MPS,
        line_types=[LineType.NONE, LineType.CONTINUOUS_LINE],
    )
    return arriving, leaving


def _circle_lanes(
    arm: int, radius: float, entry: float, aside: float, inner: float, width: float
) -> tuple[CircularLane, CircularLane, CircularLane, CircularLane]:
    """The arcs at an arm of a roundabout: into the circle, past the arm, on to the next arm, and out of the circle."""
    reach = float(np.arctan2(aside, inner))  # angle at the centre between the arm and the point where its arcs touch
    circle = {"width": width, "speed_limit": FREE_MPS, "line_types": [LineType.CONTINUOUS_LINE, LineType.NONE]}
    arc = circle | {"line_types": [LineType.NONE, LineType.CONTINUOUS_LINE]}
    out, middle = _direction(arm), np.arctan2(*_direction(arm)[::-1])
    side = np.array([out[1], -out[0]])
    into, out_of = inner * out + aside * side, inner * out - aside * side
    entering = CircularLane(into, entry, middle + np.pi / 2, middle + np.pi - reach, clockwise=True, **arc)
    exiting = CircularLane(out_of, entry, middle + np.pi + reach, middle + 3 * np.pi / 2, clockwise=True, **arc)
    passing = CircularLane(np.zeros(2), radius, middle + reach, middle - reach, clockwise=False, **circle)
    onward = middle - np.pi / 2 + reach
    circling = CircularLane(np.zeros(2), radius, middle - reach, onward, clockwise=False, **circle)
    passing.priority = circling.priority = 1
    return entering, passing, circling, exiting


def curve_limit(lane: AbstractLane, *, lateral_mps2: float, yaw_rate: float) -> float:
    """Comfortable speed on a lane of a junction in m/s; infinity on a straight lane."""
    if isinstance(lane, CircularLane):
        radius = lane.radius
    elif isinstance(lane, SineLane):
        radius = 1 / (lane.amplitude * lane.pulsation**2)
    else:
        return float("inf")
    return min(np.sqrt(lateral_mps2 * radius), yaw_rate * radius)


def junction_limit(
    network: RoadNetwork, *, lateral_mps2: float, yaw_rate: float, braking_mps2: float
) -> Callable[..., float]:
    """Return the function from a driver to its comfortable speed in m/s, which looks ahead along the driver's route."""
    limits = {
        index: curve_limit(lane, lateral_mps2=lateral_mps2, yaw_rate=yaw_rate)
        for index, lane in network.lanes_dict().items()
    }

    def limit(driver) -> float:
        index = driver.lane_index
        left = network.get_lane(index).length - network.get_lane(index).local_coordinates(driver.position)[0]
        result = limits[index]
        for following in driver.route or []:
            if following[0] == index[0]:
                continue
            result = min(result, np.sqrt(limits[following] ** 2 + 2 * braking_mps2 * max(left, 0.0)))
            left += network.get_lane(following).length
            if left > LOOK_AHEAD_M:
                break
        return result

    return limit


def _direction(arm: int) -> np.ndarray:
    """Unit vector from the middle of a junction along an arm; arms are a quarter turn apart."""
    return np.array([(0.0, 1.0), (-1.0, 0.0), (0.0, -1.0), (1.0, 0.0)][arm])


def _turn(arm: int, other: int, inner: float, width: float) -> AbstractLane:
    """The lane from one arm to another, a straight line or an arc. Both ends lie `inner` metres from the middle."""
    come, leave = _direction(arm), _direction(other)
    start = inner * come + width / 2 * np.array([come[1], -come[0]])
    end = inner * leave - width / 2 * np.array([leave[1], -leave[0]])
    lines = [LineType.NONE, LineType.NONE]
    if (other - arm) % 4 == 2:
        return StraightLane(start, end, width=width, line_types=lines, speed_limit=FREE_MPS)
    centre, right = inner * (come + leave), come[0] * leave[1] - come[1] * leave[0] < 0
    radius = inner + (-width if right else width) / 2
    phases = [float(np.arctan2(*(point - centre)[::-1])) for point in (start, end)]
    turn = np.pi / 2 if right else -np.pi / 2
    return CircularLane(
        centre,
        radius,
        phases[0],
        phases[0] + turn,
        clockwise=bool(right),
        width=width,
        line_types=lines,
        speed_limit=FREE_MPS,
    )
