"""Raw progress by hand (spec 6.5): arc length between two projections of the car's middle."""

import numpy as np
import pytest

from tests.support.made_scenes import MIDDLE_M, centreline, driving, judged, made_scene


def progress(states: np.ndarray, line: np.ndarray) -> float:
    return judged(made_scene(line=line), states).progress_m.item()


ALONG_X = centreline((-20, 0), (80, 0))


def test_a_straight_line_gives_the_way_driven():
    assert progress(driving(5.0), ALONG_X) == pytest.approx(20.0, abs=1e-9)
    assert progress(driving(5.0, y=1.0), ALONG_X) == pytest.approx(20.0, abs=1e-9)


def test_reversing_is_no_negative_progress():
    assert progress(driving(-5.0), ALONG_X) == 0.0


def test_projections_are_held_at_both_ends_of_the_line():
    # The line ends at x = 10: 10 - 1.461 m are left. It begins at x = 5: of 21.461 m only those from 5 on count.
    assert progress(driving(5.0), centreline((-20, 0), (10, 0))) == pytest.approx(10 - MIDDLE_M, abs=1e-9)
    assert progress(driving(5.0), centreline((5, 0), (80, 0))) == pytest.approx(20 + MIDDLE_M - 5, abs=1e-9)


def test_the_way_round_a_corner_is_measured_along_the_line():
    # East to x = 50, then north. At the end the middle is at (50, 20): 50 - 1.461 + 20 m from where it was.
    states = driving(0.0)
    states[-1, :3] = [50.0, 20.0 - MIDDLE_M, np.pi / 2]
    assert progress(states, centreline((-20, 0), (50, 0), (50, 60))) == pytest.approx(70 - MIDDLE_M, abs=1e-9)


def test_vertices_that_coincide_change_nothing():
    assert progress(driving(5.0), centreline((-20, 0), (10, 0), (10, 0), (80, 0))) == pytest.approx(20.0, abs=1e-9)


def test_of_equally_near_places_the_first_counts():
    # Out along y = 0 and back along y = 4; at the end the car is 2 m from both, 20 m along the first.
    line = centreline((-20, 0), (60, 0), (60, 4), (-20, 4))
    y = np.zeros(41)
    y[-1] = 2.0
    assert progress(driving(5.0, y=y), line) == pytest.approx(20.0, abs=1e-9)


def test_only_now_and_the_end_count():
    wild = driving(5.0)
    wild[1:40, :2] = 77.0
    assert progress(wild, ALONG_X) == pytest.approx(20.0, abs=1e-9)
