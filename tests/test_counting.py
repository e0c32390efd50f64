"""Numbers and their nouns."""

import numpy as np

from latentdrive.counting import counted, noun_of


def test_one_of_a_thing_is_singular_and_everything_else_is_plural():
    assert [counted(count, "drive") for count in (0, 1, 2, 1234)] == ["0 drives", "1 drive", "2 drives", "1,234 drives"]
    assert counted(1, "trajectory", "trajectories") == "1 trajectory"
    assert [noun_of(count, "points_wanted") for count in (1, 2)] == ["point wanted", "points wanted"]
    assert noun_of(1, "unreadable") == "unreadable" and noun_of(1, "drives") == "drive"
    assert counted(np.int64(2), "trajectory", "trajectories") == "2 trajectories"
