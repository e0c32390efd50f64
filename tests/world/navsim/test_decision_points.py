"""Decision points: deviations worked out by hand, and scenes chosen equally from the drives."""

import numpy as np

from latentdrive.world.navsim.decision_points import dealt, deviation_m


def test_a_straight_drive_at_constant_speed_never_deviates():
    ego = np.stack([5.0 * np.arange(12), np.zeros(12), np.zeros(12)], -1)
    deviations = deviation_m(ego, np.full(12, 10.0), horizon=8, step_s=0.5)
    assert np.isnan(deviations[4:]).all() and np.abs(deviations[:4]).max() < 1e-9


def test_an_ego_that_stops_deviates_by_the_distance_not_driven():
    ego = np.zeros((10, 3))
    deviations = deviation_m(ego, np.full(10, 3.0), horizon=8, step_s=0.5)
    assert deviations[0] == 12.0  # 3 m/s for 4 s


def test_deviations_are_measured_in_the_ego_frame_of_each_moment():
    heading = np.pi / 2
    ego = np.stack([np.zeros(9), 2.0 * np.arange(9), np.full(9, heading)], -1)
    assert deviation_m(ego, np.full(9, 4.0), horizon=8, step_s=0.5)[0] < 1e-9


def test_scenes_are_chosen_equally_from_drives_and_spread_inside_each():
    drives = [list(range(3, 13)), [7], [3, 4, 5, 6]]
    chosen = dealt(drives, 9)
    assert chosen == [[5, 6, 9, 10], [7], [3, 4, 5, 6]]
    assert dealt(drives, 100) == drives and dealt([[], []], 3) == [[], []]


def test_scenes_are_chosen_with_the_one_half_a_second_before():
    for length in range(1, 12):
        drive = list(range(length))
        for count in range(1, length + 1):
            (chosen,) = dealt([drive], count)
            assert len(set(chosen)) == count and chosen == sorted(chosen)
            assert sum(row - 1 in chosen for row in chosen) >= count // 2


def test_moments_that_are_not_successive_are_no_pair():
    assert dealt([[3, 5, 6, 9, 11, 12]], 4) == [[5, 6, 11, 12]]
    assert dealt([[3, 5, 7]], 2) == [[3, 5]]  # no pairs: the first moments
