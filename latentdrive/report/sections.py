"""One section of the page for each run, and one for each pair of stores: from numbers to charts and plain sentences.

After runs.py; codebook runs get their dictionary from dictionary_section.py. A section says what it shows to someone who has
never seen the project, and where a number misses what was aimed at.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from latentdrive.codebook.judging.health import ALARM_PERPLEXITY
from latentdrive.codebook.judging.leakage import OTHERS
from latentdrive.codebook.judging.probe import EGO_TARGETS
from latentdrive.report.aims import codebook_misses
from latentdrive.report.charts import Chart, bars, grouped_bars, lines, matrix
from latentdrive.report.dictionary_section import DictionarySection
from latentdrive.report.evaluation_charts import evaluation_charts, score_pictures
from latentdrive.report.gallery import Gallery
from latentdrive.report.runs import Run

WHAT = {
    "train codebook": "A codebook watches pairs of frames and writes down what happened between them as a few small integers: "
    "ego codes for what the driver did, environment codes for what everybody else did. Nobody labelled anything.",
    "train teacher": "A vision-language model looks at the present picture and learns to predict the ego codes of the next "
    "seconds. The codes it learns from have seen the future; the teacher has not.",
    "distill": "A small student learns to give the teacher's predictions, with a fraction of its parameters.",
    "label": "A trained model wrote its latent actions for every window of a data set into a store.",
    "evaluate": "A planner drove every scene of a split in simulation, and NAVSIM's score says how well. Scenes that failed count "
    "as 0; intervals resample whole drives.",
    "world": "Clips of the built-in driving world: traffic, pictures, exact poses and the truth about everybody else.",
}
# What a number means, by the end of its name. {codes}: how many codes there are; {guess}: what guessing among them gives.
SAYS = {
    "share_of_copy": "Error of the predicted next frame; 1 is as bad as repeating the present frame. Lower is better, and with codes "
    "of another clip it should be clearly higher.",
    "agreement": "How often two readings name the same code. Higher is better.",
    "cross_entropy": "How surprised the reader is by the true code, in nats. Lower is better; {guess}.",
    "commitment": "How far the encoder's output lies from the nearest code.",
    "perplexity": "How many codes are in real use: 1 is a dead book, {codes} is even use of all.",
    "used_share": "Share of the codes that occur at all.",
    "nats": "Surprise by the true code, in nats a slot. Lower is better; {guess}.",
    "top1": "Share of slots whose likeliest code is the right one.",
    "kl": "Divergence of the student's distribution from the teacher's, in nats. 0 is a perfect copy.",
    "decoded": "Share of slots in which the student's own decoding, code after code, finds the teacher's code.",
    "distillation": "Divergence from the teacher, as it is trained.",
    "features": "How far the student's inner states are from the teacher's, as it is trained.",
    "regression": "Error of the ego's motion read from the ego codes, where a head for it is trained.",
    "loss": "What training minimises.",
    "mass_outside": "Probability that the language model gives to anything but the codes. Lower is better.",
}
PARTS = {"train": "training", "held_out": "held-out"}  # first part of a logged name
VARIANTS = {"_shuffled": ", codes of another clip", "_first": ", first transition"}  # drawn in the same chart


@dataclass(frozen=True, kw_only=True)
class PlannerRow:
    """One planner: name of its run, its class, what must be known of it, and a text with small print for each column."""

    name: str
    planner: str
    marks: list[str]
    cells: list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class PlannerTable:
    """A row a planner. columns: those behind the name."""

    columns: list[str]
    rows: list[PlannerRow]


@dataclass(frozen=True, kw_only=True)
class Section:
    """title; kind and about in plain words; facts: name → text; charts in groups by heading; misses: sentences; pictures: data addresses.
    table and gallery: of planners side by side."""

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
    """The section of one run. dictionary: of a codebook run, or None; notes: what could not be shown, and why."""
    charts = {"What was measured": _results(run), "How training went": _curves(run)}
    return Section(
        title=run.name,
        kind=run.verb,
        about=WHAT.get(run.verb, ""),
        facts=_facts(run),
        misses=codebook_misses(run.metrics) if run.verb == "train codebook" else [],
        charts={heading: group for heading, group in charts.items() if group},
        dictionary=dictionary,
        notes=[*notes, *_own_notes(run)],
        pictures=score_pictures(run.path) if run.verb == "evaluate" else [],
    )


def _codes(run: Run) -> int | None:
    """K of the run's model; None where it has none."""
    return (run.config.get("model") or {}).get("codes")


def _guess(codes: int | None) -> str:
    return (
        f"{np.log(codes):.2f} is a guess among {codes} codes" if codes else "a guess has the logarithm of their number"
    )


def _facts(run: Run) -> dict[str, str]:
    seconds = run.written.get("seconds")
    facts = {
        "command": run.config.get("command") or run.written.get("command", ""),
        "commit": run.written.get("commit", ""),
    }
    facts |= {"took": f"{seconds:,.0f} s" if seconds else "", "fingerprint": run.written.get("fingerprint", "")}
    facts |= {"store": run.written.get("stores", ""), "score": run.written.get("scorer", "")}
    for part, counts in run.written.get("parts", {}).items():
        facts[f"part {part}"] = ", ".join(f"{_short(value)} {name}" for name, value in counts.items())
    facts |= {f"{split} clips": f"{_short(frames)} frames" for split, frames in run.written.get("frames", {}).items()}
    facts |= {f"data, {key}": _short(value) for key, value in run.written.get("data", {}).items()}
    return {key: text for key, text in facts.items() if text}


def _short(value: object) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _own_notes(run: Run) -> list[str]:
    notes = [] if run.finished else ["This run has not finished: what it logged so far is shown."]
    if run.unreadable:
        path, reason = run.unreadable[0]
        notes.append(f"{len(run.unreadable)} clips could not be used, for example {path}: {reason}")
    return notes


def _results(run: Run) -> list[Chart]:
    if run.verb == "train teacher":
        return _teacher_results(run.metrics, _codes(run))
    kinds = {"train codebook": _codebook_results, "distill": _student_results, "evaluate": evaluation_charts}
    return kinds[run.verb](run.metrics) if run.verb in kinds else []


# ---- codebook ----


def _codebook_results(metrics: Mapping[str, float]) -> list[Chart]:
    return [
        chart
        for chart in (_do_codes_matter(metrics), *_slots_in_use(metrics), *_leakage(metrics), _transplants(metrics))
        if chart
    ]


def _do_codes_matter(metrics: Mapping[str, float]) -> Chart | None:
    true = metrics.get("held_out/share_of_copy")
    if true is None:
        return None
    names = {
        "ego_shuffled": "ego codes of another clip", "environment_shuffled": "environment codes of another clip",
        "both_shuffled": "both of another clip", "zeroed": "no codes", "copy": "copy the present frame",
    }  # fmt: skip
    shares, within = {"true codes": true}, {}
    for case, text in names.items():
        if (cost := metrics.get(f"held_out/cost_{case}")) is not None:
            shares[text] = true * (1 + cost)
            if f"held_out/cost_{case}_low" in metrics:
                low, high = (metrics[f"held_out/cost_{case}_{end}"] for end in ("low", "high"))
                within[text] = true * (1 + low), true * (1 + high)
    return bars(
        "Do the codes matter?",
        "Error of the predicted next frame on held-out clips, as a share of copying the present frame (dashed). If codes "
        "of another clip do as well as the true ones, the codes say nothing: the first bar should be clearly the shortest. "
        "Whiskers: 95 % intervals of the difference from the first bar.",
        shares, level=1.0, within=within, across=True,
    )  # fmt: skip


def _slots_in_use(metrics: Mapping[str, float]) -> list[Chart]:
    found = []
    for book, whose in (("ego", "the driver's actions"), ("environment", "everybody else's")):
        start = f"held_out/{book}_perplexity_slot_"
        values = {
            f"slot {name.removeprefix(start)}": v for name, v in sorted(metrics.items()) if name.startswith(start)
        }
        if values:
            values["all slots"] = metrics.get(f"held_out/{book}_perplexity", np.nan)
            found.append(bars(
                f"{book.capitalize()} codes in real use",
                f"Perplexity of the codes for {whose}, slot by slot: how many of them a slot really uses. Below the dashed "
                f"line ({ALARM_PERPLEXITY:g}) a slot says less than one bit.",
                values, level=ALARM_PERPLEXITY, good="above",
            ))  # fmt: skip
    return found


def _leakage(metrics: Mapping[str, float]) -> list[Chart]:
    found = []
    inputs = [
        name
        for name in ("ego codes", "environment codes", "present frame", "present frame and environment codes")
        if any(m.startswith(f"probe/{name}/") for m in metrics)
    ]
    if not inputs:
        return []
    targets = [*EGO_TARGETS, "others", *OTHERS]
    for kind, how in (("linear", "a straight-line fit"), ("mlp", "a small network")):
        values = np.array([[metrics.get(f"probe/{i}/{t}/{kind}", np.nan) for t in targets] for i in inputs])
        columns = [{"others": "others, mean"}.get(target, target) for target in targets]
        found.append(matrix(
            f"What leaks where ({how})",
            f"How well {how} reads the true motion from the codes on drives it never saw: 1 is all of it, 0 nothing. Ego codes "
            "should tell the first two columns and nothing of the others; environment codes the reverse. The bare present "
            "frame is the floor.",
            values, rows=inputs, columns=columns, across="true motion of", down="read from", form=".2f", high=1.0,
            numbers=True, wide=True,
        ))  # fmt: skip
    return found


def _transplants(metrics: Mapping[str, float]) -> Chart | None:
    names = {
        "of the clip that gave the code": "correlation_with_code",
        "of the clip that gave the frame": "correlation_with_frame",
    }
    groups = {
        name: [metrics.get(f"probe/transplant/{target}/{key}", np.nan) for target in EGO_TARGETS]
        for name, key in names.items()
    }
    if np.isnan(list(groups.values())).all():
        return None
    ceiling = ", ".join(
        f"{metrics.get(f'probe/transplant/{name}/reader_r2', np.nan):.2f} for {name}" for name in EGO_TARGETS
    )
    return grouped_bars(
        "Does a code mean the same elsewhere?",
        "The ego code of one clip is put on a frame of another, and a motion reader that never saw a prediction says how the frame "
        "then moves. Bars: how that reading correlates with the true motion of either clip; the first should be near 1, the second "
        f"near 0. The reader itself has R² {ceiling} on true pairs of frames.",
        groups, list(EGO_TARGETS),
    )  # fmt: skip


# ---- teacher and student ----


def _teacher_results(metrics: Mapping[str, float], codes: int | None) -> list[Chart]:
    cases = {
        "teacher, code by code": "", "teacher, in one pass": "one_pass_", "how often codes occur": "baseline_marginal_",
        "last transition again": "baseline_repeat_",
    }  # fmt: skip
    found = {
        case: [metrics.get(f"held_out/{stem}nats", np.nan), metrics.get(f"held_out/{stem}nats_first", np.nan)]
        for case, stem in cases.items()
    }
    if np.isnan(found["teacher, code by code"]).all():
        return []
    return [grouped_bars(
        "Does the teacher know what comes next?",
        "Surprise by the true codes on held-out clips, in nats a slot; lower is better. To be worth anything it must lie "
        "below what codes alone tell (how often they occur, the last transition again). "
        f"{'Dashed: ' if codes else ''}{_guess(codes)}.",
        found, ["all slots", "first transition"], level=float(np.log(codes)) if codes else None, wide=True,
    )]  # fmt: skip


def _student_results(metrics: Mapping[str, float]) -> list[Chart]:
    found = []
    for stem, title, says in (
        ("top1", "Student and teacher agree, slot by slot", "Share of held-out scenes in which both find the same code likeliest, "
         "given the same earlier codes. Later slots lie further in the future."),
        ("kl", "How far the student is from the teacher", "Divergence of the student's distribution from the teacher's on held-out "
         "scenes, in nats, slot by slot. 0 is a perfect copy."),
    ):  # fmt: skip
        start = f"held_out/{stem}_slot_"
        slots = {
            f"slot {int(name.removeprefix(start))}": v for name, v in sorted(metrics.items()) if name.startswith(start)
        }
        if slots:
            found.append(bars(title, says, slots, percent=stem == "top1"))
    parts = {
        name.removeprefix("parameters/"): value / 1e6
        for name, value in metrics.items()
        if name.startswith("parameters/")
    }
    if parts:
        found.append(
            bars(
                "Where the student's parameters are",
                "Millions of parameters by part; all of it runs in the car.",
                parts,
            )
        )
    return found


# ---- curves ----


def _curves(run: Run) -> list[Chart]:
    """One chart for each logged quantity, training and held-out together, slots left out."""
    stems: dict[str, dict[str, str]] = {}
    for tag in run.curves:
        part, _, stem = tag.partition("/")
        if part in PARTS and "_slot_" not in stem:
            family, name = stem, PARTS[part]
            for end, text in VARIANTS.items():
                if stem.endswith(end):
                    family, name = stem.removesuffix(end) + ("_of_copy" if end == "_shuffled" else ""), name + text
            stems.setdefault(family, {})[name] = tag
    charts = []
    for stem, tags in stems.items():
        level = 1.0 if stem.endswith("share_of_copy") else None
        curves = {name: run.curves[tag] for name, tag in sorted(tags.items(), reverse=True)}
        charts.append(lines(stem.replace("/", ": ").replace("_", " "), _says(stem, _codes(run)), curves, below=level))
    return charts


def _says(stem: str, codes: int | None) -> str:
    last = stem.rsplit("/", 1)[-1]
    text = next((text for end, text in SAYS.items() if last == end or last.endswith(f"_{end}")), "")
    return text.format(codes=codes or "their number", guess=_guess(codes))
