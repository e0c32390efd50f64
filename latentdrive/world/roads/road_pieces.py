"""Cuts the roads of a layout into pieces and links their lanes, because nuPlan's graph goes lane, connector, lane.

First step of road_map.py. highway-env's graph has no connectors outside junctions. Long roads are
therefore cut where a crosswalk lies, and where one road continues in another without a junction,
its last metres become connectors.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from highway_env.road.lane import AbstractLane

from latentdrive.types import FROZEN
from latentdrive.world.roads.layouts import Layout, Road

TAPER_M = 30.0  # length over which a lane that ends merges into its neighbour
Cuts = list[tuple[float, float]]


@dataclass(**FROZEN)
class Piece:
    """A stretch of a road, from_m to to_m along its lanes: a roadblock, or a roadblock connector if `joins`."""

    road: Road
    from_m: float
    to_m: float
    joins: bool


@dataclass(**FROZEN)
class CutRoads:
    """The pieces of all roads of a layout, with ids.

    roads: lanes by road, from left to right. cuts_m: stretches of the centreline at which bent
    roads are cut. pieces: by road, in driving order. blocks: roadblock id of each piece. lane_ids:
    id of each lane (or connector) by piece and number from the left. after, before: ids of the
    lanes that follow and precede a lane. tapers_m: for connectors of lanes that end, how far to the
    left they lead.
    """

    roads: dict[Road, list[AbstractLane]]
    cuts_m: tuple[tuple[float, float], ...]
    pieces: dict[Road, list[Piece]]
    blocks: dict[Piece, str]
    lane_ids: dict[tuple[Piece, int], str]
    after: dict[str, list[str]]
    before: dict[str, list[str]]
    tapers_m: dict[str, float]


def cut_roads(layout: Layout, ids: Iterator[str], *, block_m: float, joint_m: float) -> CutRoads:
    """Cut every road of a layout. ids: an endless supply of new ids. block_m, joint_m: see road_map.map_roads."""
    graph = layout.network.graph
    roads = {(start, end): graph[start][end] for start in graph for end in graph[start]}
    cuts = _cuts(layout, roads, block_m, joint_m)
    pieces = {road: _pieces(layout, roads, road, cuts, joint_m) for road in roads}
    blocks = {piece: next(ids) for road in pieces for piece in pieces[road]}
    lane_ids = {(piece, number): next(ids) for piece in blocks for number in range(len(roads[piece.road]))}
    after = _links(layout, roads, pieces, lane_ids)
    tapers = _tapers(roads, pieces, lane_ids, after)
    before: dict[str, list[str]] = defaultdict(list)
    for earlier, followers in after.items():
        for later in followers:
            before[later].append(earlier)
    return CutRoads(
        roads=roads,
        cuts_m=tuple(cuts),
        pieces=pieces,
        blocks=blocks,
        lane_ids=lane_ids,
        after=after,
        before=before,
        tapers_m=tapers,
    )


def _cuts(layout: Layout, roads: dict[Road, list[AbstractLane]], block_m: float, joint_m: float) -> Cuts:
    """Stretches of the centreline at which bent roads are cut, the same for both directions."""
    if layout.line is None:
        return []
    length = max(lane.length for lanes in roads.values() for lane in lanes)
    middles = np.arange(block_m, length - block_m / 2, block_m)
    return [(float(middle - joint_m / 2), float(middle + joint_m / 2)) for middle in middles]


def _pieces(
    layout: Layout, roads: dict[Road, list[AbstractLane]], road: Road, cuts: Cuts, joint_m: float
) -> list[Piece]:
    """A road as roadblocks with joints between them, and with a joint at its end if a road without
    a junction follows.
    """
    length = min(lane.length for lane in roads[road])
    if road in layout.turns:
        return [Piece(road=road, from_m=0.0, to_m=length, joins=True)]
    own_cuts = _cuts_along(roads[road][0], length, cuts) if layout.line is not None else []
    following = [(road[1], end) for end in layout.network.graph.get(road[1], {})]
    if any(next_road not in layout.turns for next_road in following):
        narrows = min(len(roads[next_road]) for next_road in following) < len(roads[road])
        joint = TAPER_M if narrows else joint_m
        own_cuts = [cut for cut in own_cuts if cut[1] < length - joint - joint_m] + [(length - joint, length)]
    pieces, here = [], 0.0
    for start, end in own_cuts:
        pieces.append(Piece(road=road, from_m=here, to_m=start, joins=False))
        pieces.append(Piece(road=road, from_m=start, to_m=end, joins=True))
        here = end
    return pieces if here >= length else [*pieces, Piece(road=road, from_m=here, to_m=length, joins=False)]


def _cuts_along(lane: AbstractLane, length: float, cuts: Cuts) -> Cuts:
    """Cuts of the centreline in metres along a lane, which may lead in either direction."""
    first, last = lane.position(0.0, 0.0)[0], lane.position(length, 0.0)[0]
    own_cuts = sorted(
        (abs(a - first), abs(b - first)) for a, b in cuts if min(first, last) < a and b < max(first, last)
    )
    return [(min(cut), max(cut)) for cut in own_cuts]


def _links(
    layout: Layout,
    roads: dict[Road, list[AbstractLane]],
    pieces: dict[Road, list[Piece]],
    lane_ids: dict[tuple[Piece, int], str],
) -> dict[str, list[str]]:
    """Ids of what follows each lane: the same number inside a road, and at a node every lane that
    begins where it ends.
    """
    after: dict[str, list[str]] = defaultdict(list)
    for road, parts in pieces.items():
        lanes = roads[road]
        for earlier, later in pairwise(parts):
            for number in range(len(lanes)):
                after[lane_ids[earlier, number]].append(lane_ids[later, number])
        for end in layout.network.graph.get(road[1], {}):
            following = roads[road[1], end]
            for number, lane in enumerate(lanes):
                for next_number, next_lane in enumerate(following):
                    gap = lane.position(lane.length, 0.0) - next_lane.position(0.0, 0.0)
                    if np.hypot(*gap) < lane.width_at(0.0) / 4:
                        next_id = lane_ids[pieces[road[1], end][0], next_number]
                        after[lane_ids[parts[-1], number]].append(next_id)
    return after


def _tapers(
    roads: dict[Road, list[AbstractLane]],
    pieces: dict[Road, list[Piece]],
    lane_ids: dict[tuple[Piece, int], str],
    after: dict[str, list[str]],
) -> dict[str, float]:
    """Let connectors of lanes that end lead to where their left neighbours lead; return their
    lateral shifts in metres.
    """
    tapers = {}
    for road, parts in pieces.items():
        for number, lane in enumerate(roads[road]):
            lane_id = lane_ids[parts[-1], number]
            if parts[-1].joins and not after[lane_id] and number:
                after[lane_id] += after[lane_ids[parts[-1], number - 1]]
                tapers[lane_id] = float(lane.width_at(0.0))
    return tapers
