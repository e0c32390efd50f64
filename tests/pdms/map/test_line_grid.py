"""What lies near a line: against shapely's distances, inside and beyond the grid, several scenes at once."""

import numpy as np
import pytest
import shapely
import torch

from latentdrive.pdms.map.line_grid import line_grid
from latentdrive.pdms.map.polygon_grid import polygon_grid
from latentdrive.pdms.scene import FETCH_M, Polygons
from tests.support.small_maps import rectangle

NEAR_M = 0.5
NOTHING = Polygons(vertices=np.zeros((0, 2)), ends=np.zeros(1, np.int32), owner=np.zeros(0, np.int32))
CENTRE = np.array([1.5, 0.25])


def near(lines: list[np.ndarray], points: np.ndarray, near_m: float = NEAR_M) -> np.ndarray:
    """points [scenes, n, 2] -> [scenes, n]."""
    cells = polygon_grid([NOTHING] * len(lines), [np.zeros(2)] * len(lines), [CENTRE] * len(lines))
    grid = line_grid(lines, list(cells.corner.numpy()), near_m)
    located = cells.locate(*torch.from_numpy(points).unbind(-1))
    return grid.near(located).view(len(lines), -1).numpy()


def expected(line: np.ndarray, points: np.ndarray, near_m: float = NEAR_M) -> np.ndarray:
    return shapely.distance(shapely.linestrings(line), shapely.points(points)) <= near_m


def wandering(seed: int, count: int, step: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(size=(count, 2)) * step, axis=0)


@pytest.mark.parametrize(("seed", "count", "step"), [(0, 300, 0.5), (1, 60, 8.0), (2, 5, 90.0), (3, 2, 40.0)])
def test_near_is_by_shapelys_distance(seed: int, count: int, step: float):
    line = wandering(seed, count, step)
    rng = np.random.default_rng(seed + 10)
    along = line[rng.integers(0, count - 1, 3000)]
    points = np.concatenate([along + rng.normal(size=along.shape) * 0.5, rng.uniform(-130, 130, (1000, 2))])
    found = near([line], points[None])[0]
    assert 0 < found.sum() < len(points)
    np.testing.assert_array_equal(found, expected(line, points))


def test_a_line_is_near_on_both_sides_of_cell_borders():
    # Along x = 0.99 and the border of cells at 1.5 - 100 + k: points in the next cell are near it too.
    line = np.array([[0.49, -20.0], [0.49, 20.0]])
    points = np.array(
        [[0.51, 0.0], [0.98, 0.0], [0.999, 0.0], [-0.005, 0.0], [-0.02, 0.0], [0.49, 20.49], [0.49, 20.51]]
    )
    np.testing.assert_array_equal(near([line], points[None])[0], [True, True, False, True, False, True, False])


def test_exactly_half_a_metre_is_near():
    points = np.array([[0.0, 0.5], [0.0, -0.5], [0.0, 0.5000001], [10.5, 0.0]])
    np.testing.assert_array_equal(near([np.array([[-10.0, 0], [10, 0]])], points[None])[0], [True, True, False, True])


def test_points_beyond_the_grid_are_compared_with_all_of_the_line():
    line = np.array([[-300.0, 0.0], [0.0, 0.0], [0.0, 300.0]])
    points = np.array(
        [[-250.0, 0.4], [-250.0, 0.6], [0.3, 250.0], [0.0, 300.4], [0.0, 301.0], [CENTRE[0] - FETCH_M, 0.1]]
    )
    np.testing.assert_array_equal(near([line], points[None])[0], [True, False, True, True, False, True])


def test_vertices_that_coincide_are_points_of_the_line():
    line = np.array([[0.0, 0], [5, 0], [5, 0], [9, 0]])
    points = np.array([[5.0, 0.4], [5.0, 0.6], [-0.4, 0.0]])
    np.testing.assert_array_equal(near([line], points[None])[0], [True, False, True])


def test_scenes_have_their_own_lines():
    lines = [wandering(4, 50, 3.0), np.array([[0.0, 0], [50, 0]]), rectangle(-150, -20, 150, 20)]
    points = np.random.default_rng(0).uniform((-160, -25), (160, 25), (3, 4000, 2))
    points[:, :2000] = lines[0][np.arange(2000) % 50] + np.random.default_rng(1).normal(size=(2000, 2))
    found = near(lines, points)
    for scene, line in enumerate(lines):
        np.testing.assert_array_equal(found[scene], expected(line, points[scene]))
    assert found.any(-1).all()


def test_another_distance():
    line = wandering(5, 40, 4.0)
    points = np.random.default_rng(2).uniform(-40, 40, (3000, 2))
    np.testing.assert_array_equal(near([line], points[None], 0.04)[0], expected(line, points, 0.04))
