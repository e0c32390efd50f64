"""A small RoadMap made by hand (two roads and an intersection, in UTM metres), and checks of maps."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import shapely

from latentdrive.types import MapArea, MapConnection, MapLane, RoadMap
from latentdrive.world.roads.map_checks import KINDS

PLACE, CRS = "us-ma-boston", "EPSG:32619"
ORIGIN = np.array([330000.0, 4690000.0])


def ring(*points: tuple[float, float]) -> tuple[np.ndarray, ...]:
    """The rings of an area without holes. points: metres about ORIGIN."""
    return (np.array(points, np.float64) + ORIGIN,)


def ribbon(line: np.ndarray, half_m: float) -> tuple[np.ndarray, ...]:
    """The polygon about a straight line: its left side forwards, its right side backwards."""
    step = line[-1] - line[0]
    left = half_m * np.array([-step[1], step[0]]) / np.hypot(*step)
    return (np.concatenate([line + left, (line - left)[::-1]]),)


def lane(id_: int, block: int, points: list, *, index: int | None = 0, **ends) -> MapLane:
    """A ribbon 4 m wide about a straight line."""
    baseline = np.array(points, np.float64) + ORIGIN
    values = {"outgoing": (), "incoming": (), "speed_limit_mps": None, "has_light": False, **ends}
    return MapLane(
        id=str(id_), roadblock=str(block), baseline=baseline, rings=ribbon(baseline, 2.0), index=index, **values
    )


def empty_map(name: str) -> RoadMap:
    """A map without any object."""
    return RoadMap(
        name=name,
        lanes=(),
        connectors=(),
        roadblocks=(),
        roadblock_connectors=(),
        intersections=(),
        carparks=(),
        crosswalks=(),
        walkways=(),
    )


def small_map(name: str = PLACE) -> RoadMap:
    """Lane 1 → connector 11 (with a light) → lane 2 along y = 0 from x = 0 to 50, and a car park with a hole."""
    square = ((20, -2), (30, -2), (30, 2), (20, 2))
    hole = ring((5, 8), (5, 12), (9, 12), (9, 8))
    return RoadMap(
        name=name,
        lanes=(
            lane(1, 21, [(0, 0), (10, 0), (20, 0)], outgoing=("11",), speed_limit_mps=13.5),
            lane(2, 22, [(30, 0), (50, 0)], incoming=("11",)),
        ),
        connectors=(lane(11, 31, [(20, 0), (30, 0)], index=None, incoming=("1",), outgoing=("2",), has_light=True),),
        roadblocks=(
            MapArea(id="21", rings=ring((0, -2), (20, -2), (20, 2), (0, 2))),
            MapArea(id="22", rings=ring((30, -2), (50, -2), (50, 2), (30, 2))),
        ),
        roadblock_connectors=(
            MapConnection(id="31", rings=ring(*square), from_roadblock="21", to_roadblock="22", intersection="41"),
        ),
        intersections=(MapArea(id="41", rings=ring(*square)),),
        carparks=(MapArea(id="51", rings=(*ring((0, 5), (20, 5), (20, 15), (0, 15)), *hole)),),
        crosswalks=(MapArea(id="61", rings=ring((18, -2), (20, -2), (20, 2))),),
        walkways=(),
    )


def union(areas: Sequence[MapArea]) -> shapely.Geometry:
    """The union of areas, without their holes."""
    return shapely.union_all([shapely.Polygon(area.rings[0]) for area in areas])


def assert_same_map(expected: RoadMap, actual: RoadMap, *, atol_m: float) -> None:
    """Assert that two maps agree in all objects, their order and their fields, and in points within atol_m."""
    assert expected.name == actual.name
    for kind in KINDS:
        pairs = getattr(expected, kind), getattr(actual, kind)
        assert [item.id for item in pairs[0]] == [item.id for item in pairs[1]], kind
        for a, b in zip(*pairs, strict=True):
            assert type(a) is type(b)
            for field in fields(a):
                values = getattr(a, field.name), getattr(b, field.name)
                if field.name in ("rings", "baseline"):
                    lines = zip(*values, strict=True) if field.name == "rings" else [values]
                    for points, read in lines:
                        np.testing.assert_allclose(read, points, rtol=0, atol=atol_m, err_msg=f"{kind} {a.id}")
                else:
                    assert values[0] == values[1], (kind, a.id, field.name)
