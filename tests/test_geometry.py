"""SE(2) by hand-worked numbers and invariants."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from latentdrive.errors import WrongShape
from latentdrive.geometry import (
    backward_speed,
    compose,
    interpolate_poses,
    inverse,
    planar_poses,
    relative_pose,
    wrap_angle,
)

POSES = arrays(np.float64, (5, 3), elements=st.floats(-100.0, 100.0))


def test_b_ahead_of_a_that_looks_north_is_forward_of_it():
    a = np.array([1.0, 2.0, math.pi / 2])
    b = np.array([1.0, 5.0, math.pi])
    np.testing.assert_allclose(relative_pose(a, b), [3.0, 0.0, math.pi / 2], atol=1e-12)


def test_a_point_west_of_a_car_that_looks_north_is_on_its_left():
    seen = relative_pose(np.array([0.0, 0.0, math.pi / 2]), np.array([-2.0, 0.0, math.pi / 2]))
    np.testing.assert_allclose(seen, [0.0, 2.0, 0.0], atol=1e-12)


def test_composing_a_left_turn_twice_faces_back():
    quarter = np.array([1.0, 1.0, math.pi / 2])
    np.testing.assert_allclose(compose(quarter, quarter), [0.0, 2.0, math.pi], atol=1e-12)


@pytest.mark.parametrize(
    ("angle", "wrapped"), [(math.pi, math.pi), (-math.pi, math.pi), (3.5 * math.pi, -0.5 * math.pi), (0.1, 0.1)]
)
def test_angles_wrap_into_the_half_open_circle(angle: float, wrapped: float):
    assert wrap_angle(np.array(angle)) == pytest.approx(wrapped, abs=1e-9)
    assert wrap_angle(torch.tensor(angle, dtype=torch.float64)).item() == pytest.approx(wrapped, abs=1e-9)


@given(POSES, POSES)
def test_relative_pose_undoes_compose(a: np.ndarray, b: np.ndarray):
    back = relative_pose(a, compose(a, b))
    np.testing.assert_allclose(back[:, :2], b[:, :2], atol=1e-9)
    np.testing.assert_allclose(np.cos(back[:, 2] - b[:, 2]), 1.0, atol=1e-9)


@given(POSES)
def test_a_pose_and_its_inverse_cancel(a: np.ndarray):
    nothing = compose(a, inverse(a))
    np.testing.assert_allclose(nothing[:, :2], 0.0, atol=1e-9)
    np.testing.assert_allclose(np.cos(nothing[:, 2]), 1.0, atol=1e-9)


@given(POSES, POSES, POSES)
def test_compose_is_associative(a: np.ndarray, b: np.ndarray, c: np.ndarray):
    left, right = compose(compose(a, b), c), compose(a, compose(b, c))
    np.testing.assert_allclose(left[:, :2], right[:, :2], atol=1e-8)


@given(POSES, POSES)
def test_torch_and_numpy_agree(a: np.ndarray, b: np.ndarray):
    ours = relative_pose(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(ours[:, :2], relative_pose(a, b)[:, :2], atol=1e-9)


def test_headings_are_interpolated_across_the_seam():
    poses = np.array([[0.0, 0.0, math.pi - 0.1], [2.0, 0.0, -math.pi + 0.1]])
    middle = interpolate_poses(np.array([0.0, 1.0]), poses, np.array([0.5]))
    assert middle[0, 0] == pytest.approx(1.0)
    assert abs(middle[0, 2]) == pytest.approx(math.pi)


def test_times_outside_take_the_nearest_pose():
    poses = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.2]])
    np.testing.assert_allclose(interpolate_poses(np.array([0.0, 1.0]), poses, np.array([-1.0, 9.0])), poses)


def test_poses_and_times_must_pair():
    with pytest.raises(WrongShape, match="2 times for 1 pose"):
        interpolate_poses(np.array([0.0, 1.0]), np.zeros((1, 3)), np.array([0.5]))


def test_two_metres_in_a_fifth_of_a_second_are_10_mps():
    poses = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    np.testing.assert_allclose(backward_speed(np.array([0.0, 0.2, 0.4]), poses), [10.0, 10.0, 5.0])


def test_speed_on_a_circle_is_the_chord_and_not_less():
    angle = np.arange(5) * 0.2
    poses = np.stack([10 * np.sin(angle), 10 * (1 - np.cos(angle)), angle], -1)
    np.testing.assert_allclose(backward_speed(np.arange(5) * 0.1, poses), 2 * 10 * math.sin(0.1) / 0.1)


def test_a_camera_that_moves_forward_and_turns_left_has_positive_x_and_heading():
    angle = 0.1  # about the camera's y axis, which points down: a left turn is negative there
    matrix = np.array([[math.cos(angle), 0, -math.sin(angle)], [0, 1, 0], [math.sin(angle), 0, math.cos(angle)]])
    camera = np.concatenate([matrix, np.array([[-0.5], [0.0], [7.0]])], axis=1)[None]
    np.testing.assert_allclose(planar_poses(camera), [[7.0, 0.5, 0.1]], atol=1e-12)
