"""Values as they are typed behind `key=`: written by hand where quotes matter, and read back by Hydra."""

from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from latentdrive.overrides import quoted, typed


def read(text: str) -> Any:
    """What Hydra reads from `key=text`."""
    return OverridesParser.create().parse_override(f"key={text}").value()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "True"),
        (0.5, "0.5"),
        ("data/clips", "data/clips"),
        ("true", "'true'"),  # without quotes Hydra reads a truth value
        ("12", "'12'"),  # and a number here
        ("null", "'null'"),
        ("", ""),  # Hydra reads an empty string from `key=`
        ("a,b", "'a,b'"),  # a sweep of two values
        ("it's", r"'it\'s'"),
        ([1, "a,b", None], "[1,'a,b',null]"),
        ({"poses": "recorded", "size": [4, 8]}, "{poses:recorded,size:[4,8]}"),
    ],
)
def test_values_are_quoted_only_where_hydra_would_read_something_else(value: Any, text: str):
    assert typed(value) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"C:\clips", r"'C:\clips'"),  # a backslash before another letter stays as it is
        ("C:\\", r"'C:\\'"),  # one before the closing quote is doubled
        (r"a\'b", r"'a\\\'b'"),  # one before a quote is doubled, and the quote escaped
    ],
)
def test_backslashes_are_doubled_before_quotes_alone(text: str, expected: str):
    assert quoted(text) == expected


@pytest.mark.parametrize(
    "value",
    [
        *("it's", "'", '"both\' kinds"', "\\", r"a\'b", r"a\\'", r"ends in \\", " spaces ", "a=b", "[1,2]", "{a:b}"),
        *("1e3", "nan", "ümlaut", "~", "#5", "glob(*)", ["1", 1, "x, y"], {"a": {"b": ["it's", False]}}, [], {}),
    ],
    ids=repr,
)
def test_hydra_reads_the_same_value_back(value: Any):
    result = read(typed(value))
    assert result == value and type(result) is type(value)
