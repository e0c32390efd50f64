"""The ego's past: interpolated at true time stamps, without the last row. Worked by hand, and
compared with the devkit.
"""

from dataclasses import replace

import numpy as np
import pytest

from latentdrive.errors import UnreadableScene
from latentdrive.pdms.history import ego_history, ego_state
from latentdrive.types import SceneTruth
from tests.support.golden_files import SCENES, every_file, golden
from tests.support.recorded_traffic import truth


def moving(*stamps: int) -> SceneTruth:
    """Four frames at these times: x 0, 1, 3, 6 m; heading 3.0, then across pi; forward speed 2, 4, 4, 8 m/s."""
    scene, headings = truth(), (3.0, -3.0, -2.8, -2.8)
    past = tuple(
        replace(
            frame,
            timestamp_us=stamp,
            ego_pose=np.array([x, 5.0, heading]),
            velocity=np.array([speed, 0.5], np.float32),
            acceleration=np.array([0.1, -speed], np.float32),
        )
        for frame, stamp, x, heading, speed in zip(scene.frames, stamps, (0, 1, 3, 6), headings, (2, 4, 4, 8))
    )
    return replace(scene, frames=(*past, *scene.frames[4:]))


def test_the_state_of_a_frame_keeps_single_precision_and_knows_no_steering():
    state = ego_state(moving(0, 500_000, 1_000_000, 1_500_000).frames[0])
    assert state.tolist() == [0, 5, 3, 2, 0.5, float(np.float32(0.1)), -2, 0, 0, 0, 0]


def test_frames_half_a_second_apart_give_fourteen_rows_that_end_two_steps_before_now():
    start = 1_600_000_000_000_000
    history = ego_history(moving(*(start + 500_000 * i for i in range(4))))
    assert history.shape == (14, 11)
    turn = 2 * np.pi - 6.0
    np.testing.assert_allclose(history[2, [0, 2, 3, 6]], [0.4, np.pi - (np.pi - 3 - 0.4 * turn), 2.8, -2.8], atol=1e-12)
    np.testing.assert_allclose(history[5, [0, 2, 3, 6]], [1, -3.0, 4, -4], atol=1e-12)
    np.testing.assert_allclose(
        history[13, [0, 1, 3, 4]], [4.8, 5, 6.4, 0.5], atol=1e-12
    )  # at 1.3 s: 0.6 of the last interval
    assert (history[:, 7:] == 0).all()


def test_a_microsecond_more_gives_a_row_more_and_a_gap_gives_many():
    assert len(ego_history(moving(0, 500_000, 1_000_000, 1_500_001))) == 15
    assert len(ego_history(moving(0, 500_000, 1_000_000, 1_400_000))) == 13
    long = ego_history(moving(0, 500_000, 2_000_000, 2_500_000))
    assert len(long) == 24
    np.testing.assert_allclose(long[10, 0], 1 + 2 / 3, atol=1e-12)  # by true time stamps, not nominal half seconds


def test_too_short_a_past_and_time_that_stands_still_are_named():
    scene = moving(0, 500_000, 1_000_000, 1_500_000)
    with pytest.raises(
        UnreadableScene, match=r"scene scene has 2 frames before now.*needs 3: use .*num_history_frames=4"
    ):
        ego_history(replace(scene, frames=scene.frames[1:], now=2))
    with pytest.raises(UnreadableScene, match=r"time stamps of frames do not rise: \[0, 500000, 500000, 1500000\]"):
        ego_history(moving(0, 500_000, 500_000, 1_500_000))


@every_file
def test_history_and_state_are_the_devkits(name: str):
    for number in range(SCENES):
        answer, scene = golden(name).answers(number), golden(name).truth(number)
        expected = np.array(answer["v2"]["history_states_10hz"])
        history = ego_history(scene)
        assert history.shape == expected.shape
        np.testing.assert_allclose(history, expected, rtol=0, atol=1e-9)
        np.testing.assert_allclose(ego_state(scene.frames[scene.now]), answer["ego_state"], rtol=0, atol=1e-9)
