"""Intervals by drive, worked out by hand."""

import math

import numpy as np
import pytest

from latentdrive.errors import WrongShape
from latentdrive.statistics import (
    auroc_by_drive,
    bootstrap_by_drive,
    drives_needed,
    evenly_spread,
    over_trainings,
    ratio_by_drive,
    recording_of,
    recordings,
    upper_tail_probability,
)


def test_the_mean_is_over_windows_and_the_interval_over_drives():
    # Two drives, each with equal windows: the interval reaches from one drive's value to the other's.
    interval = bootstrap_by_drive(np.array([0.0] * 3 + [1.0] * 1), ["a"] * 3 + ["b"])
    assert (interval.mean, interval.low, interval.high) == (0.25, 0.0, 1.0)
    assert (interval.drives, interval.values) == (2, 4)
    assert str(interval) == "0.2500 [0.0000, 1.0000] (4 windows of 2 drives)"


def test_windows_of_one_drive_do_not_make_it_surer():
    rng = np.random.default_rng(0)
    level = rng.normal(size=30)
    few = bootstrap_by_drive(level, [str(i) for i in range(30)])
    many = bootstrap_by_drive(np.repeat(level, 50), [str(i) for i in range(30) for _ in range(50)])
    assert (many.low, many.high) == pytest.approx((few.low, few.high))
    assert few.high - few.low == pytest.approx(2 * 1.96 * level.std() / 30**0.5, rel=0.15)


def test_few_trainings_that_lie_apart_say_little_of_all():
    # All drives are alike, so only Student's t over three means remains: 4.303 · 0.1 / √3.
    interval = over_trainings(np.array([[0.1] * 4, [0.2] * 4, [0.3] * 4]), list("aabb"))
    assert interval.mean == pytest.approx(0.2) and interval.high - interval.mean == pytest.approx(
        4.3027 * 0.1 / 3**0.5, rel=1e-4
    )
    assert interval.mean - interval.low == pytest.approx(interval.high - interval.mean) and interval.drives == 2
    # If all trainings agree, only the interval over drives remains.
    alike, drives = np.tile(np.random.default_rng(0).normal(size=40), (2, 1)), [str(number) for number in range(40)]
    trainings, drives_alone = over_trainings(alike, drives), bootstrap_by_drive(alike[0], drives)
    assert trainings.high - trainings.low == pytest.approx(drives_alone.high - drives_alone.low)
    with pytest.raises(WrongShape, match="got 1 training, which does not show"):
        over_trainings(alike[:1], drives)


def test_a_constant_difference_has_no_width():
    interval = bootstrap_by_drive(np.full(10, 0.3), list("aabbccddee"))
    assert interval.low == pytest.approx(0.3) and interval.high == pytest.approx(0.3)


def test_one_drive_has_no_interval():
    values, drives = np.array([0.2, 0.4]), ["d", "d"]
    for interval in (
        bootstrap_by_drive(values, drives),
        ratio_by_drive(values, np.ones(2), drives),
        over_trainings(np.stack([values, values + 0.1]), drives),
    ):
        assert math.isnan(interval.low) and math.isnan(interval.high) and interval.drives == 1
    alone = bootstrap_by_drive(values, drives)
    assert alone.within("+.2f") == "+0.30 (one drive: no interval)" and alone.ends(".3f") == "one drive: no interval"
    assert str(alone) == "0.3000 (one drive: no interval) (2 windows of 1 drive)"
    assert str(bootstrap_by_drive(values[:1], ["d"])).endswith("(1 window of 1 drive)")
    both = bootstrap_by_drive(values, ["d", "e"])
    assert both.within(".1f") == "0.3 [0.2, 0.4]" and both.ends(".1f", between="{} to {}") == "0.2 to 0.4"


def test_logs_of_one_recording_are_one_drive():
    logs = [f"2021.05.25.14.16.10_veh-35_{start}_{start + 99:05d}" for start in (100, 1690)]
    other = "2021.05.25.14.16.10_veh-38_00100_00199"
    assert recording_of(logs[0]) == recording_of(logs[1]) == "2021.05.25.14.16.10_veh-35" != recording_of(other)
    for name in ("latentdrive_test_00012", "highway_natural_00012", "scene-0061", "car|day", "veh-35"):
        assert recording_of(name) == name  # already a recording
    values = np.array([0.0, 1.0])
    assert bootstrap_by_drive(values, logs).drives == 1 and bootstrap_by_drive(values, [logs[0], other]).drives == 2
    assert drives_needed(values, logs) is None
    names, place = recordings(np.array([7, 30, 7]))  # numbers keep their order
    assert names.tolist() == [7, 30] and place.tolist() == [0, 1, 0]


def test_one_drive_a_value_or_an_error():
    with pytest.raises(WrongShape, match="got 2 values and 1 drive: give"):
        bootstrap_by_drive(np.zeros(2), ["a"])


def test_the_chance_of_a_sample_by_hand():
    # 2 of 5 are marked; of the 10 pairs, 3 hold none of them, 6 one and 1 both.
    assert [upper_tail_probability(count, drawn=2, marked=2, of=5) for count in (0, 1, 2, 3)] == [1.0, 0.7, 0.1, 0.0]
    # If everything is drawn, nothing is left to chance.
    assert [upper_tail_probability(count, drawn=5, marked=2, of=5) for count in (2, 3)] == [1.0, 0.0]
    assert upper_tail_probability(1, drawn=8, marked=10, of=1000) == pytest.approx(1 - 0.99**8, abs=1e-3)


def test_the_drives_that_a_difference_needs_by_hand():
    # Drives at 0 and 0.4: mean 0.2, sd 0.2828, (1.96 · 0.2828 / 0.2)² = 7.68.
    assert drives_needed(np.array([0.0, 0.4]), ["x", "y"]) == 8
    # More windows a drive, that scatter within it, change nothing; nor does the sign.
    assert drives_needed(-np.array([-0.1, 0.1, 0.3, 0.5]), list("xxyy")) == 8
    # Four drives at 1, 1, 1, 5: mean 2, variance 12 / 3 = 4, 1.96² · 4 / 4 = 3.84.
    assert drives_needed(np.array([1.0, 1.0, 1.0, 5.0]), list("abcd")) == 4
    # Unequal drives: 0, 0, 0 and 1. The mean is 0.25, with two values a drive on average. The sums of
    # deviations are -0.75 and 0.75; halved, their variance is 0.28125.
    assert drives_needed(np.array([0.0, 0.0, 0.0, 1.0]), list("xxxy")) == int(3.8416 * 0.28125 / 0.0625) + 1 == 18


def test_no_number_of_drives_is_named_where_none_follows():
    assert drives_needed(np.array([-1.0, 1.0]), ["x", "y"]) is None  # there is no difference
    assert drives_needed(np.array([1.0, 2.0]), ["x", "x"]) is None  # one drive does not show how drives differ
    assert drives_needed(np.array([0.5, 0.5]), ["x", "y"]) == 1
    with pytest.raises(WrongShape, match="drives_needed got 2 values and 1 drive: give"):
        drives_needed(np.zeros(2), ["a"])


def test_an_even_sample_has_both_ends_and_never_a_row_twice():
    assert evenly_spread(10, 4) == [0, 3, 6, 9] and evenly_spread(3, 8) == [0, 1, 2] and evenly_spread(0, 4) == []


def test_auroc_is_the_share_of_pairs_in_the_right_order():
    # Positives 3 and 1, negatives 2, 1 and 0: of six pairs 3 beats three, 1 beats one and ties with one.
    told = auroc_by_drive(np.array([3.0, 1.0, 2.0, 1.0, 0.0]), np.array([1, 1, 0, 0, 0], bool), ["a"] * 5)
    assert told.mean == pytest.approx(4.5 / 6) and math.isnan(told.low) and (told.drives, told.values) == (1, 5)


def test_auroc_draws_whole_drives():
    rng = np.random.default_rng(1)
    ranks, drives = np.round(rng.normal(size=300), 1), rng.integers(0, 20, 300)
    positive = rng.random(300) < 1 / (1 + np.exp(2 - ranks))
    told = auroc_by_drive(ranks, positive, [f"d{drive}" for drive in drives], samples=400, seed=3)

    def area(rows: np.ndarray) -> float:
        above, below = ranks[rows][positive[rows]], ranks[rows][~positive[rows]]
        return float(((above[:, None] > below) + 0.5 * (above[:, None] == below)).mean())

    names, group = recordings([f"d{drive}" for drive in drives])
    draws = np.random.default_rng(3).integers(0, len(names), (400, len(names)))
    drawn = [area(np.concatenate([np.flatnonzero(group == drive) for drive in draw])) for draw in draws]
    assert told.mean == pytest.approx(area(np.arange(300)))
    assert (told.low, told.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_auroc_needs_both_kinds():
    assert auroc_by_drive(np.arange(3.0), np.zeros(3, bool), ["a", "b", "c"]) is None
    assert auroc_by_drive(np.arange(3.0), np.ones(3, bool), ["a", "b", "c"]) is None
    with pytest.raises(WrongShape, match="auroc_by_drive got 3 values, 3 labels and 2 drives"):
        auroc_by_drive(np.arange(3.0), np.ones(3, bool), ["a", "b"])
