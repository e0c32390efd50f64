"""Motion that is computed from recorded positions: of the ego and of tracks, without a look across gaps or ahead."""

import numpy as np
import pytest

from latentdrive.data.scenarios.file import read_scenario
from latentdrive.data.scenarios.logged_scenario import ego_motion, track_velocity
from latentdrive.geometry import compose
from tests.support.data import REAL

SCENES = REAL / "scenarios"


def test_a_turn_is_no_slip_and_presses_to_its_inside():
    angle = np.arange(6) * 0.2  # 4 m a frame on a circle of 20 m to the left
    poses = np.column_stack([20 * np.sin(angle), 20 * (1 - np.cos(angle)), angle])
    velocity, acceleration = ego_motion(poses)
    chord = 2 * 20 * np.sin(0.1) / 0.5
    np.testing.assert_allclose(velocity, [[chord, 0]] * 6, atol=1e-5)
    np.testing.assert_allclose(acceleration[:, 1], chord * 2 * np.sin(0.1) / 0.5 * np.cos(0.1), rtol=1e-5)
    assert 0.95 < acceleration[-1, 1] / (8**2 / 20) < 1


def test_motion_does_not_reach_across_a_gap():
    poses = np.column_stack([np.arange(10.0) * 4, np.zeros(10), np.zeros(10)])
    poses[6:, 0] += 50
    poses[5] = np.nan
    velocity, acceleration = ego_motion(poses)
    np.testing.assert_allclose(velocity[[0, 4, 6, 9]], [[8, 0]] * 4)
    np.testing.assert_allclose(acceleration[[0, 4, 6, 9]], 0, atol=1e-6)
    assert np.isnan(velocity[5]).all()


def test_velocities_come_from_both_sides_and_the_recorded_one_only_where_there_is_no_other():
    x = np.array([[0.0, 1, 4, 9, 0, 5]])
    poses = np.stack([x, 0 * x, 0 * x], -1)
    valid = np.array([[True, True, True, True, False, True]])
    recorded = np.full((1, 6, 2), 7.0)
    speed = track_velocity(poses, valid, recorded)[0, :, 0]
    np.testing.assert_allclose(speed[[0, 1, 2, 3, 5]], [2, 4, 8, 10, 7])


@pytest.mark.skipif(not SCENES.is_dir(), reason="no real data")
def test_the_recorded_ego_is_the_rear_axle():
    """In a turn the rear axle alone moves along the heading: other points slip sideways."""
    recorded = read_scenario(SCENES / "sd_nuscenes_v1.0-mini_scene-0061.pkl", ego_ahead_m=0.0).ego_poses[:-1]
    slip = {}
    for ahead_m in (-1.4, 0.0, 1.4):
        velocity, _ = ego_motion(compose(recorded, np.broadcast_to([ahead_m, 0.0, 0.0], recorded.shape)))
        slip[ahead_m] = np.sqrt((velocity[:, 1] ** 2).mean())
    assert slip[0.0] < 0.05 and min(slip[-1.4], slip[1.4]) > 4 * slip[0.0]
