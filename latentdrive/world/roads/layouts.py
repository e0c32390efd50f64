"""Road layouts as highway-env networks, with the types of road that have no crossing ways: bent roads and merges.

The types of road with crossing ways are in junctions.py. Everything here uses highway-env's
coordinates, with y down; traffic/simulate.py mirrors what it records. Bent roads and merges are
built straight and bent along a centreline after the simulation; junctions are built in the plane
directly.
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

CENTRE_LINE = 4  # extends highway-env's LineType: the line between the directions of a two-way road
AHEAD_M = 180.0  # length of road beyond the last position of the ego, so that cameras see no end of it
BEHIND_M = 30.0  # the ego starts at this s on a bent road, so that some road lies behind it
RAMP_CONVERGES_M, RAMP_BESIDE_M = 70.0, 90.0  # a ramp approaches the main road, then runs beside it
FREE_MPS = 100.0  # speed limit of lanes: none, because the drivers' own wishes bound their speeds
ONCOMING_M = 260.0  # oncoming traffic starts up to this far ahead

Road = tuple[str, str]  # the names of its start node and its end node


@dataclass(**FROZEN)
class Start:
    """A stretch of a lane on which vehicles start.

    from_m, to_m: metres along the lane. gap: factor on the gaps between the vehicles. movable:
    whether the road looks the same everywhere, so that a replayed vehicle may be shifted along it.
    """

    lane: LaneIndex
    from_m: float
    to_m: float
    gap: float
    movable: bool


@dataclass(**FROZEN)
class Layout:
    """One randomly drawn road.

    line: the centreline along which the road is bent; None if the network lies in the plane as it
        is.
    ego_starts, starts: where the ego and the other vehicles start.
    exits: nodes to which routes lead; empty where there is only one way.
    regulated: whether vehicles yield to each other where ways cross.
    obstacles: positions (metres) at the ends of lanes that no vehicle may pass.
    kinds: kinds of vehicles that fit on the road.
    ego_offsets_m: smallest and largest lateral offset of the ego of a decorrelated drive, to the
        left of `line` or, on a junction, of its route.
    turns: the roads that connect other roads inside a junction.
    phases: groups of approaches that have a green light together, in order; empty where there are
        no lights.
    gives_way: for each approach, the roads to whose traffic it yields; the last of them leads past
        the approach's entry.
    crosswalks: whether the map gets a crosswalk at each place where it cuts the road.
    """

    network: RoadNetwork
    line: Centreline | None
    ego_starts: tuple[Start, ...]
    starts: tuple[Start, ...]
    exits: tuple[str, ...]
    regulated: bool
    obstacles: tuple[tuple[float, float], ...]
    kinds: tuple[str, ...]
    ego_offsets_m: tuple[float, float]
    turns: frozenset[Road] = frozenset()
    phases: tuple[tuple[Road, ...], ...] = ()
    gives_way: Mapping[Road, tuple[Road, ...]] = field(default_factory=dict)
    crosswalks: bool = False


@runtime_checkable
class RoadType(Protocol):
    """A type of road, from which layouts are drawn. speed_mps: range of the drivers' desired speeds."""

    speed_mps: tuple[float, float]

    def layout(self, rng: np.random.Generator, travel_m: float) -> Layout:
        """Draw a layout. travel_m: the farthest that the ego may travel on it."""


@dataclass(**FROZEN)
class Bends:
    """The shape of a bent road, in metres. Pairs are ranges; the radius is drawn uniformly in curvature.

    radius_m, bend_m: radius and length of a bend. straight_m: length of a straight. ramp_m: length
    of the change between.
    """

    radius_m: tuple[float, float]
    bend_m: tuple[float, float]
    straight_m: tuple[float, float]
    ramp_m: float

    def line(self, rng: np.random.Generator, length_m: float) -> Centreline:
        """Draw a centreline of at least length_m metres."""
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
    """A road of parallel lanes. Pairs are ranges.

    own, oncoming: number of lanes in the ego's direction and against it. lane_m: width of a lane.
    median_m: width between the two directions. crosswalks: whether the map has crosswalks.
    """

    own: tuple[int, int]
    oncoming: tuple[int, int]
    lane_m: tuple[float, float]
    median_m: tuple[float, float]
    bends: Bends
    crosswalks: bool
    speed_mps: tuple[float, float]

    def layout(self, rng: np.random.Generator, travel_m: float) -> Layout:
        """Draw a layout: own lanes along +x, to the right of the middle (y > 0 in highway-env),
        oncoming ones to its left.
        """
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
        own_starts = [
            Start(lane=("a", "b", i), from_m=0.0, to_m=BEHIND_M + 95.0, gap=1.0, movable=True) for i in range(own)
        ]
        oncoming_starts = [
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
            starts=(*own_starts, *oncoming_starts),
            exits=(),
            regulated=False,
            obstacles=(),
            kinds=("car", "van", "truck", "bus"),
            ego_offsets_m=(-median / 2 - own * width + 1.2, -median / 2 - 1.2),
            crosswalks=self.crosswalks,
        )


@dataclass(**FROZEN)
class MergeRoad:
    """highway-env's merge, where a ramp joins from the right, extended by oncoming lanes beyond a median.

    lanes, oncoming: ranges of the number of lanes. before_m: range of the length before the ramp
    begins to converge.
    """

    lanes: tuple[int, int]
    oncoming: tuple[int, int]
    median_m: float
    before_m: tuple[float, float]
    bends: Bends
    speed_mps: tuple[float, float]

    def layout(self, rng: np.random.Generator, travel_m: float) -> Layout:
        """Draw a layout. The ego starts on the main road or on the ramp, shortly before they meet."""
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
        oncoming_starts = [
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
            starts=(*main, ramp, *oncoming_starts),
            exits=(),
            regulated=False,
            obstacles=((before + converge + parallel, float(lanes * width)),),
            kinds=("car", "van", "truck"),
            turns=frozenset({("k", "b")}),
            ego_offsets_m=(-(lanes - 0.5) * width + 1.2, width / 2 - 1.2),
        )


class _AlongX(StraightLane):
    """A straight lane along x. A simulation spends most of its time on local coordinates; these are
    cheaper to compute.
    """

    def local_coordinates(self, position: np.ndarray) -> tuple[float, float]:
        sign = 1.0 if self.end[0] > self.start[0] else -1.0
        return sign * float(position[0] - self.start[0]), sign * float(position[1] - self.start[1])


def _straight(start: float, end: float, y: float, width: float, lines: list[int]) -> StraightLane:
    return _AlongX([start, y], [end, y], width=width, line_types=lines, speed_limit=FREE_MPS)


def highway_env_network(environment: type, **config: int | float) -> RoadNetwork:
    """Return the road network of one of highway-env's environments, without starting the environment."""
    config |= {"show_trajectories": False, "neighbour_vehicles_connected_lanes": True}
    stub = SimpleNamespace(np_random=None, config=config, road=None)
    environment._make_road(stub)
    for lane in stub.road.network.lanes_list():
        lane.speed_limit = FREE_MPS
    return stub.road.network


def mirrored(states: Float64[np.ndarray, "*n width"]) -> Float64[np.ndarray, "*n width"]:
    """Turn y down into y up, or back. states: x, y and perhaps heading, speed. Nothing else in the package mirrors."""
    return states * np.array([1.0, -1.0, -1.0, 1.0])[: states.shape[-1]]


def lane_points(
    lane: AbstractLane, along: Float64[np.ndarray, "n"], aside: float | Float64[np.ndarray, "n"] = 0.0
) -> Float64[np.ndarray, "n 2"]:
    """Return points of a lane in the coordinates of its layout, with y to the left.

    along: metres from the start of the lane. aside: metres to the left of its centre line.
    """
    sides = np.broadcast_to(aside, along.shape)
    return mirrored(np.array([lane.position(s, -side) for s, side in zip(along, sides)]))
