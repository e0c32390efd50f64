"""The spinning LiDAR, against distances worked out by hand."""

import numpy as np
import pytest

from latentdrive.world.rendering.lidar import LidarSpec, scan

SPEC = LidarSpec(forward_m=1.0, up_m=2.0, rings=3, low_deg=-45.0, high_deg=45.0, columns=360, reach_m=50.0, noise_m=0.0)
ORIGIN = np.zeros(3)


def scanned(boxes, spec: LidarSpec = SPEC, ego=ORIGIN) -> np.ndarray:
    return scan(np.random.default_rng(0), spec, np.asarray(ego, float), np.asarray(boxes, float).reshape(-1, 7))


def test_an_empty_plane_returns_a_circle_of_ground():
    points = scanned([])
    assert (
        points.shape == (6, 360) and points.dtype == np.float32
    )  # the ring at -45 degrees returns from 2 m; the others never
    np.testing.assert_allclose(np.hypot(points[0] - 1.0, points[1]), 2.0, rtol=1e-6)
    np.testing.assert_allclose(points[2], 0.0, atol=1e-6)
    assert set(points[4]) == {0.0} and set(points[5]) == {0.0}


def test_a_wall_ahead_returns_from_its_near_side():
    points = scanned([[11.0, 0.0, 0.0, 0.0, 2.0, 4.0, 10.0]])  # its near side is at x = 10, 9 m ahead of the sensor
    ahead = points[:, (np.abs(points[1]) < 1e-3) & (points[0] > 0) & (points[4] == 1)]
    assert ahead[0] == pytest.approx([10.0], abs=1e-5) and ahead[2] == pytest.approx([2.0], abs=1e-5)
    level = points[:, points[4] == 1]
    np.testing.assert_allclose(level[0], 10.0, atol=1e-4)
    assert np.abs(level[1]).max() <= 2.0 and np.abs(level[1]).max() > 1.8


def test_a_low_box_returns_from_its_top_and_level_rays_pass_over_it():
    # The ray that falls at 45 degrees is at a height of 1 m when it is 1 m ahead of the sensor.
    points = scanned([[2.5, 0.0, 0.0, 0.0, 2.0, 1.0, 1.0]])
    top = points[:, np.abs(points[2] - 1.0) < 1e-5]
    assert len(top.T) and (points[4] == 1).sum() == 0
    assert top[:, np.argmin(np.abs(top[1]))][0] == pytest.approx(2.0, abs=1e-4)


def test_a_box_behind_another_is_hidden_and_a_box_to_the_left_returns_from_the_left():
    near, far = [6.0, 0.0, 0.0, 0.0, 1.0, 2.0, 5.0], [12.0, 0.0, 0.0, 0.0, 1.0, 2.0, 5.0]
    np.testing.assert_array_equal(scanned([near]), scanned([near, far]))
    left = scanned([[1.0, 8.0, 0.0, 0.0, 2.0, 2.0, 5.0]])
    assert left[1, left[4] == 1] == pytest.approx(7.0, abs=1e-4)


def test_a_long_vehicle_beside_the_car_returns_and_a_box_around_the_sensor_does_not():
    bus = [1.0, 3.5, 0.0, 0.0, 12.0, 2.5, 3.0]  # its near side is at y = 2.25; the sensor is within 6 m of its centre
    level = scanned([bus])
    beside = level[:, level[4] == 1]
    assert beside.shape[1] > 60 and beside[1].min() == pytest.approx(2.25, abs=1e-4)
    np.testing.assert_array_equal(scanned([[1.0, 0.0, 0.3, 0.0, 5.0, 2.0, 9.0]]), scanned([]))


def test_points_are_given_in_the_ego_frame_whatever_its_pose():
    box = np.array([[11.0, 3.0, 0.4, 0.0, 2.0, 4.0, 10.0]])
    turn, cos, sin = 0.7, np.cos(0.7), np.sin(0.7)
    moved = box.copy()
    moved[0, :3] = 5 + cos * 11 - sin * 3, -2 + sin * 11 + cos * 3, 0.4 + turn
    np.testing.assert_allclose(scanned(moved, ego=[5, -2, turn]), scanned(box), atol=1e-4)


def test_an_absent_box_returns_nothing():
    np.testing.assert_array_equal(scanned([[np.nan] * 3 + [0.0, 4.0, 2.0, 1.5]]), scanned([]))
