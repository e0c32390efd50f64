"""The rows of every layer of a nuPlan map file, built from a RoadMap. map_writer.py stores them.

Layers appear in the order in which they are written; the order is part of the bytes of a file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import shapely

from latentdrive.data.maps import map_layers as layers
from latentdrive.data.maps.map_layers import LAYERS
from latentdrive.types import FROZEN, MapArea, MapLane, RoadMap
from latentdrive.world.roads.map_edges import lane_edges, stop_polygon

TRAFFIC_LIGHT_STOP = 2  # nuPlan's type of the stop polygons at traffic lights
LIGHT_INTERSECTION, PLAIN_INTERSECTION = 1, 0  # nuPlan's types of intersections with and without traffic lights


@dataclass(**FROZEN)
class Rows:
    """The rows of a layer.

    ids: in ascending order. shapes: in the metric coordinates of the place. columns: values by
    column, None for no value.
    """

    ids: Sequence[int]
    shapes: Sequence[shapely.Geometry]
    columns: Mapping[str, Sequence] = field(default_factory=dict)


def map_tables(road_map: RoadMap) -> dict[str, Rows]:
    """Return the rows of every layer that has geometry, by name."""
    lit = [connector for connector in road_map.connectors if connector.has_light]
    # Each lane or connector has two boundaries of its own, numbered left, right, left, ...
    count, first_connector = len(road_map.lanes) + len(road_map.connectors), len(road_map.lanes)
    left = [2 * number + 1 for number in range(count)]
    right = [number + 1 for number in left]
    return {
        layers.LANES: _lane_rows(road_map.lanes, left[:first_connector], right[:first_connector]),
        layers.CONNECTORS: _connector_rows(road_map.connectors, lit),
        layers.CONNECTOR_POLYGONS: _area_rows(
            road_map.connectors,
            **{
                layers.CONNECTOR: _ids(road_map.connectors),
                layers.LEFT_BOUNDARY: left[first_connector:],
                layers.RIGHT_BOUNDARY: right[first_connector:],
            },
        ),
        **_roadblock_tables(road_map, lit),
        layers.CARPARKS: _area_rows(road_map.carparks),
        layers.BASELINES: _baseline_rows(road_map),
        layers.CROSSWALKS: _area_rows(road_map.crosswalks),
        layers.WALKWAYS: _area_rows(road_map.walkways),
        **_derived_tables(road_map, lit),
    }


def placeholder(layer: str, id_: int) -> Rows:
    """Return one row with all columns of a layer and an empty geometry, which touches nothing.

    No row has 0 for its id, so the zeros in its columns refer to nothing.
    """
    spec = LAYERS[layer]
    columns = (*spec.columns, *spec.devkit)
    values = {
        name: [None if name in layers.REAL_COLUMNS else "" if name in layers.TEXT_COLUMNS else 0] for name in columns
    }
    return Rows(ids=[id_], shapes=[shapely.from_wkt(f"{spec.geometry.upper()} EMPTY")], columns=values)


def _lane_rows(lanes: Sequence[MapLane], left: Sequence[int], right: Sequence[int]) -> Rows:
    """The layer of lanes. left, right: ids of their boundaries."""
    return _area_rows(
        lanes,
        **{
            layers.LANE: _ids(lanes),
            layers.ROADBLOCK: [int(lane.roadblock) for lane in lanes],
            layers.SPEED_LIMIT: [lane.speed_limit_mps for lane in lanes],
            layers.LANE_INDEX: [lane.index for lane in lanes],
            layers.LEFT_BOUNDARY: left,
            layers.RIGHT_BOUNDARY: right,
        },
    )


def _connector_rows(connectors: Sequence[MapLane], lit: Sequence[MapLane]) -> Rows:
    """The layer of lane connectors. lit: those with a traffic light, which have stop polygons 1, 2,
    ... in this order.
    """
    stops = {connector.id: number for number, connector in enumerate(lit, 1)}
    return Rows(
        ids=_ids(connectors),
        shapes=[shapely.LineString(connector.baseline) for connector in connectors],
        columns={
            layers.EXIT_LANE: [int(connector.incoming[0]) for connector in connectors],
            layers.ENTRY_LANE: [int(connector.outgoing[0]) for connector in connectors],
            layers.ROADBLOCK_CONNECTOR: [int(connector.roadblock) for connector in connectors],
            layers.SPEED_LIMIT: [connector.speed_limit_mps for connector in connectors],
            layers.STOP_LINES: [str(stops.get(connector.id, "")) for connector in connectors],
        },
    )


def _roadblock_tables(road_map: RoadMap, lit: Sequence[MapLane]) -> dict[str, Rows]:
    """Roadblocks, roadblock connectors and intersections. lit: the connectors with a traffic light."""
    joints = road_map.roadblock_connectors
    lit_blocks = {connector.roadblock for connector in lit}
    lit_intersections = {joint.intersection for joint in joints if joint.id in lit_blocks}
    types = [
        LIGHT_INTERSECTION if area.id in lit_intersections else PLAIN_INTERSECTION for area in road_map.intersections
    ]
    return {
        layers.ROADBLOCKS: _area_rows(road_map.roadblocks),
        layers.ROADBLOCK_CONNECTORS: _area_rows(
            joints,
            **{
                layers.FROM_ROADBLOCK: [int(joint.from_roadblock) for joint in joints],
                layers.TO_ROADBLOCK: [int(joint.to_roadblock) for joint in joints],
                layers.INTERSECTION: [
                    None if joint.intersection is None else int(joint.intersection) for joint in joints
                ],
            },
        ),
        layers.INTERSECTIONS: _area_rows(road_map.intersections, **{layers.INTERSECTION_TYPE: types}),
    }


def _baseline_rows(road_map: RoadMap) -> Rows:
    """Centre lines; each belongs to a lane or to a connector, and the other column has no value."""
    lanes, connectors = road_map.lanes, road_map.connectors
    driven = (*lanes, *connectors)
    return Rows(
        ids=range(1, len(driven) + 1),
        shapes=[shapely.LineString(lane.baseline) for lane in driven],
        columns={
            layers.LANE: _ids(lanes) + [None] * len(connectors),
            layers.CONNECTOR: [None] * len(lanes) + _ids(connectors),
        },
    )


def _derived_tables(road_map: RoadMap, lit: Sequence[MapLane]) -> dict[str, Rows]:
    """Layers that the devkit reads and that follow from the others, with ids of their own."""
    edges = [edge for lane in (*road_map.lanes, *road_map.connectors) for edge in lane_edges(lane)]
    return {
        layers.BOUNDARIES: Rows(ids=range(1, len(edges) + 1), shapes=[shapely.LineString(edge) for edge in edges]),
        layers.STOP_POLYGONS: Rows(
            ids=range(1, len(lit) + 1),
            shapes=[shapely.Polygon(stop_polygon(connector)) for connector in lit],
            columns={layers.STOP_TYPE: [TRAFFIC_LIGHT_STOP] * len(lit)},
        ),
        layers.ROAD_SEGMENTS: _renumbered(road_map.roadblocks),
        layers.DRIVABLE_AREAS: _renumbered((*road_map.roadblocks, *road_map.intersections)),
    }


def _ids(items: Sequence[MapArea]) -> list[int]:
    return [int(item.id) for item in items]


def _area_rows(items: Sequence[MapArea], **columns: Sequence) -> Rows:
    shapes = [shapely.Polygon(item.rings[0], item.rings[1:]) for item in items]
    return Rows(ids=_ids(items), shapes=shapes, columns=columns)


def _renumbered(items: Sequence[MapArea]) -> Rows:
    """Only the polygons, with ids from 1 on."""
    return Rows(ids=range(1, len(items) + 1), shapes=_area_rows(items).shapes)
