"""What an evaluation says in the terminal: a table of means with intervals, then the audit. Beside summary.py."""

import io
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table

from latentdrive.evaluation.audit import Finding

WIDTH = 110


def score_table(summary: dict[str, Any]) -> str:
    """Total and sub-scores of a summary, as text."""
    table = Table(title=f"{summary['scorer']}, {summary['scenes']:,} scenes of {summary['drives']:,} drives")
    for name, side in (("", "left"), ("mean", "right"), ("95 % interval by drive", "right"), ("scenes", "right")):
        table.add_column(name, justify=side)
    rows = {"score": summary["score"], **summary["sub_scores"]}
    for name, one in rows.items():
        if one is not None:
            cells = (name, f"{one['mean']:.4f}", f"{one['low']:.4f} to {one['high']:.4f}", f"{one['scenes']:,}")
            table.add_row(*cells, style="bold" if name == "score" else None, end_section=name == "score")
    text = io.StringIO()
    Console(file=text, width=WIDTH).print(table)
    return text.getvalue().rstrip()


def failure_lines(summary: dict[str, Any]) -> list[str]:
    """How many scenes failed and what the devkit would make of it; nothing where none did."""
    if not summary["failed"]:
        return []
    token, reason = next(iter(summary["failures"].items()))
    without = summary["devkit_mean_without_failed_scenes"]
    shown = "none is left" if without is None else f"{without:.4f}"
    return [
        f"{summary['failed']:,} of {summary['scenes']:,} scenes failed and score 0; the first one: {token}: {reason}",
        f"mean without them, as the devkit prints it: {shown}",
    ]


def audit_lines(findings: Iterable[Finding]) -> list[str]:
    """One line a finding."""
    return [
        f"  {one.count:>6,} of {one.of:>6,}  {one.share:7.2%}  {one.says}"
        if one.of
        else f"       not asked          {one.says}"
        for one in findings
    ]
