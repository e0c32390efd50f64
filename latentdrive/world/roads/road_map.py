"""From a layout to nuPlan's kind of map: lanes in roadblocks, lane connectors in intersections, crosswalks and pavements.

Third step of the NAVSIM world, after roads.py and junctions.py; map_writer.py stores what comes out. nuPlan's graph goes from
lane to connector to lane. highway-env's does not: long roads are cut where a crosswalk lies, and where one road runs into
another without a junction its last metres become connectors.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from itertools import count, pairwise

import numpy as np
import shapely
from highway_env.road.lane import AbstractLane
from jaxtyping import Float64

from latentdrive.geometry import compose
from latentdrive.types import FROZEN, MapArea, MapConnection, MapLane, RoadMap
from latentdrive.world.roads.centreline import Centreline
from latentdrive.world.roads.layouts import Layout, Road, lane_points

POINT_M = 1.0  # spacing of the points of centre lines and edges
CLOSED_M = 3.0  # gaps between the ways of a junction that count as its area, corners rounder than this are kept
WALKWAY_M, KERB_M = 2.5, 0.5  # width of a pavement, and how far it lies from the road and its shoulder
TOUCH_M = 0.05  # roads that are nearer to each other have no shoulder between them
CROSSWALK_M = 4.0  # width of a crosswalk
TAPER_M = 30.0  # length over which a lane that ends runs into its neighbour


@dataclass(**FROZEN)
class Piece:
    """A stretch of a road: a roadblock, or a roadblock connector where `joins`. from_m, to_m: along its lanes."""

    road: Road
    from_m: float
    to_m: float
    joins: bool


@dataclass(**FROZEN)
class MappedRoads:
    """A drive's map in its own plane. blocks: roadblock ids of a road, connectors of cuts among them, in driving order.

    connectors: ids of the lane connectors of each road that turns. crosswalks_m: where roads along a line are crossed.
    """

    map: RoadMap
    blocks: dict[Road, tuple[str, ...]]
    connectors: dict[Road, tuple[str, ...]]
    crosswalks_m: tuple[float, ...]

    def route(self, roads: tuple[Road, ...]) -> tuple[str, ...]:
        """Roadblock ids of a route, in order."""
        return tuple(block for road in roads for block in self.blocks[road])


def map_roads(
    layout: Layout, *, first_id: int, block_m: float, joint_m: float, shoulder_m: float, limit_mps: float, name: str
) -> MappedRoads:
    """The map of a layout. first_id: ids count up from here. block_m: longest roadblock before a road is cut; joint_m: length
    of the connectors at cuts and where roads meet. shoulder_m: width of what is paved beside the outermost lanes, which belongs to
    roadblocks, connectors and intersections and to no lane. limit_mps: speed limit of everything."""
    return _Surveyor(
        layout,
        first_id=first_id,
        block_m=block_m,
        joint_m=joint_m,
        shoulder_m=shoulder_m,
        limit_mps=limit_mps,
        name=name,
    ).survey()


def placed(road_map: RoadMap, place: Float64[np.ndarray, "3"]) -> RoadMap:
    """The map moved and turned: place is the pose of its own plane in the global frame."""

    def moved(points: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
        poses = np.concatenate([points, np.zeros((len(points), 1))], -1)
        return compose(np.broadcast_to(place, poses.shape), poses)[:, :2]

    def all_moved(things):
        for thing in things:
            changed = {"rings": tuple(moved(ring) for ring in thing.rings)}
            if isinstance(thing, MapLane):
                changed["baseline"] = moved(thing.baseline)
            yield replace(thing, **changed)

    kinds = [kind.name for kind in fields(RoadMap) if kind.name != "name"]
    return RoadMap(name=road_map.name, **{kind: tuple(all_moved(getattr(road_map, kind))) for kind in kinds})


@dataclass
class _Surveyor:
    """Collects the parts of one map."""

    layout: Layout
    first_id: int
    block_m: float
    joint_m: float
    shoulder_m: float
    limit_mps: float
    name: str
    lanes: list[MapLane] = field(default_factory=list)
    connectors: list[MapLane] = field(default_factory=list)
    roadblocks: list[MapArea] = field(default_factory=list)
    connections: list[MapConnection] = field(default_factory=list)

    def survey(self) -> MappedRoads:
        self._ids = (str(number) for number in count(self.first_id))
        graph = self.layout.network.graph
        self._roads = {(start, end): graph[start][end] for start in graph for end in graph[start]}
        cuts = self._cuts()
        pieces = {road: self._pieces(road, cuts) for road in self._roads}
        named = {piece: next(self._ids) for road in pieces for piece in pieces[road]}
        ids = {
            (piece, number): next(self._ids) for piece in named for number in range(len(self._roads[piece.road]))
        }  # of every lane and connector
        after = self._links(pieces, ids)
        tapers = self._tapers(pieces, ids, after)
        before: dict[str, list[str]] = defaultdict(list)
        for earlier, later in after.items():
            for one in later:
                before[one].append(earlier)
        ribbons = {
            piece: [
                self._ribbon(piece, lane, shift_m=tapers.get(ids[piece, number], 0.0))
                for number, lane in enumerate(self._roads[piece.road])
            ]
            for piece in named
        }
        paved = self._paved({piece: _outline([ring for _, ring in some]) for piece, some in ribbons.items()})
        areas: list[tuple[set[str], shapely.Polygon]] = []
        lit = {road for phase in self.layout.phases for road in phase}
        for piece, block in named.items():
            for number, (baseline, ring) in enumerate(ribbons[piece]):
                one = ids[piece, number]
                made = MapLane(
                    id=one,
                    rings=(ring,),
                    roadblock=block,
                    baseline=baseline,
                    outgoing=tuple(after[one]),
                    incoming=tuple(before[one]),
                    speed_limit_mps=self.limit_mps,
                    index=None if piece.joins else number,
                    has_light=piece.joins and any(road[1] == piece.road[0] for road in lit),
                )
                (self.connectors if piece.joins else self.lanes).append(made)
            if piece.joins:
                areas.append(({*self._ends(piece)}, shapely.Polygon(paved[piece])))
            else:
                self.roadblocks.append(MapArea(id=block, rings=(paved[piece],)))
        intersections = self._intersections(areas)
        self._connect(named, ids, after, before, intersections, paved)
        blocks = {road: tuple(named[piece] for piece in pieces[road]) for road in pieces}
        turning = {
            road: tuple(one for (piece, _), one in ids.items() if piece.road == road)
            for road in sorted(self.layout.turns)  # a set: its own order differs from process to process
        }
        crosswalks = tuple((start + end) / 2 for start, end in cuts) if self.layout.crosswalks else ()
        whole = RoadMap(
            name=self.name,
            lanes=tuple(self.lanes),
            connectors=tuple(self.connectors),
            roadblocks=tuple(self.roadblocks),
            roadblock_connectors=tuple(self.connections),
            intersections=tuple(area for _, area in intersections),
            carparks=(),
            crosswalks=tuple(self._crosswalks(crosswalks)),
            walkways=tuple(self._walkways(pieces)),
        )
        return MappedRoads(map=whole, blocks=blocks, connectors=turning, crosswalks_m=crosswalks)

    def _cuts(self) -> list[tuple[float, float]]:
        """Stretches of the line, the same for both directions, at which bent roads are cut."""
        if self.layout.line is None:
            return []
        length = max(lane.length for lanes in self._roads.values() for lane in lanes)
        middles = np.arange(self.block_m, length - self.block_m / 2, self.block_m)
        return [(float(middle - self.joint_m / 2), float(middle + self.joint_m / 2)) for middle in middles]

    def _pieces(self, road: Road, cuts: list[tuple[float, float]]) -> list[Piece]:
        """A road as blocks and the joints between them, and a joint at its end if a road without a junction follows."""
        length = min(lane.length for lane in self._roads[road])
        if road in self.layout.turns:
            return [Piece(road=road, from_m=0.0, to_m=length, joins=True)]
        lane = self._roads[road][0]
        if self.layout.line is not None:
            first, last = lane.position(0.0, 0.0)[0], lane.position(length, 0.0)[0]
            cuts = sorted(
                (abs(a - first), abs(b - first)) for a, b in cuts if min(first, last) < a and b < max(first, last)
            )
            cuts = [(min(cut), max(cut)) for cut in cuts]
        else:
            cuts = []
        follows = [(road[1], end) for end in self.layout.network.graph.get(road[1], {})]
        if any(following not in self.layout.turns for following in follows):
            fewer = min(len(self._roads[following]) for following in follows) < len(self._roads[road])
            joint = TAPER_M if fewer else self.joint_m
            cuts = [cut for cut in cuts if cut[1] < length - joint - self.joint_m] + [(length - joint, length)]
        pieces, here = [], 0.0
        for start, end in cuts:
            pieces.append(Piece(road=road, from_m=here, to_m=start, joins=False))
            pieces.append(Piece(road=road, from_m=start, to_m=end, joins=True))
            here = end
        return pieces if here >= length else [*pieces, Piece(road=road, from_m=here, to_m=length, joins=False)]

    def _links(self, pieces: dict[Road, list[Piece]], ids: dict[tuple[Piece, int], str]) -> dict[str, list[str]]:
        """What follows each lane and connector: the same number inside a road, what begins where it ends at a node."""
        after: dict[str, list[str]] = defaultdict(list)
        for road, parts in pieces.items():
            lanes = self._roads[road]
            for one, two in pairwise(parts):
                for number in range(len(lanes)):
                    after[ids[one, number]].append(ids[two, number])
            for end in self.layout.network.graph.get(road[1], {}):
                following = self._roads[road[1], end]
                for number, lane in enumerate(lanes):
                    for other, next_lane in enumerate(following):
                        gap = lane.position(lane.length, 0.0) - next_lane.position(0.0, 0.0)
                        if np.hypot(*gap) < lane.width_at(0.0) / 4:
                            after[ids[parts[-1], number]].append(ids[pieces[road[1], end][0], other])
        return after

    def _tapers(
        self, pieces: dict[Road, list[Piece]], ids: dict[tuple[Piece, int], str], after: dict[str, list[str]]
    ) -> dict[str, float]:
        """Connectors of lanes that end: they lead to what their left neighbour leads to, so far to the left in metres."""
        tapers = {}
        for road, parts in pieces.items():
            for number, lane in enumerate(self._roads[road]):
                one = ids[parts[-1], number]
                if parts[-1].joins and not after[one] and number:
                    after[one] += after[ids[parts[-1], number - 1]]
                    tapers[one] = float(lane.width_at(0.0))
        return tapers

    def _ribbon(
        self, piece: Piece, lane: AbstractLane, *, shift_m: float
    ) -> tuple[Float64[np.ndarray, "n 2"], Float64[np.ndarray, "m 2"]]:
        """Centre line and outline of a piece of a lane, in the plane. shift_m: how far to the left it ends."""
        number = max(2, round((piece.to_m - piece.from_m) / POINT_M) + 1)
        along = np.linspace(piece.from_m, piece.to_m, number)
        half = lane.width_at(0.0) / 2
        shift = shift_m * (1 - np.cos(np.pi * (along - along[0]) / (along[-1] - along[0]))) / 2
        middle, left, right = (self._plane(lane_points(lane, along, shift + aside)) for aside in (0.0, half, -half))
        return middle, np.concatenate([left, right[::-1]])

    def _paved(self, outlines: dict[Piece, Float64[np.ndarray, "_ 2"]]) -> dict[Piece, Float64[np.ndarray, "_ 2"]]:
        """Outlines with a shoulder on either side, narrower where another road is near: each gets half of what lies between."""
        tree, pieces = shapely.STRtree([shapely.Polygon(ring) for ring in outlines.values()]), list(outlines)
        result = {}
        for piece, outline in outlines.items():
            half = len(outline) // 2
            left, right = outline[:half], outline[half:][::-1]
            across = (left - right) / np.linalg.norm(left - right, axis=1, keepdims=True)
            sides = []
            for edge, outwards in ((left, across), (right, -across)):
                # Begins a little outside: a road touches the ones before and after it at its corners.
                rays = shapely.linestrings(
                    np.stack([edge + TOUCH_M * outwards, edge + 2 * self.shoulder_m * outwards], 1)
                )
                room = np.full(half, 2 * self.shoulder_m)
                for ray, other in tree.query(rays, "intersects").T:
                    if pieces[other].road != piece.road:
                        met = shapely.intersection(rays[ray], tree.geometries[other])
                        gap = shapely.distance(shapely.Point(edge[ray]), met)
                        room[ray] = min(room[ray], gap if gap > TOUCH_M + 1e-6 else 0.0)
                sides.append(edge + room[:, None] / 2 * outwards)
            result[piece] = np.concatenate([sides[0], sides[1][::-1]])
        return result

    def _plane(self, points: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
        """Points of the layout where they lie once the road is bent."""
        line: Centreline | None = self.layout.line
        if line is None:
            return points
        return line.place(np.concatenate([points, np.zeros((len(points), 1))], -1))[:, :2]

    def _ends(self, piece: Piece) -> Iterator[tuple]:
        """What tells which joints belong to one intersection: the nodes of a turn, the place of a cut."""
        if piece.road in self.layout.turns:
            yield from piece.road
        else:
            lane = self._roads[piece.road][0]
            yield ("cut", round(float(lane.position((piece.from_m + piece.to_m) / 2, 0.0)[0]), 1))

    def _intersections(self, areas: list) -> list[tuple[set, MapArea]]:
        """Areas of joints that share an end, each with its ends. Ways that merge or part at one node share it, too."""
        groups: list[tuple[set, list]] = []
        for ends, polygon in areas:
            near = [group for group in groups if group[0] & ends]
            merged = (
                set(ends).union(*(group[0] for group in near)),
                [polygon, *(p for group in near for p in group[1])],
            )
            groups = [group for group in groups if group not in near] + [merged]
        result = []
        for ends, polygons in groups:
            area = shapely.union_all(polygons)
            with np.errstate(all="ignore"):  # straight corners divide by zero inside; what comes out is right
                area = area.buffer(CLOSED_M, join_style="mitre").buffer(-CLOSED_M, join_style="mitre")
            if isinstance(area, shapely.MultiPolygon):
                area = shapely.union_all(polygons).convex_hull
            result.append((ends, MapArea(id=next(self._ids), rings=(np.array(area.exterior.coords)[:-1],))))
        return result

    def _connect(self, named: dict, ids: dict, after: dict, before: dict, intersections: list, paved: dict) -> None:
        """Roadblock connectors: a piece that joins, from each roadblock before it to each after it."""
        block_of = {lane.id: lane.roadblock for lane in (*self.lanes, *self.connectors)}
        for piece, block in named.items():
            if not piece.joins:
                continue
            members = [one for (other, _), one in ids.items() if other == piece]
            comes = sorted({block_of[one] for member in members for one in before[member]}, key=int)
            leads = sorted({block_of[one] for member in members for one in after[member]}, key=int)
            inside = next(area.id for ends, area in intersections if ends & {*self._ends(piece)})
            self.connections.append(
                MapConnection(
                    id=block,
                    rings=(paved[piece],),
                    from_roadblock=comes[0] if comes else "",
                    to_roadblock=leads[0] if leads else "",
                    intersection=inside,
                )
            )

    def _crosswalks(self, middles_m: tuple[float, ...]) -> Iterator[MapArea]:
        """Across all lanes and shoulders of a bent road, at its cuts."""
        lanes = [lane for roads in self._roads.values() for lane in roads]
        for middle in middles_m:
            sides = [
                float(-lane.position(0.0, 0.0)[1]) + side * lane.width_at(0.0) / 2 for lane in lanes for side in (-1, 1)
            ]
            x = np.array([middle - CROSSWALK_M / 2, middle + CROSSWALK_M / 2])
            right, left = min(sides) - self.shoulder_m, max(sides) + self.shoulder_m
            corners = np.array([[x[0], right], [x[1], right], [x[1], left], [x[0], left]])
            yield MapArea(id=next(self._ids), rings=(self._plane(corners),))

    def _walkways(self, pieces: dict[Road, list[Piece]]) -> Iterator[MapArea]:
        """Pavements to the right of the shoulders of roadblocks."""
        for road, parts in pieces.items():
            lane = self._roads[road][-1]
            for piece in parts:
                if piece.joins:
                    continue
                number = max(2, round((piece.to_m - piece.from_m) / POINT_M) + 1)
                along = np.linspace(piece.from_m, piece.to_m, number)
                edge = lane.width_at(0.0) / 2 + self.shoulder_m + KERB_M
                inner, outer = (self._plane(lane_points(lane, along, -far)) for far in (edge, edge + WALKWAY_M))
                yield MapArea(id=next(self._ids), rings=(np.concatenate([inner, outer[::-1]]),))


def _outline(rings: list[Float64[np.ndarray, "n 2"]]) -> Float64[np.ndarray, "m 2"]:
    """Outline of lanes side by side, from left to right: the left edge of the first and the right edge of the last."""
    if len(rings) == 1:
        return rings[0]
    left, right = rings[0][: len(rings[0]) // 2], rings[-1][len(rings[-1]) // 2 :]
    return np.concatenate([left, right])
