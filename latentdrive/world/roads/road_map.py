"""Maps of layouts: lanes in roadblocks, lane connectors in intersections, crosswalks and pavements, as nuPlan has them.

Joins road_pieces.py (what leads where) and road_areas.py (what lies where). map_writer.py stores
the maps.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeVar

import numpy as np
import shapely
from jaxtyping import Float64

from latentdrive.geometry import compose
from latentdrive.types import FROZEN, MapArea, MapConnection, MapLane, RoadMap
from latentdrive.world.roads import road_areas
from latentdrive.world.roads.layouts import Layout, Road
from latentdrive.world.roads.map_checks import KINDS
from latentdrive.world.roads.road_areas import Points
from latentdrive.world.roads.road_pieces import CutRoads, Piece, cut_roads

Area = TypeVar("Area", bound=MapArea)


@dataclass(**FROZEN)
class MappedRoads:
    """The map of a drive, in the drive's own plane.

    blocks: roadblock ids by road, in driving order, with those of the connectors at cuts.
    connectors: ids of the lane connectors of each turning road. crosswalks_m: positions of the
    crosswalks along the centreline of a bent road.
    """

    map: RoadMap
    blocks: dict[Road, tuple[str, ...]]
    connectors: dict[Road, tuple[str, ...]]
    crosswalks_m: tuple[float, ...]

    def route(self, roads: tuple[Road, ...]) -> tuple[str, ...]:
        """Return the roadblock ids of a route over `roads`, in driving order."""
        return tuple(block for road in roads for block in self.blocks[road])


def map_roads(
    layout: Layout, *, first_id: int, block_m: float, joint_m: float, shoulder_m: float, limit_mps: float, name: str
) -> MappedRoads:
    """Return the map of a layout.

    first_id: ids count up from here. block_m: length of a roadblock before the road is cut.
    joint_m: length of the connectors at cuts and where one road continues in another. shoulder_m:
    width of the pavement beside the outermost lanes, which belongs to roadblocks, connectors and
    intersections but to no lane. limit_mps: speed limit of all lanes.
    """
    ids = (str(number) for number in count(first_id))
    roads = cut_roads(layout, ids, block_m=block_m, joint_m=joint_m)
    ribbons = {
        piece: [
            road_areas.lane_ribbon(layout, piece, lane, shift_m=roads.tapers_m.get(roads.lane_ids[piece, number], 0.0))
            for number, lane in enumerate(roads.roads[piece.road])
        ]
        for piece in roads.blocks
    }
    outlines = {piece: road_areas.outline([ring for _, ring in lanes]) for piece, lanes in ribbons.items()}
    paved = road_areas.paved_outlines(outlines, shoulder_m)
    lanes, connectors = _lanes(layout, roads, ribbons, limit_mps)
    joints = [
        (road_areas.joint_ends(layout, roads, piece), shapely.Polygon(paved[piece]))
        for piece in roads.blocks
        if piece.joins
    ]
    intersections = road_areas.intersection_areas(joints, ids)
    crosswalks_m = tuple((start + end) / 2 for start, end in roads.cuts_m) if layout.crosswalks else ()
    road_map = RoadMap(
        name=name,
        lanes=tuple(lanes),
        connectors=tuple(connectors),
        roadblocks=tuple(
            MapArea(id=block, rings=(paved[piece],)) for piece, block in roads.blocks.items() if not piece.joins
        ),
        roadblock_connectors=tuple(_connections(layout, roads, (*lanes, *connectors), intersections, paved)),
        intersections=tuple(area for _, area in intersections),
        carparks=(),
        crosswalks=tuple(road_areas.crosswalk_areas(layout, roads, crosswalks_m, shoulder_m, ids)),
        walkways=tuple(road_areas.walkway_areas(layout, roads, shoulder_m, ids)),
    )
    blocks = {road: tuple(roads.blocks[piece] for piece in pieces) for road, pieces in roads.pieces.items()}
    turning = {
        road: tuple(lane_id for (piece, _), lane_id in roads.lane_ids.items() if piece.road == road)
        for road in sorted(layout.turns)  # the order of a set differs from process to process
    }
    return MappedRoads(map=road_map, blocks=blocks, connectors=turning, crosswalks_m=crosswalks_m)


def placed(road_map: RoadMap, place: Float64[np.ndarray, "3"]) -> RoadMap:
    """Return the map in the global frame. place: pose of the map's own plane there."""

    def moved(points: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
        poses = np.concatenate([points, np.zeros((len(points), 1))], -1)
        return compose(np.broadcast_to(place, poses.shape), poses)[:, :2]

    def moved_area(area: Area) -> Area:
        changes = {"rings": tuple(moved(ring) for ring in area.rings)}
        if isinstance(area, MapLane):
            changes["baseline"] = moved(area.baseline)
        return replace(area, **changes)

    return RoadMap(name=road_map.name, **{kind: tuple(map(moved_area, getattr(road_map, kind))) for kind in KINDS})


def joined(name: str, maps: Iterable[RoadMap]) -> RoadMap:
    """Return one map with the objects of several."""
    maps = list(maps)
    return RoadMap(name=name, **{kind: tuple(item for part in maps for item in getattr(part, kind)) for kind in KINDS})


def _lanes(
    layout: Layout, roads: CutRoads, ribbons: dict[Piece, list[tuple[Points, Points]]], limit_mps: float
) -> tuple[list[MapLane], list[MapLane]]:
    """Lanes and lane connectors. ribbons: centre line and outline of each lane of a piece."""
    lanes, connectors = [], []
    lit_nodes = {road[1] for phase in layout.phases for road in phase}
    for piece, block in roads.blocks.items():
        for number, (baseline, ring) in enumerate(ribbons[piece]):
            lane_id = roads.lane_ids[piece, number]
            lane = MapLane(
                id=lane_id,
                rings=(ring,),
                roadblock=block,
                baseline=baseline,
                outgoing=tuple(roads.after[lane_id]),
                incoming=tuple(roads.before[lane_id]),
                speed_limit_mps=limit_mps,
                index=None if piece.joins else number,
                has_light=piece.joins and piece.road[0] in lit_nodes,
            )
            (connectors if piece.joins else lanes).append(lane)
    return lanes, connectors


def _connections(
    layout: Layout,
    roads: CutRoads,
    lanes: Sequence[MapLane],
    intersections: Sequence[tuple[set, MapArea]],
    paved: dict[Piece, Points],
) -> Iterable[MapConnection]:
    """Roadblock connectors: each piece that joins leads from the roadblock before it to the one after it."""
    block_of = {lane.id: lane.roadblock for lane in lanes}
    for piece, block in roads.blocks.items():
        if not piece.joins:
            continue
        members = [lane_id for (other, _), lane_id in roads.lane_ids.items() if other == piece]
        earlier = sorted({block_of[lane_id] for member in members for lane_id in roads.before[member]}, key=int)
        later = sorted({block_of[lane_id] for member in members for lane_id in roads.after[member]}, key=int)
        ends = road_areas.joint_ends(layout, roads, piece)
        yield MapConnection(
            id=block,
            rings=(paved[piece],),
            from_roadblock=earlier[0] if earlier else "",
            to_roadblock=later[0] if later else "",
            intersection=next(area.id for area_ends, area in intersections if area_ends & ends),
        )
