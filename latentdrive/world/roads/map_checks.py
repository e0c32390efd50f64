"""Checks that a RoadMap can be stored in a map file and read back unchanged. map_writer.py calls
them before it writes.
"""

from dataclasses import fields
from itertools import pairwise

import numpy as np

from latentdrive.data.maps.nuplan_maps import repeated_ids
from latentdrive.errors import MapError
from latentdrive.types import RoadMap

KINDS = tuple(item.name for item in fields(RoadMap) if item.name != "name")  # the kinds of objects of a map


def check_map(road_map: RoadMap) -> None:
    """Raise MapError for a map that no file can hold, or that would differ after it is read back."""
    for kind in KINDS:
        ids = [item.id for item in getattr(road_map, kind)]
        invalid = [id_ for id_ in ids if not (id_.isdecimal() and str(int(id_)) == id_ and 0 < int(id_) < 2**53)]
        if invalid:
            raise MapError(f"{road_map.name}: ids of {kind} must be whole numbers from 1 on, got {invalid[0]!r}")
        unordered = [later for earlier, later in pairwise(ids) if int(later) <= int(earlier)]
        if unordered:
            raise MapError(
                f"{road_map.name}: ids of {kind} must ascend, because a map file is read in the order of its ids; "
                f"{unordered[0]} is not greater than the id before it"
            )
    if repeated := repeated_ids(road_map):
        raise MapError(
            f"{road_map.name}: an id may occur only once in the whole map; repeated ids: {', '.join(repeated[:5])}"
        )
    _check_shapes(road_map)
    _check_references(road_map)
    _check_graph(road_map)


def _check_shapes(road_map: RoadMap) -> None:
    for kind in KINDS:
        for item in getattr(road_map, kind):
            if (
                not item.rings
                or min(map(len, item.rings)) < 3
                or not all(np.isfinite(ring).all() for ring in item.rings)
            ):
                raise MapError(f"{road_map.name}: every ring of {kind} {item.id} needs at least three finite points")
    for lane in (*road_map.lanes, *road_map.connectors):
        line = lane.baseline
        if not np.isfinite(line).all() or len(line) < 2 or not np.ptp(line, axis=0).any():
            raise MapError(f"{road_map.name}: the centre line of {lane.id} needs at least two different, finite points")


def _check_references(road_map: RoadMap) -> None:
    """Check that the map holds every object to which another one refers."""
    blocks, connections, intersections = (
        {item.id for item in kind}
        for kind in (road_map.roadblocks, road_map.roadblock_connectors, road_map.intersections)
    )
    references = [(lane.id, lane.roadblock, blocks) for lane in road_map.lanes]
    references += [(connector.id, connector.roadblock, connections) for connector in road_map.connectors]
    for item in road_map.roadblock_connectors:
        references += [(item.id, item.from_roadblock, blocks), (item.id, item.to_roadblock, blocks)]
        references += [(item.id, item.intersection, intersections)] if item.intersection is not None else []
    for id_, target, known in references:
        if target not in known:
            raise MapError(f"{road_map.name}: {id_} refers to {target!r}, which the map does not hold")


def _check_graph(road_map: RoadMap) -> None:
    """Check that lanes and connectors agree on what follows what: a file stores only the connectors' side of it."""
    outgoing: dict[str, list[str]] = {lane.id: [] for lane in road_map.lanes}
    incoming: dict[str, list[str]] = {lane.id: [] for lane in road_map.lanes}
    for connector in road_map.connectors:
        start, end = connector.incoming, connector.outgoing
        if len(start) != 1 or len(end) != 1 or start[0] not in outgoing or end[0] not in incoming:
            raise MapError(
                f"{road_map.name}: connector {connector.id} must lead from one lane of the map to another; "
                f"it leads from {start} to {end}"
            )
        outgoing[start[0]].append(connector.id)
        incoming[end[0]].append(connector.id)
    for lane in road_map.lanes:
        if list(lane.outgoing) != outgoing[lane.id] or list(lane.incoming) != incoming[lane.id]:
            raise MapError(
                f"{road_map.name}: lane {lane.id} lists incoming connectors {lane.incoming} and outgoing ones "
                f"{lane.outgoing}; the connectors themselves say {tuple(incoming[lane.id])} and "
                f"{tuple(outgoing[lane.id])}, in this order"
            )
