"""The section about planners scored alike on one split: a table, score against latency, and
sub-scores.

evaluations.py decides which planners may stand side by side; gallery.py adds the scenes in which
two of them differ.
"""

from collections.abc import Mapping
from typing import Any

from latentdrive.counting import counted
from latentdrive.evaluation.summary import as_interval
from latentdrive.evaluation.uncertainty import auroc_of
from latentdrive.report.aims import planner_misses
from latentdrive.report.charts import PAINTS, Chart, grouped_bars, points
from latentdrive.report.evaluation_charts import in_words, in_wrapped_words
from latentdrive.report.evaluations import Evaluation, Group
from latentdrive.report.gallery import Gallery
from latentdrive.report.sections import PlannerRow, PlannerTable, Section

ABOUT = (
    "Planners on the same split by the same score, the best first. Intervals: 95 % when whole "
    "drives are resampled. Two planners "
    "whose intervals overlap may still differ reliably scene by scene (compare=[A,B]). A planner "
    "marked privileged is given the "
    "truth: it is a reference, not a competitor. Latency is the time of planning alone, for one "
    "scene at a time as in a car, "
    "without reading the scene from the disk."
)
NONE = float("nan")


def planners_section(group: Group, gallery: Gallery | None) -> Section:
    """Table, charts and gallery of one group."""
    members, first = group.members, group.members[0]
    paints = {member.name: PAINTS[number % len(PAINTS)] for number, member in enumerate(members)}
    charts = [*_score_against_latency(members, paints), *_sub_scores(members, paints)]
    facts = {"score by": str(first.results.version), "split": first.split, "scored in": first.stages}
    return Section(
        title=f"Planners, {group.title}",
        kind="planners",
        about=ABOUT,
        facts=facts
        | _devices(members)
        | {member.name: f"{member.planner} {member.arguments}".strip() for member in members},
        notes=_notes(group),
        misses=_misses(group),
        table=_table(group),
        charts={"Score, latency and sub-scores": charts} if charts else {},
        gallery=gallery,
    )


def _columns(members: list[Evaluation]) -> list[str]:
    """The sub-scores that some member has, in the order of the devkit's columns."""
    known = {name for member in members for name in member.summary["sub_scores"]}
    return [name for name in members[0].results.terms if name in known]


def _table(group: Group) -> PlannerTable:
    names, others = _columns(group.members), [member.name for member in group.on_other_scenes()]
    rows, refines = [], any(member.refined for member in group.members)
    for member in group.members:
        means = [member.summary["sub_scores"].get(name) for name in names]
        cells = [
            _score_cell(member.summary["score"]),
            *((f"{mean['mean']:.3f}" if mean else "–", "") for mean in means),
            (f"{member.summary['scenes']:,}", counted(member.summary["drives"], "drive")),
            (f"{member.summary['failed']:,}", ""),
            _latency_cell(member),
            *([_refined_cell(member)] if refines else []),
        ]
        marks = [*member.marks, *(["other scenes"] if member.name in others else [])]
        rows.append(PlannerRow(name=member.name, planner=member.planner, marks=marks, cells=cells))
    columns = ["score", *map(in_words, names), "scenes", "failed (as 0)", "ms for one scene"]
    columns += ["steps of refinement"] if refines else []
    return PlannerTable(columns=columns, rows=rows)


def _score_cell(score: Mapping[str, Any] | None) -> tuple[str, str]:
    """Mean and interval."""
    if score is None:
        return "–", ""
    return f"{score['mean']:.4f}", as_interval(score).ends(".4f", between="{} to {}")


def _latency_cell(member: Evaluation) -> tuple[str, str]:
    latency = member.latency
    if latency is None:
        return "–", ""
    small_print = f"p95 {latency['ms_batch_1_p95']:.3g}"
    small_print += ", without the network that filled its store" if member.reads_store else ""
    return f"{latency['ms_batch_1_median']:.3g}", small_print


def _refined_cell(member: Evaluation) -> tuple[str, str]:
    """Mean number of steps, and how well the movement of its plans tells those that fail (AUROC, chance 0.5)."""
    told = member.refined
    if told is None:
        return "–", ""
    auroc = "" if told["auroc"] is None else f"movement tells failures: AUROC {auroc_of(told).within('.2f')}"
    return f"{told['mean_steps']:.1f}", auroc


def _score_against_latency(members: list[Evaluation], paints: Mapping[str, str]) -> list[Chart]:
    """Score over milliseconds for one scene; empty where no latency was measured."""
    scored = [member for member in members if member.summary["score"]]
    timed = [member for member in scored if member.latency and not member.reads_store]
    if not timed:
        return []
    score = {member.name: _mean_and_ends(member.summary["score"]) for member in scored}
    return [
        points(
            "Score against latency",
            "Up is better, left is faster. Whiskers: 95 % intervals by drive. Dashed: planners "
            "without a latency of their own, "
            "such as the human driver, or one that reads a teacher's embeddings from a store.",
            {member.name: (member.latency["ms_batch_1_median"], score[member.name]) for member in timed},
            levels={member.name: score[member.name][0] for member in scored if member not in timed},
            across="milliseconds for one scene",
            up="score",
            paints=paints,
        )
    ]


def _sub_scores(members: list[Evaluation], paints: Mapping[str, str]) -> list[Chart]:
    names = _columns(members)
    if not names:
        return []
    means = {
        member.name: [_mean_and_ends(member.summary["sub_scores"].get(name)) for name in names] for member in members
    }
    return [
        grouped_bars(
            "Sub-scores",
            "Mean of every sub-score; 1 is best. Whiskers: 95 % intervals by drive.",
            {name: [mean for mean, _, _ in row] for name, row in means.items()},
            [in_wrapped_words(name) for name in names],
            wide=True,
            within={name: [(low, high) for _, low, high in row] for name, row in means.items()},
            paints=paints,
        )
    ]


def _mean_and_ends(mean: Mapping[str, Any] | None) -> tuple[float, float, float]:
    """Mean, low and high; NaN for what there is not."""
    if mean is None:
        return NONE, NONE, NONE
    interval = as_interval(mean)
    return (interval.mean, interval.low, interval.high) if interval.drives > 1 else (interval.mean, NONE, NONE)


def _devices(members: list[Evaluation]) -> dict[str, str]:
    """On what the latencies were measured; empty where none was."""
    latencies = [member.latency for member in members if member.latency]
    devices = {
        latency["device"] + (f", {counted(latency['threads'], 'thread')}" if latency["device"] == "cpu" else "")
        for latency in latencies
    }
    return {"latency measured on": "; ".join(sorted(devices))} if devices else {}


def _misses(group: Group) -> list[str]:
    """Planners that a car could have, and that drive no better than one that sees nothing."""
    others = group.on_other_scenes()
    members = [member for member in group.members if member not in others and not member.privileged]
    return planner_misses(
        {member.name: member.score for member in members}, [member.name for member in members if member.blind]
    )


def _notes(group: Group) -> list[str]:
    notes, members = [], group.members
    if others := group.on_other_scenes():
        counts = ", ".join(f"{member.name} {len(member.results):,}" for member in members)
        notes.append(
            f"Not all planners were scored on the same scenes ({counts}; "
            f"{len(group.scenes_in_common()):,} in common): the means "
            f"of {', '.join(member.name for member in others)} can't be compared with the others. "
            "compare=[A,B] compares two "
            "planners on the scenes that both have."
        )
    if len(devices := {member.latency["device"] for member in members if member.latency}) > 1:
        notes.append(
            f"Latencies were measured on different devices ({', '.join(sorted(devices))}): compare "
            "only those of one device."
        )
    return notes
