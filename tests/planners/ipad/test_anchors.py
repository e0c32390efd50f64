"""iPad's anchors by hand: corners of the ego's box, and their places in pictures and on the grid of queries."""

import numpy as np
import pytest
import torch

from latentdrive.planners.ipad.anchors import box_points, heights_between, on_grid, project
from tests.support.ipad_made import HEIGHT, WIDTH, camera_to_ego, pinhole

FRONT_M, REAR_M, SIDE_M = 1.461 + 2.588 + 0.25, 1.461 - 2.588 - 0.25, 1.1485 + 0.1


def test_heights_lie_half_a_metre_inside_the_bounds():
    assert heights_between(-2.0, 6.0, 4).tolist() == pytest.approx([-1.5, 0.8333333, 3.1666667, 5.5])


def test_box_points_are_four_corners_at_every_height():
    points = box_points(torch.tensor([[[10.0, 2.0, 0.0]]]), torch.tensor([0.0, 1.0]))
    assert points.shape == (1, 1, 8, 3)
    rounded = {tuple(np.round(point, 4)) for point in points[0, 0].tolist()}
    corners = [(FRONT_M, SIDE_M), (FRONT_M, -SIDE_M), (REAR_M, -SIDE_M), (REAR_M, SIDE_M)]
    assert rounded == {(round(10 + x, 4), round(2 + y, 4), z) for x, y in corners for z in (0.0, 1.0)}


def test_box_points_turn_with_the_car():
    points = box_points(torch.tensor([[[0.0, 0.0, torch.pi / 2]]]), torch.tensor([0.0]))[0, 0]
    assert points[0].tolist() == pytest.approx([-SIDE_M, FRONT_M, 0.0], abs=1e-5)


def projected(point: tuple[float, float, float], yaw_deg: float = 0.0) -> tuple[torch.Tensor, bool]:
    places, seen = project(
        torch.tensor(point)[None, None, None],
        pinhole()[None, None],
        camera_to_ego(yaw_deg)[None, None],
        height=HEIGHT,
        width=WIDTH,
    )
    return places[0, 0, 0, 0], bool(seen[0, 0, 0, 0])


def test_a_point_ahead_lands_on_its_pinhole_projection():
    """The camera is 1.5 m ahead and 1.6 m up, so the point is 8.5 m ahead, 1 m below, 2 m left; focal length 30 px."""
    places, seen = projected((10.0, 2.0, 0.6))
    column, row = WIDTH / 2 - 30 * 2.0 / 8.5, HEIGHT / 2 + 30 * 1.0 / 8.5
    # Intrinsics count from the centre of the first pixel, half a pixel inside the picture.
    assert seen and places.tolist() == pytest.approx([(column + 0.5) / WIDTH, (row + 0.5) / HEIGHT], abs=1e-6)


@pytest.mark.parametrize(
    ("point", "yaw_deg", "expected"),
    [
        ((-10.0, 0.0, 1.6), 0.0, False),
        ((-10.0, 0.0, 1.6), 180.0, True),
        ((5.0, 6.0, 1.6), 60.0, True),
        ((5.0, 6.0, 1.6), -60.0, False),
        ((1.5, 0.0, 1.6), 0.0, False),
        ((4.0, 9.0, 1.6), 0.0, False),
    ],
)
def test_a_camera_sees_only_points_inside_its_picture(point, yaw_deg, expected):
    places, seen = projected(point, yaw_deg)
    assert seen is expected and torch.isfinite(places).all()


def test_points_behind_a_camera_lie_far_outside_its_picture():
    assert projected((-10.0, 0.0, 1.6))[0].tolist() == [-2.0, -2.0]


def test_projection_carries_no_gradient_and_is_exact_under_autocast():
    points = torch.tensor([[[[10.0, 2.0, 0.6]]]], requires_grad=True)
    given = pinhole()[None, None], camera_to_ego(0.0)[None, None]
    plain = project(points, *given, height=HEIGHT, width=WIDTH)[0]
    with torch.autocast("cpu", torch.bfloat16):
        half = project(points, *given, height=HEIGHT, width=WIDTH)[0]
    assert not plain.requires_grad and torch.equal(plain, half)


def test_a_pose_lies_on_the_grid_by_x_over_poses_and_y_over_proposals():
    places = on_grid(torch.tensor([[[0.0, 0.0, 1.0], [32.0, -32.0, 0.0], [-16.0, 16.0, 0.0]]]), 32.0)
    assert places[0].tolist() == [[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]]
