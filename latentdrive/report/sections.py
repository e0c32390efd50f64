"""Sections of the page: what one may hold, and the section of a single run.

A section explains its numbers to someone who has never seen the project, and says where a number
misses its aim. The charts of each kind of run are made by the *_charts.py modules.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from latentdrive.counting import counted, noun_of
from latentdrive.report.aims import run_misses
from latentdrive.report.charts import Chart
from latentdrive.report.codebook_charts import codebook_charts
from latentdrive.report.curve_charts import curve_charts
from latentdrive.report.dictionary_section import DictionarySection
from latentdrive.report.evaluation_charts import evaluation_charts, score_pictures
from latentdrive.report.gallery import Gallery
from latentdrive.report.prediction_charts import student_charts, teacher_charts
from latentdrive.report.runs import Run

ABOUT = {
    "train codebook": "A codebook looks at pairs of frames and encodes what happened between them as a few "
    "small integers: ego codes for the driver's actions, environment codes for those of all others. It uses no labels.",
    "train teacher": "A vision-language model sees the present picture and learns to predict the ego codes of the next "
    "seconds. The codes that it learns from have seen the future; the teacher has not.",
    "distill": "A small student learns to reproduce the teacher's predictions with a fraction of its parameters.",
    "label": "A trained model wrote its latent actions for every window of a data set into a store.",
    "evaluate": "A planner planned every scene of a split. Its plans were simulated and scored by NAVSIM's score. "
    "Failed scenes count as 0; intervals resample whole drives.",
    "world": "Clips of the built-in driving world: traffic, pictures, exact poses, and the truth about all others.",
}
CHARTS = {
    "train codebook": lambda run: codebook_charts(run.metrics),
    "train teacher": lambda run: teacher_charts(run.metrics, run.codes),
    "distill": lambda run: student_charts(run.metrics),
    "evaluate": lambda run: evaluation_charts(run.metrics),
}


@dataclass(frozen=True, kw_only=True)
class PlannerRow:
    """A planner in a table. name: of its run. planner: its class. marks: conditions that a reader
    must know.

    cells: a text with small print for each column.
    """

    name: str
    planner: str
    marks: list[str]
    cells: list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class PlannerTable:
    """Planners side by side. columns: headings after that of the name."""

    columns: list[str]
    rows: list[PlannerRow]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the page; report.html shows the fields that are filled.

    facts: texts by name. misses: sentences about numbers that miss their aim. charts: by heading.
    notes: what could not be shown, and why. pictures: as data addresses. table, gallery: of
    planners side by side.
    """

    title: str
    kind: str
    about: str
    facts: Mapping[str, str]
    misses: list[str] = field(default_factory=list)
    charts: Mapping[str, list[Chart]] = field(default_factory=dict)
    dictionary: DictionarySection | None = None
    notes: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    table: PlannerTable | None = None
    gallery: Gallery | None = None


def run_section(run: Run, dictionary: DictionarySection | None, notes: Iterable[str]) -> Section:
    """The section of one run. dictionary: of a codebook run. notes: what could not be shown, and
    why."""
    measured = CHARTS[run.verb](run) if run.verb in CHARTS else []
    charts = {"What was measured": measured, "How training went": curve_charts(run)}
    return Section(
        title=run.name,
        kind=run.verb,
        about=ABOUT.get(run.verb, ""),
        facts=_facts(run),
        misses=run_misses(run.verb, run.metrics),
        charts={heading: group for heading, group in charts.items() if group},
        dictionary=dictionary,
        notes=[*notes, *_run_notes(run)],
        pictures=score_pictures(run.path) if run.verb == "evaluate" else [],
    )


def _facts(run: Run) -> dict[str, str]:
    seconds = run.written.get("seconds")
    facts = {
        "command": run.config.get("command") or run.written.get("command", ""),
        "commit": run.written.get("commit", ""),
        "took": f"{seconds:,.0f} s" if seconds else "",
        "fingerprint": run.written.get("fingerprint", ""),
        "store": run.written.get("stores", ""),
        "score": run.written.get("scorer", ""),
    }
    for part, counts in run.written.get("parts", {}).items():
        facts[f"part {part}"] = ", ".join(f"{_short(value)} {noun_of(value, name)}" for name, value in counts.items())
    facts |= {
        f"{part} clips": f"{_short(frames)} {noun_of(frames, 'frames')}"
        for part, frames in run.written.get("frames", {}).items()
    }
    facts |= {f"data, {key}": _short(value) for key, value in run.written.get("data", {}).items()}
    return {key: text for key, text in facts.items() if text}


def _short(value: object) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _run_notes(run: Run) -> list[str]:
    notes = [] if run.finished else ["This run has not finished; its log so far is shown."]
    if run.unreadable:
        path, reason = run.unreadable[0]
        notes.append(f"{counted(len(run.unreadable), 'clip')} could not be used, for example {path}: {reason}")
    return notes
