"""Findings about data, as `doctor` prints them."""

from latentdrive.commands.doctor import MARKS
from latentdrive.findings import Finding, Severity, good, lacking, wrong


def test_every_severity_has_a_maker_and_a_mark_of_its_own():
    makers = {Severity.GOOD: good, Severity.LACKING: lacking, Severity.WRONG: wrong}
    assert set(makers) == set(Severity)
    assert all(make("12 clips") == Finding(severity, "12 clips") for severity, make in makers.items())
    assert len({MARKS[severity] for severity in Severity}) == len(Severity)
    assert len({len(mark) for mark in MARKS.values()}) == 1  # texts stand below each other
