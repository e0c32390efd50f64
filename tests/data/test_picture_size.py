"""Pictures at training size, and their intrinsics: small pictures worked by hand."""

import numpy as np
import pytest

from latentdrive.data.picture_size import WHOLE, Fit, fit_picture, fitted, scaled_intrinsics, sized

# A camera that looks along the middle of a picture of 6 rows and 8 columns.
CENTRED = np.array([[8.0, 0.0, 3.5], [0.0, 6.0, 2.5], [0.0, 0.0, 1.0]])


def test_a_crop_keeps_the_middle_at_the_smallest_scale_that_fills_both_sides():
    # Half the size is 3 × 4, and one column is cut from either side: a quarter of the width.
    assert fit_picture((6, 8), (3, 2), "crop") == Fit(scaled=(3, 4), top=0, left=1, view=(0.25, 0.0, 0.75, 1.0))
    # 1.5 times the size is 9 × 12; 3 of the 9 rows are too many, and the odd one is cut from the bottom.
    assert fit_picture((6, 8), (6, 12), "crop") == Fit(scaled=(9, 12), top=1, left=0, view=(0.0, 1 / 9, 1.0, 7 / 9))


def test_a_stretched_picture_loses_nothing():
    assert fit_picture((6, 8), (3, 2), "stretch") == Fit(scaled=(3, 2), top=0, left=0, view=WHOLE)


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        # Pixels are twice as large in both directions; the middle of 3 × 2 pixels is (0.5, 1).
        ("crop", [[4.0, 0.0, 0.5], [0.0, 3.0, 1.0], [0.0, 0.0, 1.0]]),
        # Pixels are four times as wide.
        ("stretch", [[2.0, 0.0, 0.5], [0.0, 3.0, 1.0], [0.0, 0.0, 1.0]]),
    ],
)
def test_intrinsics_follow_the_picture(fit: str, expected: list):
    view = fit_picture((6, 8), (3, 2), fit).view
    scaled = scaled_intrinsics(CENTRED, view=view, stored=(6, 8), size=(3, 2))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, expected, atol=1e-6)


def test_a_cut_at_the_left_moves_the_principal_point():
    # One of 5 columns is cut at the left and two at the right, and nothing is scaled: column 2 becomes column 1.
    intrinsics = np.array([[5.0, 0.0, 2.0], [0.0, 5.0, 1.5], [0.0, 0.0, 1.0]])
    view = fit_picture((4, 5), (4, 2), "crop").view
    scaled = scaled_intrinsics(intrinsics, view=view, stored=(4, 5), size=(4, 2))
    np.testing.assert_allclose(scaled, [[5.0, 0.0, 1.0], [0.0, 5.0, 1.5], [0.0, 0.0, 1.0]], atol=1e-6)


def test_a_point_is_seen_where_the_scaled_intrinsics_project_it():
    picture = np.zeros((6, 8, 3), np.uint8)
    picture[2:4, 4:6] = 255  # its middle is column 4.5 and row 2.5
    point = np.linalg.inv(CENTRED) @ [4.5, 2.5, 1.0]
    view = fit_picture((6, 8), (3, 2), "crop").view
    scaled = scaled_intrinsics(CENTRED, view=view, stored=(6, 8), size=(3, 2))
    np.testing.assert_allclose(scaled @ point, [1.0, 1.0, 1.0], atol=1e-6)
    expected = np.zeros((3, 2, 3), np.uint8)
    expected[1, 1] = 255
    np.testing.assert_array_equal(fitted(picture, (3, 2), "crop"), expected)


def test_shrinking_averages_and_enlarging_interpolates():
    block = np.broadcast_to(np.array([[0, 100], [100, 200]], np.uint8), (3, 2, 2))
    np.testing.assert_array_equal(sized(block, 1, 1), np.full((3, 1, 1), 100))
    row = np.broadcast_to(np.array([[0, 100]], np.uint8), (3, 1, 2))
    np.testing.assert_array_equal(sized(row, 1, 4)[0, 0], [0, 25, 75, 100])
    assert sized(row, 1, 2) is row
