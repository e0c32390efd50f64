"""Grids, compared with shapely: which polygons contain a point, and which points lie near a line.

Borders, points beyond the grid and several scenes at once are included.
"""

from math import gcd

import numpy as np
import pytest
import shapely
import torch

from latentdrive.pdms.map.grid_building import line_grid, polygon_grid
from latentdrive.pdms.map.grids import BITS, PolygonGrid
from latentdrive.pdms.scene import FETCH_M, Polygons
from tests.support.made_scenes import polygons
from tests.support.small_maps import rectangle

CENTRE = np.array([3.25, -2.125])


def star(rng: np.random.Generator, centre: np.ndarray, radius: float, corners: int) -> np.ndarray:
    """A ring of random, mostly concave shape that never crosses itself."""
    angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
    away = radius * rng.uniform(0.3, 1.0, corners)
    return centre + np.stack([away * np.cos(angle), away * np.sin(angle)], -1)


def random_polygons(seed: int, count: int) -> list[tuple[np.ndarray, ...]]:
    """Random polygons, every second one with holes; some reach beyond the grid."""
    rng = np.random.default_rng(seed)
    shapes = []
    for number in range(count):
        centre, radius = rng.uniform(-110, 110, 2), rng.uniform(1.0, 60.0)
        outline = star(rng, centre, radius, int(rng.integers(5, 40)))
        holes = []
        if number % 2:
            inside = shapely.Polygon(outline).representative_point()
            room = shapely.distance(inside, shapely.LinearRing(outline))
            holes = [star(rng, np.array([inside.x, inside.y]), 0.9 * room, 7)]
        shapes.append((outline, *holes))
    return shapes


def words_of(shapes: list[tuple[np.ndarray, ...]], points: np.ndarray) -> np.ndarray:
    """What shapely says, [points, polygons]."""
    inside = [shapely.contains_xy(shapely.Polygon(shape[0], shape[1:]), points[:, 0], points[:, 1]) for shape in shapes]
    return np.stack(inside, -1)


def unpacked(words: torch.Tensor, count: int) -> np.ndarray:
    bits = [(words[:, number // BITS] >> (number % BITS)) & 1 for number in range(count)]
    return torch.stack(bits, -1).bool().numpy()


def grid_of(*scenes: list[tuple[np.ndarray, ...]], origin: np.ndarray | None = None) -> PolygonGrid:
    origin = np.zeros(2) if origin is None else origin
    return polygon_grid([polygons(shape) for shape in scenes], [origin] * len(scenes), [CENTRE + origin] * len(scenes))


def asked(grid: PolygonGrid, points: np.ndarray, count: int, scene: int = 0) -> np.ndarray:
    numbers = torch.full((len(points),), scene)
    words = grid.containing(torch.from_numpy(points), numbers)
    assert torch.equal(words, grid.containing_by_edges(torch.from_numpy(points), numbers))
    return unpacked(words, count)


@pytest.mark.parametrize(("seed", "count"), [(0, 5), (1, 63), (2, 64), (3, 150)])
def test_containment_is_shapelys(seed: int, count: int):
    shapes = random_polygons(seed, count)
    points = np.random.default_rng(seed).uniform(-140, 140, (4000, 2))
    expected = words_of(shapes, points)
    assert expected.any(0).sum() > 0.6 * count
    np.testing.assert_array_equal(asked(grid_of(shapes), points, count), expected)


def test_points_beyond_the_grid_are_asked_too():
    shapes = [(rectangle(-400, -400, 400, 400), rectangle(200, 200, 210, 210)), (rectangle(90, 90, 300, 300),)]
    points = np.array([[0.0, 0], [250, 250], [205, 205], [-350, 350], [401, 0], [CENTRE[0] + FETCH_M, 0.0], [150, 101]])
    expected = [[True, False], [True, True], [False, True], [True, False], [False, False], [True, False], [True, True]]
    np.testing.assert_array_equal(asked(grid_of(shapes), points, 2), expected)


def lattice_points_on(ring: np.ndarray) -> np.ndarray:
    """Points with whole coordinates on the edges of a ring with whole coordinates: exactly on the border."""
    inside = []
    for (x0, y0), (x1, y1) in zip(ring.astype(int), np.roll(ring, -1, axis=0).astype(int)):
        steps = gcd(abs(x1 - x0), abs(y1 - y0))
        inside += [(x0 + (x1 - x0) // steps * k, y0 + (y1 - y0) // steps * k) for k in range(steps)]
    return np.array(inside, float)


def test_a_point_on_a_vertex_or_an_edge_is_outside():
    rng = np.random.default_rng(5)
    shapes = [(np.unique(np.round(star(rng, np.zeros(2), 80.0, 12)), axis=0),) for _ in range(3)]
    shapes = [
        (np.array(shapely.Polygon(shapely.convex_hull(shapely.multipoints(shape[0]))).exterior.coords)[:-1],)
        for shape in shapes
    ]
    shapes.append((rectangle(-60, -60, 60, 60), rectangle(-5, -5, 5, 5)))
    grid = grid_of(shapes)
    for number, rings in enumerate(shapes):
        for ring in rings:
            points = lattice_points_on(ring)
            assert len(points) >= len(ring)
            inside = asked(grid, points, len(shapes))
            assert not inside[:, number].any()
            np.testing.assert_array_equal(inside, words_of(shapes, points))
            alone = grid.groups({"alone": group_of(grid, [[number]])})["alone"]
            located = grid.locate(*torch.from_numpy(points)[None].unbind(-1))
            assert not grid.inside(alone, located).any()


def test_a_ray_through_vertices_is_counted_once():
    # Level with corners of a diamond and of a comb, and with the reference points' own rows.
    diamond = np.array([[-10.0, 0], [0, -10], [10, 0], [0, 10]])
    comb = np.array([[20.0, 0], [60, 0], [60, 10], [50, 0.5], [40, 10], [30, 0.5], [20, 10]])
    points = np.stack(np.meshgrid(np.arange(-12, 62, 0.5), np.arange(-10, 10.5, 0.5)), -1).reshape(-1, 2)
    inside = asked(grid_of([(diamond,), (comb,)]), points, 2)
    np.testing.assert_array_equal(inside, words_of([(diamond,), (comb,)], points))


def test_vertices_given_twice_change_nothing():
    ring = rectangle(-10, -10, 10, 10)
    points = np.random.default_rng(0).uniform(-12, 12, (500, 2))
    twice = np.repeat(ring, 2, axis=0)
    np.testing.assert_array_equal(asked(grid_of([(twice,)]), points, 1), asked(grid_of([(ring,)]), points, 1))


def test_no_polygons_contain_nothing():
    assert not asked(grid_of([]), np.zeros((3, 2)), 1).any()


def group_of(grid: PolygonGrid, numbers: list[list[int]]) -> torch.Tensor:
    words = torch.zeros(len(numbers), grid.at_reference.shape[1], dtype=torch.int64)
    for scene, chosen in enumerate(numbers):
        for number in chosen:
            words[scene, number // BITS] |= 1 << (number % BITS)
    return words


def test_groups_answer_as_containment_does():
    shapes = [random_polygons(7, 100), random_polygons(8, 20), []]
    grid = grid_of(*shapes)
    numbers = [[*range(0, 100, 3), 63, 64], [1, 5], []]
    mask = group_of(grid, numbers)
    points = np.random.default_rng(1).uniform(-130, 130, (3, 2000, 2))
    located = grid.locate(*torch.from_numpy(points).unbind(-1))
    assert len(located.far) > 100
    groups = grid.groups({"some": mask, "none": mask * 0})
    inside = grid.inside(groups["some"], located).view(3, -1).numpy()
    for scene, chosen in enumerate(numbers):
        if not chosen:
            assert not inside[scene].any()
            continue
        every = asked(grid, points[scene], len(shapes[scene]), scene)
        np.testing.assert_array_equal(inside[scene], every[:, chosen].any(-1))
        np.testing.assert_array_equal(every, words_of(shapes[scene], points[scene]))
    assert not grid.inside(groups["none"], located).any()


def test_a_group_with_seams_holds_what_lies_off_them():
    # Two halves of a road: on the seam no polygon contains a point, whatever else its cell holds.
    shapes = [(rectangle(-50, -4, 50, 0),), (rectangle(-50, 0, 50, 4),), (rectangle(-1, -1, 1, 1),)]
    grid = grid_of(shapes)
    points = np.array([[10.0, 0.0], [10.0, 1e-9], [10.0, -1e-9], [0.0, 0.0]])
    located = grid.locate(*torch.from_numpy(points)[None].unbind(-1))
    groups = grid.groups({"halves": group_of(grid, [[0, 1]]), "all": group_of(grid, [[0, 1, 2]])})
    assert grid.inside(groups["halves"], located).tolist() == [False, True, True, False]
    assert grid.inside(groups["all"], located).tolist() == [False, True, True, True]


def test_whole_metres_move_nothing():
    shapes, shift = random_polygons(4, 40), np.array([664_430.0, 3_997_650.0])
    # Coordinates as a map file in UTM holds them: what lies there is what counts.
    far_shapes = [tuple(ring + shift for ring in shape) for shape in shapes]
    near_shapes = [tuple(ring - shift for ring in shape) for shape in far_shapes]
    points = np.random.default_rng(2).uniform(-120, 120, (3000, 2))
    far = polygon_grid([polygons(far_shapes)], [shift], [CENTRE + shift])
    np.testing.assert_array_equal(asked(far, points, 40), asked(grid_of(near_shapes), points, 40))
    np.testing.assert_array_equal(asked(far, points, 40), words_of(near_shapes, points))


def test_grids_of_different_size_stand_side_by_side():
    few, many = random_polygons(9, 3), random_polygons(10, 130)
    grid = grid_of(few, many, few)
    points = np.random.default_rng(3).uniform(-120, 120, (500, 2))
    for scene, shapes in enumerate((few, many, few)):
        np.testing.assert_array_equal(asked(grid, points, len(shapes), scene), words_of(shapes, points))


def test_packing_keeps_rings_together():
    packed = polygons([(rectangle(0, 0, 9, 9), rectangle(1, 1, 2, 2)), (rectangle(0, 0, 1, 1),)])
    assert isinstance(packed, Polygons)
    assert packed.owner.tolist() == [0, 0, 1] and packed.ends.tolist() == [0, 4, 8, 12]


NEAR_M = 0.5
NOTHING = Polygons(vertices=np.zeros((0, 2)), ends=np.zeros(1, np.int32), owner=np.zeros(0, np.int32))
LINE_CENTRE = np.array([1.5, 0.25])


def near(lines: list[np.ndarray], points: np.ndarray, near_m: float = NEAR_M) -> np.ndarray:
    """points [scenes, n, 2] -> [scenes, n]."""
    cells = polygon_grid([NOTHING] * len(lines), [np.zeros(2)] * len(lines), [LINE_CENTRE] * len(lines))
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
    inside = near([line], points[None])[0]
    assert 0 < inside.sum() < len(points)
    np.testing.assert_array_equal(inside, expected(line, points))


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
        [[-250.0, 0.4], [-250.0, 0.6], [0.3, 250.0], [0.0, 300.4], [0.0, 301.0], [LINE_CENTRE[0] - FETCH_M, 0.1]]
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
    inside = near(lines, points)
    for scene, line in enumerate(lines):
        np.testing.assert_array_equal(inside[scene], expected(line, points[scene]))
    assert inside.any(-1).all()


def test_another_distance():
    line = wandering(5, 40, 4.0)
    points = np.random.default_rng(2).uniform(-40, 40, (3000, 2))
    np.testing.assert_array_equal(near([line], points[None], 0.04)[0], expected(line, points, 0.04))
