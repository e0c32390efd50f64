"""Lane keeping by hand (spec 6.10): twenty steps in a row more than half a metre away, intersections left out of the count."""

import numpy as np
import pytest

from latentdrive.pdms.score import LK
from tests.support.made_scenes import ROAD, STEPS, centreline, driving, judged, made_scene, patch

STEP = np.arange(STEPS)
LINE = centreline((-50, 0), (150, 0))


def verdict(away: np.ndarray | float, *, inside: np.ndarray | None = None, line: np.ndarray = LINE) -> float:
    """The car stands at x = 0, or where `inside` says at x = 60, in an intersection; `away` metres to the left."""
    road = (*ROAD, patch("INTERSECTION", 50, -30, 90, 30))
    x = np.zeros(STEPS) if inside is None else np.where(inside, 60.0, 0.0)
    return judged(made_scene(road=road, line=line), driving(0.0, x=x, y=away)).terms[LK].item()


@pytest.mark.parametrize(("steps", "score"), [(19, 1.0), (20, 0.0), (41, 0.0)])
@pytest.mark.parametrize("first", [0, 7, 20])
def test_twenty_steps_in_a_row_fail(first: int, steps: int, score: float):
    assert verdict(np.where((first <= STEP) & (first + steps > STEP), 0.6, 0.0)) == score


@pytest.mark.parametrize(("away", "score"), [(0.5, 1.0), (-0.5, 1.0), (0.5000001, 0.0), (-0.5000001, 0.0)])
def test_half_a_metre_is_near_enough(away: float, score: float):
    assert verdict(away) == score


def test_one_step_on_the_line_starts_the_count_anew():
    assert verdict(np.where(STEP == 19, 0.0, 1.0)) == 0.0  # 19 before, 21 after it
    assert verdict(np.where((STEP == 19) | (STEP == 39), 0.0, 1.0)) == 1.0  # 19, 19 and 1


def test_the_count_survives_an_intersection():
    inside = (STEP >= 10) & (STEP < 25)
    away = np.where((STEP < 10) | ((STEP >= 25) & (STEP < 35)), 1.0, 0.0)  # 10 before, on the line inside, 10 after
    assert verdict(away, inside=inside) == 0.0
    away[34] = 0.0
    assert verdict(away, inside=inside) == 1.0  # 10 and 9
    assert verdict(away, inside=np.zeros(STEPS, bool)) == 1.0  # the same outside: 15 steps on the line come between


def test_steps_in_an_intersection_do_not_count():
    assert verdict(1.0, inside=STEP >= 0) == 1.0
    assert verdict(1.0, inside=STEP >= 19) == 1.0
    assert verdict(1.0, inside=STEP >= 20) == 0.0


def test_beyond_the_ends_of_the_line_the_distance_to_its_end_counts():
    # The middle of the car is at x = 1.461.
    assert verdict(0.0, line=centreline((-50, 0), (1.0, 0))) == 1.0  # 0.461 m
    assert verdict(0.0, line=centreline((-50, 0), (0.9, 0))) == 0.0  # 0.561 m


def test_the_nearest_of_several_stretches_counts():
    # Along y = 4 and back along y = 0.
    assert verdict(0.0, line=centreline((-50, 4), (60, 4), (60, 0), (-50, 0))) == 1.0
