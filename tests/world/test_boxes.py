"""Upright boxes in space: the place of their corners, and which of them are joined by edges."""

import numpy as np

from latentdrive.world.boxes import EDGES, FOOT, UNIT_CORNERS, solid_corners


def test_corners_of_a_turned_box_above_the_ground():
    corners = solid_corners(np.array([1.0, 2.0, np.pi / 2]), np.array([4.0, 2.0, 1.5]), foot_m=0.5)
    np.testing.assert_allclose(corners.min(0), [0.0, 0.0, 0.5], atol=1e-12)
    np.testing.assert_allclose(corners.max(0), [2.0, 4.0, 2.0], atol=1e-12)
    assert len(np.unique(corners.round(9), axis=0)) == 8


def test_a_box_has_twelve_edges_along_its_axes():
    steps = np.array([UNIT_CORNERS[a] - UNIT_CORNERS[b] for a, b in EDGES])
    assert len({frozenset(edge) for edge in EDGES}) == 12
    assert (np.count_nonzero(steps, axis=1) == 1).all()
    assert np.count_nonzero(steps, axis=0).tolist() == [4, 4, 4]


def test_the_foot_goes_around_the_box_from_its_rear_to_its_front():
    foot = UNIT_CORNERS[list(FOOT)]
    assert not foot[:, 2].any() and (foot[:2, 0] < 0).all() and (foot[2:, 0] > 0).all()
    assert (np.count_nonzero(foot - np.roll(foot, 1, axis=0), axis=1) == 1).all()
