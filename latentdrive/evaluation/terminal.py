"""The terminal output of an evaluation: a table of means with intervals, the failures, the latency
and the audit.
"""

import io
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from latentdrive.counting import counted
from latentdrive.evaluation.audit import AuditFinding
from latentdrive.evaluation.summary import STAGES, as_interval

WIDTH = 110


def score_table(summary: Mapping[str, Any]) -> str:
    """Total and sub-scores of a summary as text; of two stages the combined ones, followed by the
    means of each stage."""
    table = Table(title=f"{summary['scorer']}, {_scenes_of_drives(summary)}")
    stages = [stage for stage in STAGES if stage in summary]
    columns = ["", "combined" if stages else "mean", "95 % interval by drive", "scenes"]
    for number, name in enumerate(columns + [stage.replace("_", " ") for stage in stages]):
        table.add_column(name, justify="right" if number else "left")
    for name, mean in {"score": summary["score"], **summary["sub_scores"]}.items():
        if mean is not None:
            ends = as_interval(mean).ends(".4f", between="{} to {}")
            cells = [name, f"{mean['mean']:.4f}", ends, f"{mean['scenes']:,}"]
            of_stages = [{"score": summary[stage]["score"], **summary[stage]["sub_scores"]}[name] for stage in stages]
            cells += [f"{stage_mean['mean']:.4f}" for stage_mean in of_stages]
            table.add_row(*cells, style="bold" if name == "score" else None, end_section=name == "score")
    text = io.StringIO()
    Console(file=text, width=WIDTH).print(table)
    return text.getvalue().rstrip()


def _scenes_of_drives(summary: Mapping[str, Any]) -> str:
    return f"{counted(summary['scenes'], 'scene')} of {counted(summary['drives'], 'drive')}"


def failure_lines(summary: Mapping[str, Any]) -> list[str]:
    """How many scenes failed, and the mean that the devkit would print without them; nothing if
    none failed."""
    if not summary["failed"]:
        return []
    token, reason = next(iter(summary["failures"].items()))
    lines = [
        f"{summary['failed']:,} of {counted(summary['scenes'], 'scene')} failed and score 0; the first one is {token}: "
        f"{reason}"
    ]
    if STAGES[0] in summary:
        return lines
    without = summary["devkit_mean_without_failed_scenes"]
    mean = "undefined, no scene is left" if without is None else f"{without:.4f}"
    return [*lines, f"mean without them, as the devkit prints it: {mean}"]


def mapping_lines(mapping: Mapping[str, Any] | None) -> list[str]:
    """For two stages: how many entries of the mapping are scored, which are not and why, and how
    traffic behaves."""
    if mapping is None:
        return []
    entries = counted(mapping["entries"], "entry", "entries")
    lines = [f"two stages: {entries} of the split's mapping; other cars: {mapping['traffic']}"]
    if left_out := mapping["left_out"]:
        lines.append(f"left out: {counted(len(left_out), 'entry', 'entries')}:")
        lines += [f"  {token}: {reason}" for token, reason in left_out.items()]
    return lines


def latency_lines(latency: Mapping[str, Any] | None, *, reads_store: bool) -> list[str]:
    """How long planning takes and on what device; nothing if it was not measured.

    reads_store: the planner read its embeddings from a latent store, so the network that computes
    them is not included.
    """
    if latency is None:
        return []
    threads = f", {counted(latency['threads'], 'thread')}" if latency["device"] == "cpu" else ""
    device = f"{latency['device']}{threads}"
    line = (
        f"planning takes {latency['ms_batch_1_median']:.3g} ms for one scene (95 % below "
        f"{latency['ms_batch_1_p95']:.3g} ms), "
        f"{latency['ms_per_scene_median']:.3g} ms per scene in batches of {latency['batch']}; measured on {device}"
    )
    return [line + ("; without the network that filled the latent store" if reads_store else "")]


def audit_lines(findings: Iterable[AuditFinding]) -> list[str]:
    """One line for each finding."""
    return [
        f"  {finding.count:>6,} of {finding.of:>6,}  {finding.share:7.2%}  {finding.meaning}"
        if finding.of
        else f"       not examined       {finding.meaning}"
        for finding in findings
    ]
