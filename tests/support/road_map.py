"""Small RoadMaps made by hand: two roads and the intersection between them, in UTM metres; and how to compare two maps."""

from dataclasses import fields

import numpy as np

from latentdrive.types import MapArea, MapConnection, MapLane, RoadMap

PLACE, CRS = "us-ma-boston", "EPSG:32619"
ORIGIN = np.array([330000.0, 4690000.0])
KINDS = tuple(item.name for item in fields(RoadMap) if item.name != "name")


def ring(*points: tuple[float, float]) -> tuple[np.ndarray, ...]:
    return (np.array(points, np.float64) + ORIGIN,)


def ribbon(line: np.ndarray, half_m: float) -> tuple[np.ndarray, ...]:
    """The polygon about an eastward or northward line: left side forwards, right side back."""
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


def small_map(name: str = PLACE) -> RoadMap:
    """Lane 1 → connector 11 (with a light) → lane 2, along y = 0 from x = 0 to 50; the car park has a hole."""
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


def assert_same_map(one: RoadMap, other: RoadMap, *, atol_m: float) -> None:
    """Every object, in order, with every field; points to within atol_m."""
    assert one.name == other.name
    for kind in KINDS:
        ours, theirs = getattr(one, kind), getattr(other, kind)
        assert [item.id for item in ours] == [item.id for item in theirs], kind
        for a, b in zip(ours, theirs, strict=True):
            assert type(a) is type(b)
            for field in fields(a):
                value, found = getattr(a, field.name), getattr(b, field.name)
                if field.name in ("rings", "baseline"):
                    pairs = zip(value, found, strict=True) if field.name == "rings" else [(value, found)]
                    for points, read in pairs:
                        np.testing.assert_allclose(read, points, rtol=0, atol=atol_m, err_msg=f"{kind} {a.id}")
                else:
                    assert value == found, (kind, a.id, field.name)
