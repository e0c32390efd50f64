"""Driving commands worked out by hand: on which side a line lies after 20 m, seen from its point next to the ego."""

import numpy as np
import pytest

from latentdrive.data.maps.driving_command import command_along, direction_at
from latentdrive.types import Command

NORTH = np.pi / 2


def bent(aside_m: float) -> np.ndarray:
    """A line that goes north, moves `aside_m` to the west between y = 10 and y = 20, and goes north again."""
    return np.array([[0.0, -20.0], [0.0, 10.0], [-aside_m, 20.0], [-aside_m, 60.0]])


@pytest.mark.parametrize(
    ("aside_m", "command"),
    [
        (2.5, Command.LEFT),
        (1.0, Command.STRAIGHT),
        (-1.0, Command.STRAIGHT),
        (-2.5, Command.RIGHT),
        (0.0, Command.STRAIGHT),
    ],
)
def test_two_metres_to_a_side_are_a_turn(aside_m: float, command: Command):
    # The line is a little longer than 20 m where it bends: the point lies just before its second corner.
    assert command_along(bent(aside_m), np.array([0.5, 0.0, NORTH])) == command


def test_it_is_seen_from_the_line_not_from_the_ego():
    line = bent(2.5)
    turned = np.array([0.0, 0.0, NORTH + 0.4])  # the ego's own heading changes nothing
    assert command_along(line, turned) == Command.LEFT


def test_the_command_is_unknown_where_the_line_ends_or_the_pose_is_unknown():
    assert command_along(bent(0.0), np.array([0.0, 41.0, NORTH])) == Command.UNKNOWN
    assert command_along(bent(0.0), np.array([0.0, np.nan, NORTH])) == Command.UNKNOWN


def test_repeated_points_have_no_direction_of_their_own():
    joined = np.array([[0.0, 0.0], [5.0, 0.0], [5.0, 0.0], [5.0, 5.0]])
    assert direction_at(joined, 2.0) == 0.0 and direction_at(joined, 5.0) == pytest.approx(NORTH)
    assert direction_at(joined, 99.0) == pytest.approx(NORTH)
