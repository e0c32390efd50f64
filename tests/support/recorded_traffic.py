"""Recorded traffic on an empty map, made by hand."""

import numpy as np

from latentdrive.types import (
    Command,
    LoggedFrame,
    SceneTruth,
    TrackedObjects,
    Trajectory,
)
from tests.support.road_map import empty_map

NOWHERE = empty_map("nowhere")


def objects(*rows: tuple) -> TrackedObjects:
    """Rows of track, name, x, y, heading, vx, vy; the boxes are 4 m by 2 m."""
    numbers = np.array([row[2:] for row in rows], np.float64).reshape(-1, 5)
    return TrackedObjects(
        poses=numbers[:, :3],
        centre_z_m=np.zeros(len(rows)),
        sizes=np.tile([4.0, 2.0, 1.5], (len(rows), 1)),
        velocity=numbers[:, 3:],
        names=tuple(row[1] for row in rows),
        tracks=tuple(row[0] for row in rows),
    )


def truth(
    *future: TrackedObjects, lights: dict[int, tuple] | None = None, route: tuple = (), road_map=NOWHERE
) -> SceneTruth:
    """A standing ego at the origin. `future` holds the objects from now on; later frames, up to 10
    after now, are empty.
    """
    observed = [*future, *[objects()] * (11 - len(future))]
    frames = tuple(
        LoggedFrame(
            token=f"frame{i}",
            timestamp_us=500_000 * i,
            ego_pose=np.zeros(3),
            velocity=np.zeros(2, np.float32),
            acceleration=np.zeros(2, np.float32),
            command=Command.STRAIGHT,
            objects=objects() if i < 3 else observed[i - 3],
            lights=(lights or {}).get(i - 3, ()),
        )
        for i in range(14)
    )
    return SceneTruth(
        token="scene",
        drive="drive",
        frames=frames,
        now=3,
        route=route,
        map=road_map,
        human=Trajectory(poses=np.zeros((10, 3)), dt_s=0.5),
        synthetic=False,
    )
