"""A section about planners that one score was asked of on one split: the table, score against latency, and sub-scores.

After evaluations.py, which says who may stand beside whom; gallery.py adds the scenes in which two of them differ.
"""

from typing import Any

from latentdrive.report.charts import PAINTS, Chart, grouped_bars, points
from latentdrive.report.evaluation_charts import spoken, spoken_in_lines
from latentdrive.report.evaluations import Evaluation, Group
from latentdrive.report.gallery import Gallery
from latentdrive.report.sections import PlannerRow, PlannerTable, Section

ABOUT = (
    "Planners on the same split by the same score, the best first. Intervals: 95 % when whole drives are resampled; two that overlap may "
    "still differ surely scene by scene (compare=[A,B]). Who is marked privileged is told the truth and is no rival, only a measure."
)
LATENCY = (
    "Latency is the time of planning alone, for one scene at a time as in a car, without reading it from the disk."
)


def planners_section(group: Group, gallery: Gallery | None) -> Section:
    """Table, charts and gallery of one group."""
    members = group.members
    first = members[0]
    paints = {one.name: PAINTS[number % len(PAINTS)] for number, one in enumerate(members)}
    charts = [chart for chart in (_against_latency(members, paints), _sub_scores(members, paints)) if chart is not None]
    facts = {
        "score by": str(first.results.version), "split": first.split, "scored in": first.stages, **_conditions(members),
    }  # fmt: skip
    return Section(
        title=f"Planners, {group.title}",
        kind="planners",
        about=f"{ABOUT} {LATENCY}",
        facts=facts | {one.name: f"{one.planner} {one.words}".strip() for one in members},
        notes=_notes(group),
        table=_table(group),
        charts={"Score, latency and what the score is made of": charts} if charts else {},
        gallery=gallery,
    )


def _columns(members: list[Evaluation]) -> list[str]:
    """Sub-scores that somebody has, in the order of the devkit's columns."""
    known = {name for one in members for name in one.summary["sub_scores"]}
    return [name for name in members[0].results.terms if name in known]


def _table(group: Group) -> PlannerTable:
    names, others = _columns(group.members), [one.name for one in group.on_other_scenes()]
    rows = []
    for one in group.members:
        means = [one.summary["sub_scores"].get(name) for name in names]
        cells = [_score(one.summary["score"]), *((f"{mean['mean']:.3f}" if mean else "–", "") for mean in means)]
        cells += [
            (f"{one.summary['scenes']:,}", f"{one.summary['drives']:,} drives"),
            (f"{one.summary['failed']:,}", ""),
        ]
        cells.append(_told_latency(one.latency, whole=not one.reads_store))
        marks = [*one.marks, *(["other scenes"] if one.name in others else [])]
        rows.append(PlannerRow(name=one.name, planner=one.planner, marks=marks, cells=cells))
    columns = ["score", *map(spoken, names), "scenes", "failed (as 0)", "ms for one scene"]
    return PlannerTable(columns=columns, rows=rows)


def _score(told: dict[str, Any] | None) -> tuple[str, str]:
    """Mean and interval; one drive has no interval to speak of."""
    if told is None:
        return "–", ""
    within = f"{told['low']:.4f} to {told['high']:.4f}" if told["drives"] > 1 else "one drive: no interval"
    return f"{told['mean']:.4f}", within


def _told_latency(latency: dict[str, Any] | None, *, whole: bool) -> tuple[str, str]:
    if latency is None:
        return "–", ""
    beside = f"p95 {latency['ms_batch_1_p95']:.3g}" + ("" if whole else ", without the network that filled its store")
    return f"{latency['ms_batch_1_median']:.3g}", beside


def _against_latency(members: list[Evaluation], paints: dict[str, str]) -> Chart | None:
    """Score over milliseconds a scene; nothing where no latency was measured."""
    scored = [one for one in members if one.summary["score"]]
    timed = [one for one in scored if one.latency and not one.reads_store]
    if not timed:
        return None
    ends = {one.name: tuple(one.summary["score"][key] for key in ("mean", "low", "high")) for one in scored}
    return points(
        "Score against latency",
        "Up is better, left is faster. Whiskers: 95 % intervals by drive. Dashed: planners without a latency of their own: the human driver, "
        "or one that reads a teacher's embeddings from a store.",
        {one.name: (one.latency["ms_batch_1_median"], ends[one.name]) for one in timed},
        levels={one.name: ends[one.name][0] for one in scored if one not in timed},
        across="milliseconds for one scene", up="score", paints=paints,
    )  # fmt: skip


def _sub_scores(members: list[Evaluation], paints: dict[str, str]) -> Chart | None:
    names = _columns(members)
    if not names:
        return None
    nothing = {"mean": float("nan"), "low": float("nan"), "high": float("nan")}
    told = {one.name: [one.summary["sub_scores"].get(name) or nothing for name in names] for one in members}
    return grouped_bars(
        "What the score is made of",
        "Means of every sub-score, 1 is best. Whiskers: 95 % intervals by drive.",
        {name: [one["mean"] for one in some] for name, some in told.items()}, [spoken_in_lines(name) for name in names], wide=True,
        within={name: [(one["low"], one["high"]) for one in some] for name, some in told.items()}, paints=paints,
    )  # fmt: skip


def _conditions(members: list[Evaluation]) -> dict[str, str]:
    """On what the latencies were measured."""
    told = [one.latency for one in members if one.latency]
    where = {f"{one['device']}, {one['threads']} threads" if one["device"] == "cpu" else one["device"] for one in told}
    return {"latency measured on": "; ".join(sorted(where))} if where else {}


def _notes(group: Group) -> list[str]:
    notes, members = [], group.members
    if others := group.on_other_scenes():
        counts = ", ".join(f"{one.name} {len(one.results):,}" for one in members)
        notes.append(
            f"Not all were scored on the same scenes ({counts}; {len(group.scenes_in_common()):,} in common): the means of "
            f"{', '.join(one.name for one in others)} can't be compared with the others'. compare=[A,B] compares two on the scenes that "
            "both have."
        )
    if len(devices := {one.latency["device"] for one in members if one.latency}) > 1:
        notes.append(
            f"Latencies were measured on different devices ({', '.join(sorted(devices))}): compare within one."
        )
    return notes
