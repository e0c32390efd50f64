"""What the ego can't know blind: a bend ahead, and somebody where it would be."""

import numpy as np
from scene_statistics import bends, hits, in_the_way

from latentdrive import nuplan_vehicle as car
from latentdrive.types import Command, LoggedFrame, RoadMap, SceneTruth, TrackedObjects, Trajectory

SPEED = 8.0  # m/s
SIZE = np.array([4.5, 1.9, 1.6])


def truth(
    *, curvature_now: float = 0.0, curvature_ahead: float = 0.0, car_at: float | None = None, slows: float = 0.0
) -> SceneTruth:
    """A scene with four frames of history, the present one, and ten of the future.

    slows: the human loses this many m/s every frame. car_at: metres from the present ego to a standing car ahead.
    """
    pose, poses = np.zeros(3), []
    for frame in range(14):
        poses.append(pose.copy())
        speed = max(SPEED - slows * max(frame - 3, 0), 0.0)
        pose[2] += 0.5 * speed * (curvature_now if frame < 3 else curvature_ahead)
        pose[:2] += 0.5 * speed * np.array([np.cos(pose[2]), np.sin(pose[2])])
    now = poses[3]
    standing = [] if car_at is None else [[now[0] + car_at * np.cos(now[2]), now[1] + car_at * np.sin(now[2]), now[2]]]
    count = len(standing)
    there = TrackedObjects(
        poses=np.array(standing, np.float64).reshape(-1, 3),
        centre_z_m=np.zeros(count),
        sizes=np.tile(SIZE, (count, 1)),
        velocity=np.zeros((count, 2)),
        names=("vehicle",) * count,
        tracks=tuple(map(str, range(count))),
    )
    frames = [
        LoggedFrame(
            token=str(number),
            timestamp_us=500_000 * number,
            ego_pose=pose,
            velocity=np.array([SPEED, 0.0], np.float32),
            acceleration=np.zeros(2, np.float32),
            command=Command.STRAIGHT,
            objects=there,
            lights=(),
        )
        for number, pose in enumerate(poses)
    ]
    nothing = Trajectory(poses=np.zeros((8, 3), np.float32), dt_s=0.5)
    return SceneTruth(
        token="t",
        drive="d",
        frames=tuple(frames),
        now=3,
        route=(),
        map=RoadMap.__new__(RoadMap),
        human=nothing,
        synthetic=False,
    )


def test_only_a_road_that_bends_otherwise_than_the_ego_does_is_news():
    assert not bends(truth())
    assert bends(truth(curvature_ahead=0.02))
    assert not bends(truth(curvature_now=0.02, curvature_ahead=0.02))
    assert not bends(truth(slows=0.8))  # how far it drives is no bend


def test_somebody_counts_where_the_ego_would_reach_him_at_its_present_speed():
    assert not in_the_way(truth(slows=0.8))
    assert in_the_way(truth(slows=0.8, car_at=24.0))
    assert not in_the_way(truth(slows=0.8, car_at=60.0))  # 32 m in 4 s
    assert not in_the_way(truth(slows=0.8, car_at=-10.0))  # behind


def test_boxes_hit_where_they_overlap():
    ego = np.zeros(3)
    front = car.REAR_TO_CENTRE_M + (car.LENGTH_M + SIZE[0]) / 2
    assert hits(ego, np.array([front - 0.1, 0.0, 0.0]), SIZE) and not hits(ego, np.array([front + 0.1, 0.0, 0.0]), SIZE)
