"""Small road maps for tests worked by hand: streets of straight lanes 4 m wide, and frames with a
few objects on them.
"""

from collections.abc import Sequence

import numpy as np

from latentdrive.types import Command, LoggedFrame, MapArea, MapConnection, MapLane, RoadMap, TrackedObjects

WIDTH = 4.0


def rectangle(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Corners of an upright rectangle."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)


def lane(name: str, block: str, line: Sequence, outgoing: tuple = (), limit: float | None = 10.0) -> MapLane:
    """A lane around a straight line."""
    line = np.array(line, float)
    along = (line[-1] - line[0]) / np.linalg.norm(line[-1] - line[0])
    side = WIDTH / 2 * np.array([-along[1], along[0]])
    ring = np.array([line[0] - side, line[-1] - side, line[-1] + side, line[0] + side])
    return MapLane(
        id=name,
        rings=(ring,),
        roadblock=block,
        baseline=line,
        outgoing=outgoing,
        incoming=(),
        speed_limit_mps=limit,
        index=0,
        has_light=False,
    )


def joint(name: str, before: str, after: str, ring: np.ndarray) -> MapConnection:
    """A roadblock connector."""
    return MapConnection(id=name, rings=(ring,), from_roadblock=before, to_roadblock=after, intersection=None)


def road_map(lanes=(), connectors=(), roadblocks=(), joints=(), intersections=(), carparks=()) -> RoadMap:
    """A map of these parts."""
    return RoadMap(
        name="small",
        lanes=tuple(lanes),
        connectors=tuple(connectors),
        roadblocks=tuple(roadblocks),
        crosswalks=(),
        walkways=(),
        roadblock_connectors=tuple(joints),
        intersections=tuple(intersections),
        carparks=tuple(carparks),
    )


def street(blocks: int) -> dict[str, list]:
    """Roadblocks r0, r1 … eastward along y = 0, 20 m each, with connectors j0 (r0 to r1), j1 … of 10 m between them.

    Each has one lane: l0 in r0, c0 in j0. Vertices are 5 m apart. Change the parts, then pass them
    to `road_map`.
    """
    parts: dict[str, list] = {"lanes": [], "connectors": [], "roadblocks": [], "joints": []}
    for i in range(blocks):
        x = 30.0 * i
        goes_on = (f"c{i}",) if i + 1 < blocks else ()
        parts["lanes"].append(lane(f"l{i}", f"r{i}", [[x + s, 0] for s in range(0, 21, 5)], goes_on))
        parts["roadblocks"].append(MapArea(id=f"r{i}", rings=(rectangle(x, -2, x + 20, 2),)))
        if goes_on:
            parts["connectors"].append(lane(f"c{i}", f"j{i}", [[x + s, 0] for s in (20, 25, 30)], (f"l{i + 1}",)))
            parts["joints"].append(joint(f"j{i}", f"r{i}", f"r{i + 1}", rectangle(x + 20, -2, x + 30, 2)))
    return parts


def pose(x: float, y: float = 0.0, heading: float = 0.0) -> np.ndarray:
    """x, y, heading."""
    return np.array([x, y, heading], float)


def objects(*rows: tuple) -> TrackedObjects:
    """Rows of track, name, x, y, heading, vx, vy; the boxes are 4 m by 2 m."""
    numbers = np.array([row[2:] for row in rows], float).reshape(-1, 5)
    return TrackedObjects(
        poses=numbers[:, :3],
        centre_z_m=np.zeros(len(rows)),
        sizes=np.tile([4.0, 2.0, 1.5], (len(rows), 1)),
        velocity=numbers[:, 3:],
        names=tuple(row[1] for row in rows),
        tracks=tuple(row[0] for row in rows),
    )


def frame(ego: np.ndarray, *rows: tuple, lights: tuple = ()) -> LoggedFrame:
    """One frame with the ego and the `objects` of these rows."""
    return LoggedFrame(
        token="now",
        timestamp_us=0,
        ego_pose=ego,
        velocity=np.zeros(2, np.float32),
        acceleration=np.zeros(2, np.float32),
        command=Command.STRAIGHT,
        objects=objects(*rows),
        lights=lights,
    )
