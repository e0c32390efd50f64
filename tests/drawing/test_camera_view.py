"""Plans in a camera's picture: points land on the pixels worked out by hand, and nothing behind the camera is drawn."""

import numpy as np
import pytest

from latentdrive.drawing.camera_view import camera_with_trajectories, projected, projected_pieces
from latentdrive.drawing.colours import PAINTS
from tests.support.plan_pictures import GREY, HEIGHT, grey_image, places, straight_plan

IMAGE = grey_image()


def test_a_point_on_the_ground_lands_on_the_pixel_worked_out_by_hand():
    # 10 m ahead of the rear axle is 8 m ahead of the camera: 100 * 1.5 / 8 = 18.75 pixels below the middle.
    # 2 m to the left is 100 * 2 / 8 = 25 pixels to the left.
    pixels = projected(IMAGE, np.array([[10.0, 0.0, 0.0], [10.0, 2.0, 0.0], [10.0, -2.0, 1.5]]))
    np.testing.assert_allclose(pixels, [[100.0, 78.75], [75.0, 78.75], [125.0, 60.0]])


def test_points_behind_the_camera_are_left_out_and_lines_are_cut_in_front_of_it():
    assert projected(IMAGE, np.array([[2.4, 0.0, 0.0], [-5.0, 0.0, 0.0]])).shape == (0, 2)
    behind, axle, ahead = np.array([[-6.0, 0.0, 0.0]]), np.array([[0.0, 0.0, 0.0]]), np.array([[10.0, 0.0, 0.0]])
    assert projected_pieces(IMAGE, behind, axle).shape == (0, 2, 2)
    for piece in (projected_pieces(IMAGE, axle, ahead)[0], projected_pieces(IMAGE, ahead, axle)[0][::-1]):
        # Cut off 0.5 m in front of the camera: row 60 + 100 * 1.5 / 0.5.
        np.testing.assert_allclose(piece, [[100.0, 360.0], [100.0, 78.75]])


@pytest.mark.parametrize(("height", "end"), [(None, (78.75, 75.0)), (2 * HEIGHT, (158.0, 150.5))])
def test_a_plan_ends_on_its_pixel_at_every_size_of_the_picture(height, end):
    """Pixel centres are whole numbers, so row 78.75 becomes 158.0 at twice the size."""
    picture = camera_with_trajectories(IMAGE, {"a": (straight_plan(10.0, 2.0), PAINTS[0])}, height=height)
    drawn = places(picture, PAINTS[0])
    assert picture.shape[0] == (height or HEIGHT)
    assert np.hypot(*(drawn - np.array(end)).T).min() < 1.5
    assert drawn[:, 0].min() == pytest.approx(end[0], abs=5)  # nothing is drawn beyond the plan's end
    assert (IMAGE.pixels == GREY).all()


def test_no_plan_is_drawn_without_a_calibration():
    picture = camera_with_trajectories(grey_image(calibrated=False), {"a": (straight_plan(10.0), PAINTS[0])})
    assert (picture == GREY).all()
