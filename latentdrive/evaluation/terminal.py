"""What an evaluation says in the terminal: a table of means with intervals, then the audit. Beside summary.py."""

import io
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from latentdrive.evaluation.audit import Finding
from latentdrive.evaluation.summary import STAGES

WIDTH = 110


def score_table(summary: dict[str, Any]) -> str:
    """Total and sub-scores of a summary, as text; of two stages the combined ones, and the means of each stage."""
    table = Table(title=f"{summary['scorer']}, {summary['scenes']:,} scenes of {summary['drives']:,} drives")
    stages = [stage for stage in STAGES if stage in summary]
    names = (
        "",
        "combined" if stages else "mean",
        "95 % interval by drive",
        "scenes",
        *(stage.replace("_", " ") for stage in stages),
    )
    for number, name in enumerate(names):
        table.add_column(name, justify="right" if number else "left")
    rows = {"score": summary["score"], **summary["sub_scores"]}
    for name, one in rows.items():
        if one is not None:
            cells = [name, f"{one['mean']:.4f}", f"{one['low']:.4f} to {one['high']:.4f}", f"{one['scenes']:,}"]
            of_stages = [{"score": summary[stage]["score"], **summary[stage]["sub_scores"]}[name] for stage in stages]
            cells += [f"{each['mean']:.4f}" for each in of_stages]
            table.add_row(*cells, style="bold" if name == "score" else None, end_section=name == "score")
    text = io.StringIO()
    Console(file=text, width=WIDTH).print(table)
    return text.getvalue().rstrip()


def failure_lines(summary: dict[str, Any]) -> list[str]:
    """How many scenes failed and what the devkit would make of it; nothing where none did."""
    if not summary["failed"]:
        return []
    token, reason = next(iter(summary["failures"].items()))
    lines = [
        f"{summary['failed']:,} of {summary['scenes']:,} scenes failed and score 0; the first one: {token}: {reason}"
    ]
    if STAGES[0] in summary:
        return lines
    without = summary["devkit_mean_without_failed_scenes"]
    return [
        *lines,
        f"mean without them, as the devkit prints it: {'none is left' if without is None else f'{without:.4f}'}",
    ]


def mapping_lines(mapping: Mapping[str, Any] | None) -> list[str]:
    """Of two stages: how many entries of the mapping count, which do not and why, and what their numbers can be compared with."""
    if mapping is None:
        return []
    lines = [f"two stages: {mapping['entries']:,} entries of the split's mapping; other cars: {mapping['traffic']}"]
    if left_out := mapping["left_out"]:
        lines.append(f"{len(left_out):,} entries are left out, nothing else is:")
        lines += [f"  {token}: {reason}" for token, reason in left_out.items()]
    return lines


def latency_lines(latency: Mapping[str, Any] | None, *, reads_store: bool) -> list[str]:
    """How long planning takes, on what; nothing where it was not measured. reads_store: its embeddings lay ready in a latent store."""
    if latency is None:
        return []
    where = f"{latency['device']}, {latency['threads']} threads" if latency["device"] == "cpu" else latency["device"]
    return [
        f"planning takes {latency['ms_batch_1_median']:.3g} ms for one scene (95 % below {latency['ms_batch_1_p95']:.3g} ms), "
        f"{latency['ms_per_scene_median']:.3g} ms a scene for {latency['batch']} at once; {where}"
        + ("; without the network that filled the latent store" if reads_store else "")
    ]


def audit_lines(findings: Iterable[Finding]) -> list[str]:
    """One line a finding."""
    return [
        f"  {one.count:>6,} of {one.of:>6,}  {one.share:7.2%}  {one.says}"
        if one.of
        else f"       not asked          {one.says}"
        for one in findings
    ]
