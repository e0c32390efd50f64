"""Who agrees with whom: latent stores of the same windows, compared code by code.

A label run names its stores. What a codebook saw happen is compared with what the teacher expected, and the teacher with
the student; held-out parts where there are any.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from latentdrive.data.latent_store import LatentStore
from latentdrive.report.charts import Chart, grouped_bars, matrix
from latentdrive.report.runs import Run
from latentdrive.report.sections import Section
from latentdrive.types import Origin

ORDER = [Origin.INVERSE_DYNAMICS, Origin.TEACHER, Origin.STUDENT]
WHO = {
    Origin.INVERSE_DYNAMICS: "what happened (codebook)",
    Origin.TEACHER: "what the teacher expects",
    Origin.STUDENT: "what the student expects",
}


def agreement_sections(runs: Sequence[Run]) -> list[Section]:
    """A section for every two neighbours in ORDER whose stores share a codebook and windows."""
    stores = [store for run in runs if run.verb == "label" and run.finished for store in _held_out_stores(run)]
    sections = []
    for first, second in ((ORDER[0], ORDER[1]), (ORDER[1], ORDER[2]), (ORDER[0], ORDER[2])):
        for one in (s for s in stores if s.info.origin == first):
            for other in (s for s in stores if s.info.origin == second):
                if one.info.codebook_id == other.info.codebook_id and (section := _compare(one, other)):
                    sections.append(section)
    return sections


def same_windows(one: LatentStore, other: LatentStore) -> tuple[Int64[np.ndarray, "N A"], Int64[np.ndarray, "N A"]]:
    """Codes of both stores for the windows that both hold, in the order of the first."""
    pairs = [(row, other.find(key, time)) for row, (key, time) in enumerate(zip(one.keys, one.t0_s))]
    rows = np.array([pair for pair in pairs if pair[1] is not None], int).reshape(-1, 2)
    return one.codes()[rows[:, 0]], other.codes()[rows[:, 1]]


def confusion(
    rows: Int64[np.ndarray, "N A"], columns: Int64[np.ndarray, "N A"], codes: int
) -> Float64[np.ndarray, "K K"]:
    """Where the first says i, how often the second says j; rows add up to 1, or 0 where i never occurs."""
    counts = np.zeros((codes, codes))
    np.add.at(counts, (rows.ravel(), columns.ravel()), 1)
    return counts / np.maximum(1, counts.sum(1, keepdims=True))


def _held_out_stores(run: Run) -> list[LatentStore]:
    root = Path(run.written["stores"])
    parts = [part for part in run.written.get("parts", {}) if (root / part).is_dir()]
    return [LatentStore(root / ("val" if "val" in parts else parts[0]))] if parts else []


def _compare(one: LatentStore, other: LatentStore) -> Section | None:
    rows, columns = same_windows(one, other)
    if not len(rows):
        return None
    first, second, codes = WHO[one.info.origin], WHO[other.info.origin], one.info.codes
    agree = (rows == columns).mean(0)
    often = np.array([np.bincount(slot, minlength=codes).max() / len(slot) for slot in rows.T])
    names = [f"slot {slot}" for slot in range(rows.shape[1])]
    charts: list[Chart] = [
        grouped_bars(
            "Agreement, slot by slot",
            "Share of windows in which both name the same code, beside always naming the slot's most frequent code. The first "
            f"{one.info.codes_per_transition} slots are the nearest transition.",
            {"both agree": agree.tolist(), "most frequent code": often.tolist()}, names, percent=True, wide=True,
        ),
        matrix(
            "Which codes are taken for which",
            f"Rows: {first}; columns: {second}. A strong diagonal means that they agree; a strong column is a code that is named "
            "whatever happens.",
            confusion(rows, columns, codes), rows=[str(k) for k in range(codes)], columns=[str(k) for k in range(codes)],
            across=second, down=first,
        ),
    ]  # fmt: skip
    nearest = agree[: one.info.codes_per_transition].mean()
    return Section(
        title=f"{first} and {second}",
        kind="agreement",
        about="Two stores of the same windows, compared code by code.",
        facts={
            "windows compared": f"{len(rows):,}",
            "same code": f"{agree.mean():.1%} of all slots, {nearest:.1%} of the first transition",
            "most frequent code": f"{often.mean():.1%} would be right by always naming it",
            "codebook": one.info.codebook_id,
        },
        charts={"What was measured": charts},
    )
