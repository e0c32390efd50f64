"""Sections on agreement: latent stores of the same windows, compared code by code.

A label run names its stores. What the codebook saw happen is compared with what the teacher
expected, and the teacher with the student, on held-out parts where there are any.
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from latentdrive.data.file_contents import differ
from latentdrive.data.latent_store import LatentStore
from latentdrive.report.charts import Chart, grouped_bars, matrix
from latentdrive.report.runs import Run
from latentdrive.report.sections import Section
from latentdrive.types import Origin

PAIRS = (
    (Origin.INVERSE_DYNAMICS, Origin.TEACHER),
    (Origin.TEACHER, Origin.STUDENT),
    (Origin.INVERSE_DYNAMICS, Origin.STUDENT),
)
NAMES = {
    Origin.INVERSE_DYNAMICS: "what happened (codebook)",
    Origin.TEACHER: "what the teacher expects",
    Origin.STUDENT: "what the student expects",
}


def agreement_sections(runs: Sequence[Run]) -> list[Section]:
    """A section for each two stores of the origins in PAIRS that share a codebook and windows."""
    stores = [store for run in runs if run.verb == "label" and run.finished for store in _held_out_stores(run)]
    sections = []
    for origins in PAIRS:
        first, second = ([store for store in stores if store.info.origin == origin] for origin in origins)
        sections += [
            section
            for a, b in product(first, second)
            if a.info.codebook_id == b.info.codebook_id and (section := _compare(a, b))
        ]
    return sections


def same_windows(first: LatentStore, second: LatentStore) -> tuple[Int64[np.ndarray, "N A"], Int64[np.ndarray, "N A"]]:
    """Codes of both stores for the windows that both hold, in the order of the first. Clips that changed
    between the labellings are left out.
    """
    changed = changed_clips(first, second)
    windows = enumerate(zip(first.keys, first.t0_s))
    pairs = [(row, second.find(key, time)) for row, (key, time) in windows if key not in changed]
    rows = np.array([pair for pair in pairs if pair[1] is not None], int).reshape(-1, 2)
    return first.codes()[rows[:, 0]], second.codes()[rows[:, 1]]


def changed_clips(first: LatentStore, second: LatentStore) -> set[str]:
    """Clips whose files had another content when the second store was made, as far as both stores note it."""
    both = first.contents.keys() & second.contents.keys()
    return {key for key in both if differ(first.contents[key], second.contents[key])}


def confusion(
    first: Int64[np.ndarray, "N A"], second: Int64[np.ndarray, "N A"], codes: int
) -> Float64[np.ndarray, "K K"]:
    """How often the second has code j where the first has code i; each row sums to 1, or to 0 if i
    never occurs."""
    counts = np.zeros((codes, codes))
    np.add.at(counts, (first.ravel(), second.ravel()), 1)
    return counts / np.maximum(1, counts.sum(1, keepdims=True))


def _held_out_stores(run: Run) -> list[LatentStore]:
    root = Path(run.written["stores"])
    parts = [part for part in run.written.get("parts", {}) if (root / part).is_dir()]
    return [LatentStore(root / ("val" if "val" in parts else parts[0]))] if parts else []


def _compare(first: LatentStore, second: LatentStore) -> Section | None:
    """The section about two stores; None where they share no window."""
    a, b = same_windows(first, second)
    changed = len(changed_clips(first, second))
    if not len(a):
        return None
    info, names = first.info, (NAMES[first.info.origin], NAMES[second.info.origin])
    agree = (a == b).mean(0)
    nearest = agree[: info.codes_per_transition]
    most_frequent = np.array([np.bincount(slot, minlength=info.codes).max() / len(slot) for slot in a.T])
    return Section(
        title=f"{names[0]} and {names[1]}",
        kind="agreement",
        about="Two stores of the same windows, compared code by code.",
        facts={
            "windows compared": f"{len(a):,}",
            **({"clips left out": f"{changed:,}, whose files changed between the labellings"} if changed else {}),
            "same code": f"{agree.mean():.1%} of all slots, {nearest.mean():.1%} of the first transition",
            "most frequent code": f"always giving it would be right for {most_frequent.mean():.1%}",
            "codebook": info.codebook_id,
        },
        charts={
            "What was measured": _charts(
                agree,
                most_frequent,
                confusion(a, b, info.codes),
                names=names,
                first_transition=len(nearest),
            )
        },
    )


def _charts(
    agree: Float64[np.ndarray, "A"],
    most_frequent: Float64[np.ndarray, "A"],
    confused: Float64[np.ndarray, "K K"],
    *,
    names: tuple[str, str],
    first_transition: int,
) -> list[Chart]:
    codes = [str(code) for code in range(len(confused))]
    return [
        grouped_bars(
            "Agreement, slot by slot",
            "Share of windows in which both give the same code, beside the share of the slot's "
            "most frequent code. The first "
            f"{first_transition} slots are the nearest transition.",
            {"both agree": agree.tolist(), "most frequent code": most_frequent.tolist()},
            [f"slot {slot}" for slot in range(len(agree))],
            percent=True,
            wide=True,
        ),
        matrix(
            "Which codes are taken for which",
            f"Rows: {names[0]}; columns: {names[1]}. A strong diagonal means that they agree; a "
            "strong column is a code that is "
            "predicted whatever happens.",
            confused,
            rows=codes,
            columns=codes,
            across=names[1],
            down=names[0],
        ),
    ]
