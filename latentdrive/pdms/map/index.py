"""An index of a place's map: what lies near a point, which lane or block leads where, and polygons
packed for scoring.

All scenes of a place share it. Preparing a scene queries it for areas, route and centreline. Lists
are in the order of the RoadMap, which is that of the map file.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import shapely
from jaxtyping import Float64, Int64

from latentdrive.errors import MapError
from latentdrive.pdms.scene import LAYERS, Polygons
from latentdrive.types import MapArea, MapLane, RoadMap

MAPS_KEPT = 8  # nuPlan has four places


class MapIndex:
    """Polygons, baselines and links of one map.

    Areas are numbered through all layers, in the order of LAYERS. ids, layers (index into LAYERS)
    and polygons (shapely) are indexed by this number, and `number` gives it by id. block_polygons,
    block_ids: roadblocks, then roadblock connectors, in the numbering of `blocks`.
    """

    def __init__(self, road_map: RoadMap) -> None:
        """Raises MapError if an id is used twice, or if a polygon or baseline has too few points."""
        self.map = road_map
        kinds = (road_map.roadblocks, road_map.lanes, road_map.connectors, road_map.intersections, road_map.carparks)
        areas = [area for kind in kinds for area in kind]
        self.ids = np.array([area.id for area in areas] + [None], object)[:-1]
        self.layers = np.repeat(np.arange(len(LAYERS), dtype=np.int8), [len(kind) for kind in kinds])
        self.number: dict[str, int] = {area.id: number for number, area in enumerate(areas)}
        self._pack_rings(areas)
        ring_of_vertex = np.repeat(np.arange(len(self._ring_sizes)), self._ring_sizes)
        rings = shapely.linearrings(self._vertices, indices=ring_of_vertex)
        self.polygons = shapely.polygons(rings, indices=np.repeat(np.arange(len(areas)), self._rings_of))
        self._index_blocks(road_map)
        self._index_lanes((*road_map.lanes, *road_map.connectors))
        if len(areas) + len(road_map.roadblock_connectors) != len(self.number | self.blocks):
            raise MapError(f"map {road_map.name}: two things have the same id; ids must be unique over all layers")
        first = np.searchsorted(self.layers, np.arange(len(LAYERS) + 1))
        self.first = dict(zip(LAYERS, first[:-1].tolist(), strict=True))  # number of the first area of a layer
        self.trees = {name: shapely.STRtree(self.polygons[first[i] : first[i + 1]]) for i, name in enumerate(LAYERS)}
        self.trees["ROADBLOCK_CONNECTOR"] = shapely.STRtree(self.block_polygons[len(road_map.roadblocks) :])

    def __contains__(self, block: str) -> bool:
        """Whether the map has a roadblock or roadblock connector with this id."""
        return block in self.blocks

    def is_connector(self, block: str) -> bool:
        """Whether a block is a roadblock connector."""
        return self.blocks[block] >= len(self.map.roadblocks)

    def inside(self, block: str) -> tuple[str, ...]:
        """Lanes (or lane connectors) of a block, in the map's order."""
        return self._inside.get(block, ())

    def outgoing(self, block: str) -> tuple[str, ...]:
        """Blocks that a block leads to, without those that the map lacks."""
        return tuple(self._leads_to.get(block, ()))

    def incoming(self, block: str) -> tuple[str, ...]:
        """Blocks that lead to a block."""
        return tuple(self._comes_from.get(block, ()))

    def baseline(self, lane: str) -> Float64[np.ndarray, "n 3"]:
        """Vertices of a lane's centreline: x, y and the direction to the next vertex, which the last one repeats."""
        place = self._place[lane]
        return self._baselines[self._lane_ends[place] : self._lane_ends[place + 1]]

    def length(self, lane: str) -> float:
        """Length of a lane's centreline, metres."""
        return float(self._lengths[self._place[lane]])

    def take(self, numbers: Int64[np.ndarray, "P"]) -> Polygons:
        """The areas with these numbers, packed."""
        rings = _ranges(self._first_ring[numbers], self._rings_of[numbers])
        sizes = self._ring_sizes[rings]
        vertices = self._vertices[_ranges(self._ring_ends[rings], sizes)]
        owner = np.repeat(np.arange(len(numbers)), self._rings_of[numbers])
        ends = np.concatenate([[0], np.cumsum(sizes)])
        return Polygons(vertices=vertices, ends=ends.astype(np.int32), owner=owner.astype(np.int32))

    def lanes_within(self, blocks: Int64[np.ndarray, "_"]) -> Int64[np.ndarray, "_"]:
        """Numbers of the lanes of some blocks, block by block. blocks: numbers of the blocks."""
        return self._members[_ranges(self._first_member[blocks], self._member_counts[blocks])]

    def _pack_rings(self, areas: Sequence[MapArea]) -> None:
        self._rings_of = np.array([len(area.rings) for area in areas], np.int64)
        self._first_ring = np.cumsum(self._rings_of) - self._rings_of
        for area in areas:
            if not area.rings or min(len(ring) for ring in area.rings) < 3:
                raise MapError(f"map {self.map.name}: the polygon of {area.id} has a ring of fewer than 3 points")
        rings = [ring for area in areas for ring in area.rings]
        self._ring_sizes = np.array([len(ring) for ring in rings], np.int64)
        self._ring_ends = np.concatenate([[0], np.cumsum(self._ring_sizes)])
        self._vertices = np.concatenate([np.zeros((0, 2)), *rings])

    def _index_blocks(self, road_map: RoadMap) -> None:
        joints = road_map.roadblock_connectors
        self.blocks: dict[str, int] = {block.id: i for i, block in enumerate((*road_map.roadblocks, *joints))}
        self.block_ids = tuple(self.blocks)
        polygons = [shapely.Polygon(joint.rings[0], joint.rings[1:]) for joint in joints]
        self.block_polygons = np.array([*self.polygons[: len(road_map.roadblocks)], *polygons, None], object)[:-1]
        self._leads_to: dict[str, list[str]] = {}
        self._comes_from: dict[str, list[str]] = {}
        for joint in joints:
            for start, end in ((joint.from_roadblock, joint.id), (joint.id, joint.to_roadblock)):
                if start in self.blocks and end in self.blocks:
                    self._leads_to.setdefault(start, []).append(end)
                    self._comes_from.setdefault(end, []).append(start)

    def _index_lanes(self, lanes: Sequence[MapLane]) -> None:
        self.lanes: dict[str, MapLane] = {lane.id: lane for lane in lanes}
        self._place = {lane.id: place for place, lane in enumerate(lanes)}
        inside: dict[str, list[str]] = {}
        for lane in lanes:
            inside.setdefault(lane.roadblock, []).append(lane.id)
        self._inside = {block: tuple(ids) for block, ids in inside.items()}
        self._member_counts = np.array([len(inside.get(block, ())) for block in self.blocks], np.int64)
        self._first_member = np.cumsum(self._member_counts) - self._member_counts
        self._members = np.array(
            [self.number[lane] for block in self.blocks for lane in inside.get(block, ())], np.int64
        )
        sizes = np.array([len(lane.baseline) for lane in lanes], np.int64)
        if len(sizes) and sizes.min() < 2:
            raise MapError(
                f"map {self.map.name}: the baseline of {lanes[int(sizes.argmin())].id} has fewer than 2 points"
            )
        self._lane_ends = np.concatenate([[0], np.cumsum(sizes)])
        points = np.concatenate([np.zeros((0, 2)), *(lane.baseline for lane in lanes)])
        self._lengths = shapely.length(shapely.linestrings(points, indices=np.repeat(np.arange(len(lanes)), sizes)))
        step = np.diff(points, axis=0, append=points[-1:])
        heading = np.arctan2(step[:, 1], step[:, 0])
        last = self._lane_ends[1:] - 1
        heading[last] = heading[last - 1]
        self._baselines = np.column_stack([points, heading])


@lru_cache(maxsize=MAPS_KEPT)
def _index_of(key: "_SameMap") -> MapIndex:
    return MapIndex(key.map)


class _SameMap:
    """A map as a cache key, compared by identity. Comparing by content would take as long as indexing."""

    def __init__(self, road_map: RoadMap) -> None:
        self.map = road_map

    def __hash__(self) -> int:
        return id(self.map)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SameMap) and other.map is self.map


def index_of(road_map: RoadMap) -> MapIndex:
    """The index of a map. The indices of the last few maps are kept, recognised by identity."""
    return _index_of(_SameMap(road_map))


def _ranges(starts: Int64[np.ndarray, "_"], counts: Int64[np.ndarray, "_"]) -> Int64[np.ndarray, "_"]:
    """All of range(start, start + count), one range after the other."""
    total = np.cumsum(counts)
    return np.arange(total[-1] if len(total) else 0) + np.repeat(starts - total + counts, counts)
