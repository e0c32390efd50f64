"""Video as clips: presentation times, cuts, repeated frames, standstill, parts, and every kind of bad file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_helpers import folder, passing, write_video


def test_frames_lie_on_an_even_grid_of_presentation_times(drive: Callable[..., Path]):
    clip = folder(drive(seconds=4.0))[0]
    assert clip.frames.shape == (40, 3, 48, 80)
    np.testing.assert_allclose(clip.times_s, np.arange(40) / 10, atol=2e-3)


def test_recorded_poses_follow_the_frames(drive: Callable[..., Path]):
    clip = folder(drive(seconds=2.0))[0]
    np.testing.assert_allclose(clip.ego_poses[:, 0], 10 * (clip.times_s - clip.times_s[0]), atol=1e-3)
    np.testing.assert_allclose(clip.ego_speed_mps, 10.0)
