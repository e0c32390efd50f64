"""The part of the map that a scene is scored on: polygons near the ego (docs/pdms.md, section 5).

Sub-scores ask in which of these polygons a point lies.
"""

from collections.abc import Iterable

import numpy as np
import shapely
from jaxtyping import Float64, Int64

from latentdrive.boxes import ego_centre
from latentdrive.pdms.map.index import MapIndex
from latentdrive.pdms.scene import FETCH_M, LAYERS, Areas


def areas_near(index: MapIndex, ego_pose: Float64[np.ndarray, "3"], route_lane_ids: Iterable[str]) -> Areas:
    """The polygons that a scene is scored on, layer by layer in the order of LAYERS, each in the map's order.

    ego_pose: rear axle, global frame. route_lane_ids: lanes and lane connectors of the corrected
    route.
    """
    numbers = areas_fetched(index, ego_pose)
    on_route = np.array([index.number[lane] for lane in route_lane_ids], np.int64)
    return Areas(
        ids=tuple(index.ids[numbers]),
        layers=index.layers[numbers],
        on_route=np.isin(numbers, on_route),
        polygons=index.take(numbers),
    )


def areas_fetched(index: MapIndex, ego_pose: Float64[np.ndarray, "3"]) -> Int64[np.ndarray, "P"]:
    """Numbers of these polygons in the index.

    Roadblocks, intersections and car parks are included if they meet a square of half side 100 m,
    parallel to the axes, around the ego's centre. Lanes come with their roadblock, and lane
    connectors with their roadblock connector, wherever they lie themselves.
    """
    x, y, _ = ego_centre(ego_pose).tolist()
    square = shapely.box(x - FETCH_M, y - FETCH_M, x + FETCH_M, y + FETCH_M)
    met = {layer: np.sort(tree.query(square, "intersects")) for layer, tree in _fetched_trees(index).items()}
    connectors = met.pop("ROADBLOCK_CONNECTOR") + len(index.map.roadblocks)
    inside = {"LANE": index.lanes_within(met["ROADBLOCK"]), "LANE_CONNECTOR": index.lanes_within(connectors)}
    whole = {layer: numbers + index.first[layer] for layer, numbers in met.items()}
    return np.concatenate([(inside | whole)[layer] for layer in LAYERS])


def _fetched_trees(index: MapIndex) -> dict[str, shapely.STRtree]:
    return {name: index.trees[name] for name in ("ROADBLOCK", "ROADBLOCK_CONNECTOR", "INTERSECTION", "CARPARK_AREA")}
