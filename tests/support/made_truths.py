"""Truths of scenes made by hand, ready to be prepared.

There is a street with traffic, and a highway that leaves the fetch square. Both can be moved as a
whole.
"""

from dataclasses import replace

import numpy as np

from latentdrive.geometry import compose, relative_pose, wrap_angle
from latentdrive.types import (
    Command,
    LoggedFrame,
    MapArea,
    MapConnection,
    MapLane,
    RoadMap,
    SceneTruth,
    TrackedObjects,
    Trajectory,
)
from tests.support.small_maps import joint, lane, rectangle, road_map, street

NOW, FRAMES = 3, 14
EPOCH_US = 1_628_000_000_123_457


def others_at(seconds: float, rows: tuple[tuple, ...]) -> TrackedObjects:
    """Rows of track, name, x, y, heading, vx, vy as they are now, so many seconds later."""
    numbers = np.array([row[2:] for row in rows], float).reshape(-1, 5)
    poses = numbers[:, :3].copy()
    poses[:, :2] += seconds * numbers[:, 3:]
    return TrackedObjects(
        poses=poses,
        centre_z_m=np.zeros(len(rows)),
        sizes=np.tile([4.2, 1.9, 1.5], (len(rows), 1)),
        velocity=numbers[:, 3:],
        names=tuple(row[1] for row in rows),
        tracks=tuple(row[0] for row in rows),
    )


def made_truth(
    place: RoadMap,
    route: tuple[str, ...],
    *others: tuple,
    ego: tuple[float, float, float] = (5.0, 0.1, 0.01),
    speed: float = 8.0,
    red: tuple[tuple[int, str], ...] = (),
    token: str = "made",
) -> SceneTruth:
    """A car that goes straight on at constant speed, and others that do the same.

    red: pairs of a frame, counted from now, and a connector that is red in it.
    """
    ego = np.array(ego)
    along = np.array([np.cos(ego[2]), np.sin(ego[2]), 0.0]) * speed
    frames = tuple(
        LoggedFrame(
            token=f"{token}{number}",
            timestamp_us=EPOCH_US + 500_000 * (number - NOW),
            ego_pose=ego + along * 0.5 * (number - NOW),
            velocity=np.array([speed, 0.0], np.float32),
            acceleration=np.zeros(2, np.float32),
            command=Command.STRAIGHT,
            objects=others_at(0.5 * (number - NOW), others),
            lights=tuple((connector, True) for frame, connector in red if frame == number - NOW),
        )
        for number in range(FRAMES)
    )
    return SceneTruth(
        token=token,
        drive="drive",
        frames=frames,
        now=NOW,
        route=route,
        map=place,
        human=human_of(frames),
        synthetic=False,
    )


def human_of(frames: tuple[LoggedFrame, ...]) -> Trajectory:
    """The car's poses after now."""
    now = frames[NOW].ego_pose
    poses = [relative_pose(now, frame.ego_pose) for frame in frames[NOW + 1 :]]
    return Trajectory(poses=np.stack(poses), dt_s=0.5)


STREET_ROUTE = ("r0", "j0", "r1", "j1", "r2")
TRAFFIC = (
    ("lead", "vehicle", 27.0, 0.4, 0.02, 6.0, 0.0),
    ("parked", "vehicle", 44.0, 2.6, 0.3, 0.0, 0.0),
    ("walker", "pedestrian", 35.0, -9.0, 1.5, 0.0, 1.4),
    ("cone", "traffic_cone", 33.0, -3.2, 0.0, 0.0, 0.0),
    ("behind", "vehicle", -5.5, -0.3, 0.0, 7.0, 0.0),
)


def street_truth(*others: tuple, **changed) -> SceneTruth:
    """A street of 80 m with two crossings, all of it within 100 m of the car; TRAFFIC on it, and `others`."""
    parts = street(3)
    parts["intersections"] = [
        MapArea(id=f"i{k}", rings=(rectangle(20 + 30 * k, -4, 30 + 30 * k, 4),)) for k in range(2)
    ]
    parts["carparks"] = [MapArea(id="p0", rings=(rectangle(2, 2, 18, 9),))]
    place = changed.pop("place", road_map(**parts))
    route = changed.pop("route", STREET_ROUTE)
    return made_truth(place, route, *TRAFFIC, *others, red=tuple((frame, "c1") for frame in (6, 7, 8)), **changed)


def highway_truth() -> SceneTruth:
    """A straight road of 200 m; the car is at x = 0 and drives at 30 m/s.

    From x = 103 on, the road lies outside the square of 100 m around the car.
    """
    before = [lane("a", "r0", [[x, 0] for x in (-20, 0, 20, 40, 60, 80, 103)], ("b",), 30.0)]
    after = [lane("c", "r1", [[x, 0] for x in (113, 130, 150, 180)], (), 30.0)]
    place = road_map(
        lanes=before + after,
        connectors=[lane("b", "j0", [[103, 0], [113, 0]], ("c",), 30.0)],
        roadblocks=[
            MapArea(id="r0", rings=(rectangle(-20, -2, 103, 2),)),
            MapArea(id="r1", rings=(rectangle(113, -2, 180, 2),)),
        ],
        joints=[joint("j0", "r0", "r1", rectangle(103, -2, 113, 2))],
        intersections=[MapArea(id="i0", rings=(rectangle(102.5, -2, 113.5, 2),))],
    )
    return made_truth(place, ("r0", "j0", "r1"), ego=(0.0, 0.0, 0.0), speed=30.0)


def moved_truth(truth: SceneTruth, by: np.ndarray) -> SceneTruth:
    """The whole scene, map and all, turned by by[2] about the origin, then shifted by by[:2]."""
    turn = np.append(np.zeros(2), by[2])

    def points(xy: np.ndarray, by: np.ndarray = by) -> np.ndarray:
        return compose(by, np.concatenate([xy, np.zeros((*xy.shape[:-1], 1))], -1))[..., :2]

    def area(item: MapArea | MapLane | MapConnection) -> MapArea:
        moved = replace(item, rings=tuple(points(ring) for ring in item.rings))
        return replace(moved, baseline=points(item.baseline)) if isinstance(item, MapLane) else moved

    kinds = ("lanes", "connectors", "roadblocks", "roadblock_connectors", "intersections", "carparks")
    place = replace(truth.map, **{kind: tuple(area(item) for item in getattr(truth.map, kind)) for kind in kinds})
    frames = tuple(
        replace(
            frame,
            ego_pose=compose(by, frame.ego_pose),
            objects=replace(
                frame.objects, poses=compose(by, frame.objects.poses), velocity=points(frame.objects.velocity, turn)
            ),
        )
        for frame in truth.frames
    )
    return replace(truth, map=place, frames=frames)


def plans(seed: int, count: int) -> np.ndarray:
    """Random plans of 8 poses, 0.5 s apart. Some bend or swerve, and a few back up or stand."""
    rng = np.random.default_rng(seed)
    times = 0.5 * np.arange(1, 9)
    speed, gain = rng.uniform(-1, 14, (count, 1)), rng.uniform(-2, 1, (count, 1))
    way = speed * times + 0.5 * gain * times**2
    bend = rng.normal(size=(count, 1)) * 0.01
    left = rng.normal(size=(count, 1)) * 0.6 * np.minimum(times, 2.0) + bend * way**2 / 2
    return np.stack([way, left, wrap_angle(bend * way + rng.normal(size=way.shape) * 0.02)], -1)
