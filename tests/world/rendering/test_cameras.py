"""Pictures agree with the geometry: sides, boxes, and the motion of the picture when the ego moves."""

import numpy as np
import pytest

from latentdrive.world.clips.truth import image_boxes
from latentdrive.world.rendering.scenery import Density, random_look, surroundings
from latentdrive.world.rendering.vehicles import vehicle
from latentdrive.world.traffic.recording import Lane, Mark

CAR = np.array([4.5, 1.8, 1.5])


@pytest.fixture(scope="module")
def stage(renderer):
    """A renderer with a straight road and one car, which is absent until a test places it."""
    rng = np.random.default_rng(0)
    points = np.stack([np.arange(-50.0, 200.0, 2.0), np.full(125, -1.8)], -1)
    lanes = (Lane(points=points, width_m=3.6, left=Mark.DASHED, right=Mark.SOLID),)
    look = random_look(rng)
    density = Density(buildings=14.0, trees=22.0, poles_m=28.0)
    renderer.set_up(surroundings(lanes, look, density).meshes(), [vehicle(rng, CAR, "car", 1.0)], look.sky, 1.0)
    return renderer


def picture(stage, ego, car=(np.nan, np.nan, np.nan)) -> np.ndarray:
    """Photograph the stage. ego: pose of the rear axle. car: pose of the car's centre."""
    return stage.picture(np.array(ego, float), np.array([car], float)).astype(float)


def test_pictures_have_the_size_asked_for_and_texture_everywhere(stage, level_camera):
    pixels = picture(stage, (0, 0, 0))
    assert pixels.shape == (level_camera.height, level_camera.width, 3)
    blocks = pixels.mean(-1).reshape(8, 12, 10, 16)
    assert (blocks.std((1, 3)) > 1.0).mean() > 0.9  # no large part of the picture is uniform


def test_yawing_to_the_left_moves_the_picture_to_the_right(stage):
    before, after = (picture(stage, (0, 0, yaw)).mean(-1)[30:50] for yaw in (0.0, 0.1))
    shifts = range(-20, 21)
    match = [-np.abs(np.roll(before, shift, 1) - after)[:, 24:-24].mean() for shift in shifts]
    assert 5 <= shifts[int(np.argmax(match))] <= 11  # 0.1 rad at a focal length of 80 pixels


def test_driving_ahead_moves_the_ground_down_and_outwards(stage):
    marks = [picture(stage, (x, 0, 0), (x + 12.0, 0.0, 0.0)) for x in (0.0, 0.5)]
    np.testing.assert_allclose(marks[0][40:52, 72:88], marks[1][40:52, 72:88], atol=40)
    assert np.abs(marks[0] - marks[1])[60:].mean() > 1.0


@pytest.mark.parametrize("car", ((12.0, 3.0, 0.0), (15.0, -4.0, 0.5), (8.0, 0.0, 1.5), (30.0, 6.0, 3.0)))
def test_a_car_is_seen_where_its_box_says(stage, level_camera, car):
    changed = np.abs(picture(stage, (0, 0, 0), car) - picture(stage, (0, 0, 0))).max(-1) > 6
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    box = image_boxes(np.array([car]), CAR[None], np.zeros(3), level_camera)[0] * [160, 96, 160, 96]
    extent = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    # The shadow and the lamps reach a few centimetres beyond the box, and the roof is narrower.
    np.testing.assert_allclose(extent, box, atol=3.0)


def test_the_same_moment_gives_the_same_picture(stage):
    first, again = (picture(stage, (3, 0, 0.1), (20, 2, 0)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_intrinsics_say_where_a_point_is_seen(level_camera):
    matrix = level_camera.intrinsics
    np.testing.assert_allclose(matrix, [[80, 0, 79.5], [0, 80, 47.5], [0, 0, 1]])
    forward = level_camera.camera_to_ego[:3, 2]
    np.testing.assert_allclose(forward, [1, 0, 0], atol=1e-12)
