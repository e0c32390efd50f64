"""Boxes and image motion, worked out by hand for a focal length of 80 pixels in a picture of 160 x 96.

The camera is 1.5 m above the rear axle.
"""

import numpy as np
import pytest

from latentdrive.world.clips.truth import clip_truth, image_boxes, to_camera, to_image
from latentdrive.world.traffic.recording import Agents, SimulatedDrive

CAR = np.array([4.0, 2.0, 3.0])  # its centre is as high as the camera


def drive(agents: np.ndarray, ego: np.ndarray) -> SimulatedDrive:
    """A drive with one frame every 0.5 s. agents: poses [T, N, 3], all of CAR's size. ego: poses [T, 3]."""
    count = agents.shape[1]
    return SimulatedDrive(
        road_type="",
        seed=(0,),
        times_s=np.arange(len(ego)) * 0.5,
        ego=ego,
        ego_speed_mps=np.zeros(len(ego)),
        lanes=(),
        agents=Agents(
            poses=agents, speed_mps=np.zeros(agents.shape[:2]), sizes=np.tile(CAR, (count, 1)), kinds=("car",) * count
        ),
    )


def truth(agents: np.ndarray, ego: np.ndarray, camera):
    return clip_truth(drive(agents, ego), camera, transition_s=0.5, rate_hz=2.0, key="k")


def test_a_point_20_m_ahead_and_2_m_left_is_8_pixels_left_of_the_middle(level_camera):
    position = to_image(to_camera(np.array([20.0, 2.0, 1.5]), np.zeros(3), level_camera), level_camera)
    np.testing.assert_allclose(position, [0.5 - 8 / 160, 0.5])


def test_the_box_of_a_car_ahead(level_camera):
    box = image_boxes(np.array([[22.0, 0.0, 0.0]]), CAR[None], np.zeros(3), level_camera)[0]
    # The rear is 20 m ahead: its 2 m of width are 8 pixels, its 3 m of height 12, about the middle of the picture.
    np.testing.assert_allclose(box, [0.5 - 4 / 160, 0.5 - 6 / 96, 0.5 + 4 / 160, 0.5 + 6 / 96], atol=1e-6)


@pytest.mark.parametrize("pose", ([-10.0, 0.0, 0.0], [5.0, 30.0, 0.0], [90.0, 0.0, 0.0]))
def test_a_car_behind_beside_or_too_far_has_no_box(level_camera, pose):
    assert np.isnan(image_boxes(np.array([pose]), CAR[None], np.zeros(3), level_camera)).all()


def test_a_car_that_is_partly_behind_the_camera_is_cut_at_the_edge(level_camera):
    box = image_boxes(np.array([[1.5, 2.5, 0.0]]), CAR[None], np.zeros(3), level_camera)[0]
    # The front right corner, 3.5 m ahead and 1.5 m to the left, is the rightmost visible part.
    np.testing.assert_allclose(box, [0.0, 0.0, 0.5 - 1.5 / 3.5 * 80 / 160, 1.0], atol=1e-6)


def test_a_car_that_drives_1_m_to_the_left_at_20_m_moves_4_pixels_to_the_left(level_camera):
    agents = np.array([[[20.0, 0.0, 0.0]], [[20.0, 1.0, 0.0]]])
    motion = truth(agents, np.zeros((2, 3)), level_camera).image_motion
    np.testing.assert_allclose(motion[0, 0], [-4 / 160, 0.0], atol=1e-6)
    assert np.isnan(motion[1]).all()


def test_a_standing_car_has_no_own_motion_whatever_the_ego_does(level_camera):
    agents = np.tile(np.array([20.0, 3.0, 0.4]), (3, 1, 1))
    ego = np.array([[0.0, 0.0, 0.0], [3.0, 0.5, 0.2], [6.0, 1.5, -0.1]])
    np.testing.assert_allclose(truth(agents, ego, level_camera).image_motion[:2], 0.0, atol=1e-7)


def test_own_motion_is_seen_from_the_camera_after_the_transition(level_camera):
    agents = np.array([[[20.0, 0.0, 0.0]], [[20.0, 1.0, 0.0]]])
    ego = np.array([[0.0, 0.0, 0.0], [10.0, 0.0, 0.0]])
    np.testing.assert_allclose(truth(agents, ego, level_camera).image_motion[0, 0], [-8 / 160, 0.0], atol=1e-6)


def test_agents_are_given_in_the_frame_of_the_first_ego_pose(level_camera):
    agents = np.tile(np.array([0.0, 20.0, np.pi / 2]), (2, 1, 1))
    ego = np.tile(np.array([0.0, 0.0, np.pi / 2]), (2, 1))
    np.testing.assert_allclose(truth(agents, ego, level_camera).agent_poses[0, 0], [20.0, 0.0, 0.0], atol=1e-6)


def test_an_absent_agent_is_nan(level_camera):
    absent = truth(np.full((2, 1, 3), np.nan), np.zeros((2, 3)), level_camera)
    assert np.isnan(absent.boxes).all() and np.isnan(absent.image_motion).all()
