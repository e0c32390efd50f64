"""Kinds of configuration values: what fits an annotation, and the sentence where it doesn't."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from latentdrive.kinds import Count, Positive, Whole, fits, in_words, kind_like, misfit, mismatch


class Colour(StrEnum):
    RED = "red"


FITTING = [
    (int, 3), (float, 3), (float, 0.5), (bool, True), (str, "x"), (int | None, None), (None, None),
    (list[int], [1, 2]), (Sequence[str], ["a"]), (tuple[int, int], [1, 2]), (tuple[int, ...], [1, 2, 3]),
    (Mapping[str, Any], {"a": 1}), (dict, {}), (Path, "x"), (str | Path, "x"), (Literal[64, "64"], "64"),
    (Colour, "red"),
    (Count, 1), (Whole, 0), (Positive, 0.1), (Count | None, None),
    (Any, 3), (Callable[..., int], "x"), (Colour | None, None), (float | Sequence[float], [1, 2.5]),
]  # fmt: skip
ODD = [
    (int, "four"), (int, True), (int, 2.5), (float, "fast"), (float, False), (bool, 1), (bool, "yes"), (str, 3),
    (int | None, "x"), (list[int], ["a"]), (Sequence[str], "a"), (tuple[int, int], ["a", 2]), (Mapping[str, Any], 3),
    (Mapping[str, int], {"a": "b"}),
    (Count, 0), (Positive, 0), (Whole | None, -1), (Path, 5),
    (Literal[64, "64"], 63), (Literal[1], True), (Colour, "blue"), (None, 0),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value"), FITTING)
def test_what_fits(kind, value):
    assert fits(value, kind) and mismatch("key", value, kind) is None


@pytest.mark.parametrize(("kind", "value"), ODD)
def test_what_does_not(kind, value):
    assert not fits(value, kind) and mismatch("key", value, kind).startswith("key=")


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (int, "four", "batches.n=four: expected a whole number"),
        (int | None, "x", "batches.n=x: expected a whole number or null"),
        (str, 2026, "batches.n=2026: expected text; for the text 2026 write batches.n=\"'2026'\""),
        (list[str], "train", "batches.n=train: expected a list [text, ...], as in batches.n=[train]"),
        (Literal["a", "b"], "c", "batches.n=c: expected one of a, b"),
        (bool, "a" * 99, f"batches.n={'a' * 57}...: expected true or false"),
    ],
)
def test_what_is_said(kind, value, said):
    assert mismatch("batches.n", value, kind) == said


class Interval(TypedDict):
    mean: float
    low: NotRequired[float | None]


@pytest.mark.parametrize("value", [{"mean": 1}, {"mean": 1.5, "low": None}, {"mean": 1, "unknown": object()}])
def test_what_fits_a_form(value):
    assert fits(value, Interval) and misfit(value, Interval) is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({}, "mean is missing"),
        ({"mean": "x"}, "mean=x: expected a number"),
        ({"mean": 10**400}, "mean=1000"),
        ({"mean": 1, "low": []}, "low=[]: expected a number or null"),
    ],
)
def test_what_does_not_fit_a_form(value, said):
    assert not fits(value, Interval) and misfit(value, Interval).startswith(said)
    assert mismatch("of", {"a": value}, dict[str, Interval]).startswith("of=")
    assert mismatch("of", [], Interval) == "of=[]: expected a mapping with mean"


def test_a_default_tells_the_kind():
    assert [kind_like(value) for value in (True, 1, 0.5, "a", [], {})] == [bool, int, float, str, list, dict]
    assert kind_like(None) is Any and kind_like("???") is Any


def test_every_kind_has_words():
    assert in_words(int | list[float] | None) == "a whole number or a list [a number, ...] or null"
