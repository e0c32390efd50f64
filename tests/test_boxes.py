"""Boxes from above: their corners, and what they touch, compared with shapely."""

import numpy as np
import pytest
import shapely
import torch

from latentdrive.boxes import box_touches_polygon, boxes_touch, corners, corners_around, ego_centre, ego_corners
from latentdrive.nuplan_vehicle import HALF_LENGTH_M, HALF_WIDTH_M

CAR = (HALF_LENGTH_M, HALF_WIDTH_M)


def random_boxes(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Poses of centres, some 10 m apart, and sizes."""
    rng = np.random.default_rng(seed)
    poses = np.column_stack([rng.uniform(-5, 5, (count, 2)), rng.uniform(-np.pi, np.pi, count)])
    return poses, rng.uniform(0.3, 6.0, (count, 2))


def test_corners_are_front_left_rear_left_rear_right_front_right():
    box = corners(np.array([10.0, 20.0, np.pi / 2]), np.array([4.0, 2.0]))
    np.testing.assert_allclose(box, [[9, 22], [9, 18], [11, 18], [11, 22]], atol=1e-12)


def test_the_ego_reaches_4_049_m_ahead_of_its_rear_axle_and_1_127_m_behind():
    np.testing.assert_allclose(ego_centre(np.array([1.0, 2.0, np.pi / 2])), [1, 3.461, np.pi / 2], atol=1e-12)
    expected = [[4.049, 1.1485], [-1.127, 1.1485], [-1.127, -1.1485], [4.049, -1.1485]]
    np.testing.assert_allclose(ego_corners(np.zeros(3)), expected, atol=1e-12)


def test_another_body_has_its_centre_elsewhere():
    rear = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, np.pi]])
    np.testing.assert_allclose(ego_centre(rear, 2.0), [[2, 0, 0], [-1, 2, np.pi]], atol=1e-12)


def test_tensors_have_the_corners_that_arrays_have():
    poses, sizes = random_boxes(0, 50)
    centre, heading, half = torch.from_numpy(poses[:, :2]), torch.from_numpy(poses[:, 2]), torch.from_numpy(sizes / 2)
    boxes = corners_around(centre, heading.cos(), heading.sin(), half[:, :1], half[:, 1:])
    np.testing.assert_allclose(boxes.numpy(), corners(poses, sizes), atol=1e-12)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_boxes_touch_where_shapely_says_so(kind):
    (a, a_sizes), (b, b_sizes) = random_boxes(1, 2000), random_boxes(2, 2000)
    headings = [(kind(np.cos(poses[:, 2])), kind(np.sin(poses[:, 2]))) for poses in (a, b)]
    ours = boxes_touch(kind(b[:, :2] - a[:, :2]), *headings, kind(a_sizes / 2), kind(b_sizes / 2))
    expected = shapely.intersects(shapely.polygons(corners(a, a_sizes)), shapely.polygons(corners(b, b_sizes)))
    assert 200 < expected.sum() < 1800
    np.testing.assert_array_equal(np.asarray(ours), expected)


@pytest.mark.parametrize(
    ("gap_m", "margin_m", "expected"),
    [(0.0, 0.0, True), (0.125, 0.0, False), (0.125, 0.125, True), (np.nan, 0.0, False)],
)
def test_a_shared_edge_touches_and_a_margin_widens_every_axis(gap_m: float, margin_m: float, expected: bool):
    ahead, half = (np.array([1.0]), np.array([0.0])), np.array([2.0, 1.0])
    offset = np.array([[4.0 + gap_m, 0.0]])
    assert boxes_touch(offset, ahead, ahead, half, half, margin_m).tolist() == [expected]


def test_a_box_touches_a_polygon_where_shapely_says_so():
    poses, _ = random_boxes(3, 500)
    outline = shapely.Point(0.0, 0.0).buffer(6.0).difference(shapely.box(-5.5, -4.0, 5.5, 4.0))
    outline = max(shapely.get_parts(outline), key=lambda part: part.area)
    rings = [np.asarray(ring.coords) for ring in (outline.exterior, *outline.interiors)]
    edges = torch.from_numpy(np.concatenate([np.concatenate([ring[:-1], ring[1:]], 1) for ring in rings]))
    heading = torch.from_numpy(poses[:, 2])
    ours = box_touches_polygon(
        torch.from_numpy(poses[:, :2]), heading.cos(), heading.sin(), CAR, edges.expand(len(poses), -1, -1)
    )
    expected = shapely.intersects(shapely.polygons(corners(poses, 2 * np.array(CAR))), outline)
    assert 50 < expected.sum() < 450
    assert ours.tolist() == expected.tolist()


def test_a_box_inside_a_polygon_touches_it_and_one_in_its_hole_does_not():
    square = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    outer, hole = (np.concatenate([ring, np.roll(ring, -1, axis=0)], 1) for ring in (30 * square, 10 * square))
    edges = torch.from_numpy(np.concatenate([outer, hole])).expand(3, -1, -1)
    centre = torch.tensor([[20.0, 0.0], [0.0, 0.0], [40.0, 0.0]], dtype=torch.float64)
    one, zero = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    assert box_touches_polygon(centre, one, zero, CAR, edges).tolist() == [True, False, False]
