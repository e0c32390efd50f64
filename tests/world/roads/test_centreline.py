"""Centrelines: bending a road keeps lengths, sides and directions of travel."""

import numpy as np

from latentdrive.world.roads.centreline import STEP_M, Centreline, random_curvature


def circle(radius_m: float, length_m: float) -> Centreline:
    """An arc to the left."""
    return Centreline.from_curvature(np.full(round(length_m / STEP_M) + 1, 1 / radius_m))


def test_a_quarter_of_a_left_circle_of_50_m_ends_50_m_ahead_and_50_m_left():
    line = circle(50.0, 100.0)
    end = line.place(np.array([[50 * np.pi / 2, 0.0, 0.0]]))[0]
    np.testing.assert_allclose(end, [50.0, 50.0, np.pi / 2], atol=0.02)


def test_positive_offsets_lie_to_the_left():
    line = circle(50.0, 100.0)
    np.testing.assert_allclose(line.place(np.array([[0.0, 3.0, 0.0]]))[0], [0.0, 3.0, 0.0], atol=1e-9)
    inside = line.place(np.array([[50 * np.pi / 2, 3.0, 0.0]]))[0]
    np.testing.assert_allclose(inside[:2], [47.0, 50.0], atol=0.02)


def test_motion_along_the_heading_stays_so_when_the_road_is_bent():
    line = circle(30.0, 60.0)
    turn, start = 0.2, np.array([10.0, -2.0])
    start_pose, end_pose = (
        line.place(np.array([[*(start + step * np.array([np.cos(turn), np.sin(turn)])), turn]]))[0]
        for step in (0.0, 1e-3)
    )
    direction = np.arctan2(end_pose[1] - start_pose[1], end_pose[0] - start_pose[0])
    # The heading is sampled: it may be off by what the curve turns within half a step.
    np.testing.assert_allclose(direction, start_pose[2], atol=STEP_M / 2 / 30.0)


def test_a_road_continues_straight_beyond_its_end():
    line = circle(50.0, 20.0)
    last, beyond = line.place(np.array([[20.0, 0.0, 0.0], [30.0, 0.0, 0.0]]))
    np.testing.assert_allclose(beyond[2], last[2])
    np.testing.assert_allclose(np.hypot(*(beyond[:2] - last[:2])), 10.0, atol=1e-6)


def test_random_roads_bend_both_ways_and_respect_the_smallest_radius():
    rng = np.random.default_rng(0)
    curvature = random_curvature(
        rng, length_m=2000.0, radius_m=(20.0, 150.0), bend_m=(15.0, 70.0), straight_m=(5.0, 40.0), ramp_m=10.0
    )
    assert curvature.max() > 1 / 60 and curvature.min() < -1 / 60
    assert np.abs(curvature).max() <= 1 / 20 + 1e-9
    assert np.abs(Centreline.from_curvature(curvature).heading).max() < np.pi


def test_drivers_slow_down_before_a_bend_in_either_direction():
    curvature = np.zeros(401)
    curvature[200:220] = 1 / 20
    limit = Centreline.from_curvature(curvature).speed_limit(
        lateral_mps2=2.0, yaw_rate=1.0, braking_mps2=2.0, step_m=2.0
    )
    np.testing.assert_allclose(limit.at(104.0, forward=True), np.sqrt(2.0 * 20.0))
    assert np.sqrt(40.0) < limit.at(90.0, forward=True) < limit.at(70.0, forward=True)
    assert np.sqrt(40.0) < limit.at(118.0, forward=False) < limit.at(140.0, forward=False)


def test_a_curve_through_points_passes_them():
    turn = np.linspace(0, np.pi / 2, 60)
    points = 40.0 * np.stack([np.sin(turn), 1 - np.cos(turn)], -1)
    line = Centreline.through(points, smooth_m=4.0)
    assert abs(line.length_m - 40 * np.pi / 2) < 1.0
    middle = line.place(np.array([[20 * np.pi / 2, 0.0, 0.0]]))[0]
    np.testing.assert_allclose(middle, [40 * np.sin(np.pi / 4), 40 * (1 - np.cos(np.pi / 4)), np.pi / 4], atol=0.3)
