"""The time that is left follows the pace of the steps that are done."""

from latentdrive.commands.time_left import TimeLeft


def test_the_pace_of_this_machine_counts_once_enough_is_done():
    time_left = TimeLeft({"first": 4, "second": 60, "third": 600})
    assert time_left.seconds(["second", "third"]) == 660
    time_left.done("first", 40.0)  # too short to believe
    assert time_left.seconds(["second", "third"]) == 660
    time_left.done("second", 120.0)
    assert time_left.seconds(["third"]) == 600 * 160 / 64


def test_words():
    time_left = TimeLeft({"a": 600, "b": 34, "c": 1})
    assert time_left.words(["a", "b"]) == "about 11 min left"
    assert time_left.words(["b"]) == "about 30 s left" and time_left.words(["c"]) == "about 10 s left"
