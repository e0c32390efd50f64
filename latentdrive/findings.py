"""Findings about data, for `doctor`: a sentence, and how serious it is. The severity is set where
the finding is made.
"""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How serious a finding is."""

    GOOD = "good"  # as it should be
    LACKING = "lacking"  # something is missing that may not be needed
    WRONG = "wrong"  # something must be mended


@dataclass(frozen=True)
class Finding:
    """One line of a report."""

    severity: Severity
    text: str


def good(text: str) -> Finding:
    """A finding that all is well."""
    return Finding(Severity.GOOD, text)


def lacking(text: str) -> Finding:
    """A finding that something is missing."""
    return Finding(Severity.LACKING, text)


def wrong(text: str) -> Finding:
    """A finding that something must be mended."""
    return Finding(Severity.WRONG, text)
