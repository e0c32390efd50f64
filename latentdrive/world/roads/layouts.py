"""Types of road: highways, curves and merges as networks of highway-env; junctions.py has those where ways cross.

Second step of the world, after centreline.py. Everything here is in highway-env's own coordinates, y down; traffic.py
mirrors what it records. Bent roads and merges are built straight and bent afterwards; junctions lie in the plane as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Protocol, runtime_checkable

import numpy as np
from highway_env.envs.merge_env import MergeGenericEnv
from highway_env.road.lane import AbstractLane, LineType, StraightLane
from highway_env.road.road import LaneIndex, RoadNetwork
from jaxtyping import Float64

from latentdrive.types import FROZEN
from latentdrive.world.roads.centreline import Centreline, random_curvature

CENTRE_LINE = 4  # beside highway-env's LineType: what parts the directions of a two-way road
AHEAD_M = 180.0  # road that is seen beyond the ego's last position
BEHIND_M = 30.0  # where the ego starts on a bent road: something of the road lies behind it
RAMP_CONVERGES_M, RAMP_BESIDE_M = 70.0, 90.0  # a ramp nears the main road, then runs beside it
FREE_MPS = 100.0  # no limit: a driver's speed is bounded by its wish, a lane's limit would clip it a second time
ONCOMING_M = 260.0  # oncoming traffic starts up to this far ahead

Road = tuple[str, str]  # names of the nodes that a road leads from and to


@dataclass(**FROZEN)
class Start:
    """A stretch of a lane that vehicles start on: metres along the lane. gap: multiplies the gaps between them.

    movable: the road looks the same all along, so a replay may be moved along it.
    """

    lane: LaneIndex
    from_m: float
    to_m: float
    gap: float
    movable: bool


@dataclass(**FROZEN)
class Layout:
    """One road, drawn at random. line: what it is bent along, or None. exits: nodes that routes lead to, if there is a choice.

    regulated: vehicles yield where ways cross. obstacles: ends of lanes that nobody may pass, metres. kinds: vehicles that
    can turn there. own_offsets_m: smallest and largest lateral offset of an ego that goes its own way, to the left of the
    line or of its route. turns: roads (from node, to node) that join others inside a junction. phases: approaches that
    traffic lights let go together, one group after the other; none where there are no lights. gives_way: for an approach, the
    roads whose traffic it lets pass, the one before its own way in last. crosswalks: whether people cross where a map cuts it.
    """

    network: RoadNetwork
    line: Centreline | None
    ego_starts: tuple[Start, ...]
    starts: tuple[Start, ...]
    exits: tuple[str, ...]
    regulated: bool
    obstacles: tuple[tuple[float, float], ...]
    kinds: tuple[str, ...]
    own_offsets_m: tuple[float, float]
    turns: frozenset[Road] = frozenset()
    phases: tuple[tuple[Road, ...], ...] = ()
    gives_way: Mapping[Road, tuple[Road, ...]] = field(default_factory=dict)
    crosswalks: bool = False


@runtime_checkable
class RoadType(Protocol):
    """Draws layouts. travel_m: how far the ego may come. speed_mps: range of wanted speeds."""

    speed_mps: tuple[float, float]

    def layout(self, rng: np.random.Generator, travel_m: float) -> Layout: ...


@dataclass(**FROZEN)
class Bends:
    """The shape of a bent road: radius (even in curvature), lengths of bends, of straights, and of the change between them, m."""

    radius_m: tuple[float, float]
    bend_m: tuple[float, float]
    straight_m: tuple[float, float]
    ramp_m: float

    def line(self, rng: np.random.Generator, length_m: float) -> Centreline:
        """A curve at least this long."""
        return Centreline.from_curvature(
            random_curvature(
                rng,
                length_m=length_m,
                radius_m=self.radius_m,
                bend_m=self.bend_m,
                straight_m=self.straight_m,
                ramp_m=self.ramp_m,
            )
        )


@dataclass(**FROZEN)
class BentRoad:
    """A road of lanes side by side. own, oncoming: fewest and most lanes a direction. median_m: between the directions.
    crosswalks: whether people may cross it."""

    own: tuple[int, int]
    oncoming: tuple[int, int]
    lane_m: tuple[float, float]
    median_m: tuple[float, float]
    bends: Bends
    crosswalks: bool
    speed_mps: tuple[float, float]

    def layout(self, rng: np.random.Generator, travel_m: float) -> Layout:
        """Own lanes along +x and right of the middle line (y > 0 on highway-env's map), oncoming ones left of it."""
        own, oncoming = (int(rng.integers(low, high + 1)) for low, high in (self.own, self.oncoming))
        width, median = float(rng.uniform(*self.lane_m)), float(rng.uniform(*self.median_m))
        length = BEHIND_M + travel_m + AHEAD_M
        network = RoadNetwork()
        middle = LineType.CONTINUOUS_LINE if median > 1.0 or not oncoming else CENTRE_LINE
        for road, count, ends, side in (("ab", own, (0.0, length), 1), ("cd", oncoming, (length, 0.0), -1)):
            for index in range(count):
                y = side * (median / 2 + (index + 0.5) * width)
                lines = [
                    middle if index == 0 else LineType.STRIPED,
                    LineType.CONTINUOUS_LINE if index == count - 1 else LineType.NONE,
                ]
                network.add_lane(*road, _straight(ends[0], ends[1], y, width, lines))
        ego = tuple(
            Start(lane=("a", "b", i), from_m=BEHIND_M, to_m=BEHIND_M, gap=1.0, movable=True) for i in range(own)
        )
        with_us = [
            Start(lane=("a", "b", i), from_m=0.0, to_m=BEHIND_M + 95.0, gap=1.0, movable=True) for i in range(own)
        ]
        against = [
            Start(
                lane=("c", "d", i),
                from_m=max(0.0, length - BEHIND_M - ONCOMING_M),
                to_m=length - BEHIND_M,
                gap=1.2,
                movable=True,
            )
            for i in range(oncoming)
        ]
        return Layout(
            network=network,
            line=self.bends.line(rng, length),
            ego_starts=ego,
            starts=(*with_us, *against),
            exits=(),
            regulated=False,
            obstacles=(),
            kinds=("car", "van", "truck", "bus"),
            own_offsets_m=(-median / 2 - own * width + 1.2, -median / 2 - 1.2),
            crosswalks=self.crosswalks,
        )


@dataclass(**FROZEN)
class MergeRoad:
    """highway-env's merge: a ramp joins from the right; oncoming lanes beyond a median are ours. before_m: length before the ramp."""

    lanes: tuple[int, int]
    oncoming: tuple[int, int]
    median_m: float
    before_m: tuple[float, float]
    bends: Bends
    speed_mps: tuple[float, float]

    def layout(self, rng: np.random.Generator, travel_m: float) -> Layout:
        """The ego is on the main road or on the ramp, shortly before they meet."""
        lanes, before = int(rng.integers(*self.lanes, endpoint=True)), float(rng.uniform(*self.before_m))
        converge, parallel, width = RAMP_CONVERGES_M, RAMP_BESIDE_M, float(AbstractLane.DEFAULT_WIDTH)
        network = highway_env_network(
            MergeGenericEnv,
            lanes_count=lanes,
            before_merge_length=before,
            converge_merge_length=converge,
            parallel_merge_length=parallel,
            after_merge_length=travel_m + AHEAD_M,
        )
        length = before + converge + parallel + travel_m + AHEAD_M
        oncoming = int(rng.integers(*self.oncoming, endpoint=True))
        for index in range(oncoming):
            y = -width / 2 - self.median_m - (index + 0.5) * width
            lines = [
                LineType.STRIPED if index else LineType.CONTINUOUS_LINE,
                LineType.CONTINUOUS_LINE if index == oncoming - 1 else LineType.NONE,
            ]
            network.add_lane("e", "f", _straight(length, 0.0, y, width, lines))
        main = [
            Start(lane=("a", "b", i), from_m=0.0, to_m=before + converge, gap=1.2, movable=True) for i in range(lanes)
        ]
        ramp = Start(lane=("j", "k", 0), from_m=0.0, to_m=before, gap=0.8, movable=False)
        ends = length - before - ONCOMING_M, length - before
        against = [
            Start(lane=("e", "f", i), from_m=ends[0], to_m=ends[1], gap=1.2, movable=True) for i in range(oncoming)
        ]
        ego = [
            Start(lane=start.lane, from_m=max(BEHIND_M, before - 40.0), to_m=before, gap=1.0, movable=False)
            for start in (*main, ramp, ramp)
        ]
        return Layout(
            network=network,
            line=self.bends.line(rng, length),
            ego_starts=tuple(ego),
            starts=(*main, ramp, *against),
            exits=(),
            regulated=False,
            obstacles=((before + converge + parallel, float(lanes * width)),),
            kinds=("car", "van", "truck"),
            turns=frozenset({("k", "b")}),
            own_offsets_m=(-(lanes - 0.5) * width + 1.2, width / 2 - 1.2),
        )


class _AlongX(StraightLane):
    """A straight lane along x. Most of a simulation is spent asking where vehicles are in their lanes: this asks less."""

    def local_coordinates(self, position: np.ndarray) -> tuple[float, float]:
        sign = 1.0 if self.end[0] > self.start[0] else -1.0
        return sign * float(position[0] - self.start[0]), sign * float(position[1] - self.start[1])


def _straight(start: float, end: float, y: float, width: float, lines: list[int]) -> StraightLane:
    return _AlongX([start, y], [end, y], width=width, line_types=lines, speed_limit=FREE_MPS)


def highway_env_network(environment: type, **config: int | float) -> RoadNetwork:
    """The road network of one of highway-env's environments, without the environment."""
    config |= {"show_trajectories": False, "neighbour_vehicles_connected_lanes": True}
    stub = SimpleNamespace(np_random=None, config=config, road=None)
    environment._make_road(stub)
    for lane in stub.road.network.lanes_list():
        lane.speed_limit = FREE_MPS
    return stub.road.network


def mirrored(states: Float64[np.ndarray, "*n width"]) -> Float64[np.ndarray, "*n width"]:
    """x, y[, heading, speed] with y up instead of down. The only mirror of the package."""
    return states * np.array([1.0, -1.0, -1.0, 1.0])[: states.shape[-1]]


def lane_points(
    lane: AbstractLane, along: Float64[np.ndarray, "n"], aside: float | Float64[np.ndarray, "n"] = 0.0
) -> Float64[np.ndarray, "n 2"]:
    """Points of a lane in the coordinates of its layout, y to the left. along: metres from its start. aside: to the left."""
    sides = np.broadcast_to(aside, along.shape)
    return mirrored(np.array([lane.position(s, -side) for s, side in zip(along, sides)]))
