"""One section of the page for each run, and one for each pair of stores: from numbers to charts and plain sentences.

After runs.py; codebook runs get their dictionary from dictionary_section.py. A section says what it shows to someone who has
never seen the project, and where a number misses what was aimed at.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from latentdrive.codebook.health import ALARM_PERPLEXITY
from latentdrive.codebook.leakage import OTHERS
from latentdrive.codebook.probe import EGO_TARGETS
from latentdrive.report.charts import Chart, bars, grouped_bars, lines, matrix
from latentdrive.report.dictionary_section import DictionarySection
from latentdrive.report.runs import Run

WHAT = {
    "train codebook": "A codebook watches pairs of frames and writes down what happened between them as a few small integers: "
    "ego codes for what the driver did, environment codes for what everybody else did. Nobody labelled anything.",
    "train teacher": "A vision-language model looks at the present picture and learns to predict the ego codes of the next "
    "seconds. The codes it learns from have seen the future; the teacher has not.",
    "distill": "A small student learns to give the teacher's predictions, with a fraction of its parameters.",
    "label": "A trained model wrote its latent actions for every window of a data set into a store.",
    "world": "Clips of the built-in driving world: traffic, pictures, exact poses and the truth about everybody else.",
    "demo": "The whole walk, one step after the other.",
}
# What a number means, by the end of its name; {share} is the error as a share of copying the present frame.
SAYS = {
    "share_of_copy": "Error of the predicted next frame; 1 is as bad as repeating the present frame. Lower is better, and with codes "
    "of another clip it should be clearly higher.",
    "agreement": "How often two readings name the same code. Higher is better.",
    "cross_entropy": "How surprised the reader is by the true code, in nats. Lower is better; 2.77 is a guess among 16.",
    "commitment": "How far the encoder's output lies from the nearest code.",
    "perplexity": "How many codes are in real use: 1 is a dead book, 16 is even use of all.",
    "used_share": "Share of the codes that occur at all.",
    "nats": "Surprise by the true code, in nats a slot. 2.77 is a guess among 16 codes; lower is better.",
    "top1": "Share of slots whose likeliest code is the right one.",
    "kl": "Divergence of the student's distribution from the teacher's, in nats. 0 is a perfect copy.",
    "decoded": "Share of slots in which the student's own decoding, code after code, finds the teacher's code.",
    "distillation": "Divergence from the teacher, as it is trained.",
    "features": "How far the student's inner states are from the teacher's, as it is trained.",
    "regression": "Error of the ego's motion read from the ego codes, where a head for it is trained.",
    "loss": "What training minimises.",
    "mass_outside": "Probability that the language model gives to anything but the 16 codes. Lower is better.",
}
PARTS = {"train": "training", "held_out": "held-out"}  # first part of a logged name
VARIANTS = {"_shuffled": ", codes of another clip", "_first": ", first transition"}  # drawn in the same chart
# What was aimed at: (number, at least, what it is). A run that misses says so on its page.
AIMS = {
    "train codebook": [
        ("held_out/cost_ego_shuffled", 0.05, "cost of ego codes from another clip"),
        ("held_out/ego_perplexity", 8.0, "ego codes in real use"),
        ("held_out/ego_perplexity_lowest_slot", 3.0, "ego codes in real use, poorest slot"),
        ("held_out/cost_environment_shuffled", 0.05, "cost of environment codes from another clip"),
        ("held_out/environment_perplexity_lowest_slot", 3.0, "environment codes in real use, poorest slot"),
        ("probe/ego codes/forward displacement/linear", 0.6, "R² of forward displacement from ego codes"),
        ("probe/ego codes/yaw change/linear", 0.75, "R² of yaw change from ego codes"),
    ],
}


@dataclass(frozen=True, kw_only=True)
class Section:
    """title; kind and about in plain words; facts: name → text; charts in groups by heading; misses: sentences."""

    title: str
    kind: str
    about: str
    facts: Mapping[str, str]
    misses: list[str] = field(default_factory=list)
    charts: Mapping[str, list[Chart]] = field(default_factory=dict)
    dictionary: DictionarySection | None = None
    notes: list[str] = field(default_factory=list)


def run_section(run: Run, dictionary: DictionarySection | None, notes: Iterable[str]) -> Section:
    """The section of one run. dictionary: of a codebook run, or None; notes: what could not be shown, and why."""
    charts = {"What was measured": _results(run), "How training went": _curves(run)}
    return Section(
        title=run.name,
        kind=run.verb,
        about=WHAT.get(run.verb, ""),
        facts=_facts(run),
        misses=misses(run),
        charts={heading: group for heading, group in charts.items() if group},
        dictionary=dictionary,
        notes=[*notes, *_own_notes(run)],
    )


def misses(run: Run) -> list[str]:
    """One sentence for every number below its aim."""
    found = []
    metrics = dict(run.metrics)
    for book in ("ego", "environment"):
        start = f"held_out/{book}_perplexity_slot_"
        if slots := [value for name, value in metrics.items() if name.startswith(start)]:
            metrics[f"held_out/{book}_perplexity_lowest_slot"] = min(slots)
    for name, aim, what in AIMS.get(run.verb, []):
        value = metrics.get(name)
        if value is not None and value < aim:
            found.append(f"{what}: {value:.2f}, aimed at {aim:g} or more, missed by {aim - value:.2f}")
    return found


def _facts(run: Run) -> dict[str, str]:
    seconds = run.written.get("seconds")
    facts = {
        "command": run.config.get("command") or run.written.get("command", ""),
        "commit": run.written.get("commit", ""),
    }
    facts |= {"took": f"{seconds:,.0f} s" if seconds else "", "fingerprint": run.written.get("fingerprint", "")}
    facts |= {"store": run.written.get("stores", "")}
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
    kinds = {"train codebook": _codebook_results, "train teacher": _teacher_results, "distill": _student_results}
    return kinds[run.verb](run.metrics) if run.verb in kinds else []


# ---- codebook ----


def _codebook_results(metrics: Mapping[str, float]) -> list[Chart]:
    return [chart for chart in (_do_codes_matter(metrics), *_slots_in_use(metrics), *_leakage(metrics)) if chart]


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


# ---- teacher and student ----


def _teacher_results(metrics: Mapping[str, float]) -> list[Chart]:
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
        "below what codes alone tell (how often they occur, the last transition again). Dashed: a guess among 16 codes.",
        found, ["all slots", "first transition"], level=float(np.log(16)), wide=True,
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
        charts.append(lines(stem.replace("/", ": ").replace("_", " "), _says(stem), curves, below=level))
    return charts


def _says(stem: str) -> str:
    last = stem.rsplit("/", 1)[-1]
    return next((text for end, text in SAYS.items() if last == end or last.endswith(f"_{end}")), "")
