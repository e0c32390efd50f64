"""The constant-velocity baseline, by hand."""

import numpy as np

from latentdrive.pdms.straight_ahead import straight_ahead


def test_the_speed_is_the_length_of_the_velocity_and_the_heading_is_kept():
    poses = straight_ahead(np.array([3.0, -4.0], np.float32), np.array([0.5, 1.0, 4.0]))
    assert poses.dtype == np.float32
    np.testing.assert_array_equal(poses, [[2.5, 0, 0], [5, 0, 0], [20, 0, 0]])
