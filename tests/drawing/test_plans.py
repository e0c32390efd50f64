"""Plans as pictures: a point on the ground lands on the pixel that was worked out on paper, what lies behind the camera nowhere."""

import numpy as np
import pytest

from latentdrive.drawing.plans import (
    DRIVER,
    HUMAN,
    PAINTS,
    PANEL,
    bev_with_trajectories,
    camera_with_trajectories,
    projected,
    projected_pieces,
    side_by_side,
    with_colours,
    with_legend,
)
from latentdrive.types import CameraImage
from tests.support.evaluation import make_scoring_scene

FOCAL, WIDTH, HEIGHT = 100.0, 200, 120
FORWARD_M, UP_M = 2.0, 1.5  # of the camera, before and above the rear axle


@pytest.fixture
def image() -> CameraImage:
    """Looks straight ahead: its right is the car's right, its down is the car's down."""
    placed = np.array([[0, 0, 1, FORWARD_M], [-1, 0, 0, 0], [0, -1, 0, UP_M], [0, 0, 0, 1]], np.float32)
    return CameraImage(
        pixels=np.full((3, HEIGHT, WIDTH), 9, np.uint8), camera_to_ego=placed,
        intrinsics=np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]], np.float32),
    )  # fmt: skip


def ahead(metres: float, left: float = 0.0) -> np.ndarray:
    return np.linspace([metres / 8, left / 8, 0], [metres, left, 0], 8)


def places(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns that are nearly of a colour: lines are smoothed."""
    return np.argwhere((np.abs(picture.astype(int) - np.array(colour)) < 30).all(-1))


def test_a_point_on_the_ground_lands_where_it_was_worked_out(image):
    # 10 m before the rear axle is 8 m before the camera: 100 * 1.5 / 8 = 18.75 pixels below the middle; 2 m aside: 100 * 2 / 8 = 25.
    found = projected(image, np.array([[10.0, 0.0, 0.0], [10.0, 2.0, 0.0], [10.0, -2.0, 1.5]]))
    np.testing.assert_allclose(found, [[100.0, 78.75], [75.0, 78.75], [125.0, 60.0]])


def test_what_lies_behind_the_camera_is_nowhere_and_a_line_ends_before_it(image):
    assert projected(image, np.array([[2.4, 0.0, 0.0], [-5.0, 0.0, 0.0]])).shape == (0, 2)
    back, here, there = np.array([[-6.0, 0.0, 0.0]]), np.array([[0.0, 0.0, 0.0]]), np.array([[10.0, 0.0, 0.0]])
    assert projected_pieces(image, back, here).shape == (0, 2, 2)
    for piece in (projected_pieces(image, here, there)[0], projected_pieces(image, there, here)[0][::-1]):
        # Cut off 0.5 m before the camera: 60 + 100 * 1.5 / 0.5.
        np.testing.assert_allclose(piece, [[100.0, 360.0], [100.0, 78.75]])


def test_a_plan_is_drawn_on_its_pixels_whatever_the_picture_is_scaled_to(image):
    plans = {"a": (ahead(10.0, 2.0), PAINTS[0])}
    for height, end in ((None, (78.75, 75.0)), (2 * HEIGHT, (158.0, 150.5))):  # pixel centres are whole numbers
        picture = camera_with_trajectories(image, plans, height=height)
        found = places(picture, PAINTS[0])
        assert picture.shape[0] == (height or HEIGHT)
        assert np.hypot(*(found - np.array(end)).T).min() < 1.5
        assert found[:, 0].min() == pytest.approx(end[0], abs=5)  # nothing is drawn further away
    assert (image.pixels == 9).all()


def test_without_a_calibration_the_picture_stays_bare(image):
    bare = CameraImage(pixels=image.pixels, intrinsics=None, camera_to_ego=None)
    assert (camera_with_trajectories(bare, {"a": (ahead(10.0), PAINTS[0])}) == 9).all()


def test_plans_that_are_not_finite_or_lie_behind_are_drawn_as_far_as_they_can_be(image):
    strange = {
        "nan": np.full((8, 3), np.nan),
        "back": ahead(-9.0),
        "far": np.full((8, 3), 1e7),
        "none": np.zeros((0, 3)),
    }
    assert side_by_side(image, make_scoring_scene("t"), strange).dtype == np.uint8


def test_the_human_always_has_its_own_colour_and_the_others_take_turns():
    for names in (("a", DRIVER, "b"), (DRIVER, "a", "b"), ("a", "b", DRIVER)):
        colours = {name: colour for name, (_, colour) in with_colours(dict.fromkeys(names, ahead(1.0))).items()}
        assert colours == {"a": PAINTS[0], "b": PAINTS[1], DRIVER: HUMAN}
    assert "b" not in with_colours({"a": ahead(1.0)})


def test_from_above_ahead_is_up_and_left_is_left():
    picture = bev_with_trajectories(
        make_scoring_scene("t"), with_colours({DRIVER: ahead(20.0), "a": ahead(20.0, 10.0)})
    )
    human, other = places(picture, HUMAN), places(picture, PAINTS[0])
    assert human[:, 1].std() < 4 and np.ptp(human[:, 0]) > 100
    top, bottom = other[other[:, 0].argmin()], other[other[:, 0].argmax()]
    assert top[0] < bottom[0] - 100 and top[1] < bottom[1] - 50


def test_a_plan_that_leads_nowhere_is_a_ring_around_the_rear_axle():
    scene = make_scoring_scene("t")
    ring = places(bev_with_trajectories(scene, with_colours({"a": ahead(0.0), "b": ahead(20.0)})), PAINTS[0])
    assert len(ring) > 20 and np.ptp(ring[:, 0]) == pytest.approx(np.ptp(ring[:, 1]), abs=2) and np.ptp(ring[:, 0]) > 10


def test_camera_and_view_from_above_stand_side_by_side_with_names_below(image):
    plans = {DRIVER: ahead(20.0), "a": ahead(20.0, 5.0)}
    picture = side_by_side(image, make_scoring_scene("t"), plans)
    width = round(WIDTH * PANEL / HEIGHT)
    assert picture.shape[1] == width + PANEL and picture.dtype == np.uint8
    for panel in (picture[:PANEL, :width], picture[:PANEL, width:], picture[PANEL:]):
        assert len(places(panel, HUMAN)) and len(places(panel, PAINTS[0]))


def test_names_that_do_not_fit_go_into_another_row():
    pixels = np.zeros((10, 200, 3), np.uint8)
    few, many = (with_legend(pixels, with_colours({f"planner {k}": ahead(9.0) for k in range(n)})) for n in (1, 6))
    assert many.shape[0] > few.shape[0] > 10 and many.shape[1] == 200
