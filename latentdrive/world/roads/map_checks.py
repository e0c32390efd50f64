"""Whether a RoadMap can be written as a map file and read back as it is; map_writer.py asks before it writes anything."""

from itertools import pairwise

import numpy as np

from latentdrive.data.maps.nuplan_maps import repeated_ids
from latentdrive.errors import MapError
from latentdrive.types import RoadMap

KINDS = (
    "lanes",
    "connectors",
    "roadblocks",
    "roadblock_connectors",
    "intersections",
    "carparks",
    "crosswalks",
    "walkways",
)


def check_map(road_map: RoadMap) -> None:
    """Raises MapError for a map that no file can hold, or that would be read back otherwise."""
    for kind in KINDS:
        ids = [item.id for item in getattr(road_map, kind)]
        wrong = [id_ for id_ in ids if not (id_.isdecimal() and str(int(id_)) == id_ and 0 < int(id_) < 2**53)]
        if wrong:
            raise MapError(f"{road_map.name}: ids of {kind} must be whole numbers from 1 on, {wrong[0]!r} is not")
        unordered = [later for earlier, later in pairwise(ids) if int(later) <= int(earlier)]
        if unordered:
            raise MapError(
                f"{road_map.name}: ids of {kind} must ascend, {unordered[0]} does not: a map file is read in the order of its ids"
            )
    if twice := repeated_ids(road_map):
        raise MapError(f"{road_map.name}: ids must be unique over all kinds, {', '.join(twice[:5])} used twice")
    _check_shapes(road_map)
    _check_references(road_map)
    _check_graph(road_map)


def _check_shapes(road_map: RoadMap) -> None:
    driven = (*road_map.lanes, *road_map.connectors)
    for kind in KINDS:
        for item in getattr(road_map, kind):
            if (
                not item.rings
                or min(map(len, item.rings)) < 3
                or not all(np.isfinite(ring).all() for ring in item.rings)
            ):
                raise MapError(
                    f"{road_map.name}: a polygon of {kind}, {item.id}, needs rings of three or more finite points"
                )
    for lane in driven:
        line = lane.baseline
        if not np.isfinite(line).all() or len(line) < 2 or not np.ptp(line, axis=0).any():
            raise MapError(
                f"{road_map.name}: the centre line of {lane.id} needs two or more finite points, two different"
            )


def _check_references(road_map: RoadMap) -> None:
    """What an object names must be in the map."""
    blocks, connections, intersections = (
        {item.id for item in kind}
        for kind in (road_map.roadblocks, road_map.roadblock_connectors, road_map.intersections)
    )
    named = [(lane.id, lane.roadblock, blocks) for lane in road_map.lanes]
    named += [(connector.id, connector.roadblock, connections) for connector in road_map.connectors]
    for item in road_map.roadblock_connectors:
        named += [(item.id, item.from_roadblock, blocks), (item.id, item.to_roadblock, blocks)]
        named += [(item.id, item.intersection, intersections)] if item.intersection is not None else []
    for id_, other, there in named:
        if other not in there:
            raise MapError(f"{road_map.name}: {id_} names {other!r}, which the map does not hold")


def _check_graph(road_map: RoadMap) -> None:
    """Lanes and connectors must tell the same story, for a file holds the connectors' alone."""
    outgoing: dict[str, list[str]] = {lane.id: [] for lane in road_map.lanes}
    incoming: dict[str, list[str]] = {lane.id: [] for lane in road_map.lanes}
    for connector in road_map.connectors:
        start, end = connector.incoming, connector.outgoing
        if len(start) != 1 or len(end) != 1 or start[0] not in outgoing or end[0] not in incoming:
            raise MapError(
                f"{road_map.name}: connector {connector.id} must lead from one lane of the map to one other, it leads "
                f"from {start} to {end}"
            )
        outgoing[start[0]].append(connector.id)
        incoming[end[0]].append(connector.id)
    for lane in road_map.lanes:
        if list(lane.outgoing) != outgoing[lane.id] or list(lane.incoming) != incoming[lane.id]:
            raise MapError(
                f"{road_map.name}: lane {lane.id} names connectors {lane.incoming} and {lane.outgoing}; by the connectors, "
                f"in their order, these are {tuple(incoming[lane.id])} and {tuple(outgoing[lane.id])}"
            )
