"""Shares of kinds over the drives of a split, and seeds of splits."""

from collections import Counter

from latentdrive.world.shares import in_shares, split_seed


def test_shares_are_exact_up_to_rounding_for_any_number_of_drives():
    shares = {"street": 0.5, "highway": 0.25, "circle": 0.25, "never": 0.0}
    for count in range(1, 40):
        numbers = Counter(in_shares(shares, count))
        assert sum(numbers.values()) == count and numbers["never"] == 0
        assert all(abs(numbers[kind] - share * count) <= 1 for kind, share in shares.items())
    assert in_shares(shares, 0) == []


def test_shares_need_not_sum_to_one_and_kinds_keep_their_order():
    assert in_shares({"b": 1.0, "a": 3.0}, 4) == ["b", "a", "a", "a"]


def test_splits_have_different_seeds_that_never_change():
    assert split_seed("train") != split_seed("val")
    assert split_seed("train") == split_seed("train") < 2**32
