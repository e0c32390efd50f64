"""Agreement of latent stores: what happened, what the teacher expects, what the student expects.

Two stores of the same windows are compared code by code. The models of both wrote their codes one after
the other, each given its own earlier codes: they decoded alone. Beside an agreement stand those of two
guesses that look at no picture.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from latentdrive.data.code_baselines import guess
from latentdrive.data.file_contents import differ
from latentdrive.data.latent_store import LatentStore
from latentdrive.errors import LatentDriveError
from latentdrive.report.aims import agreement_misses
from latentdrive.report.charts import Chart, grouped_bars, matrix
from latentdrive.report.runs import Run
from latentdrive.report.sections import Section
from latentdrive.types import FROZEN, Origin

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


@dataclass(**FROZEN)
class Agreement:
    """Codes of two stores in the windows that both hold.

    first, second: their codes. frequent: the most frequent code of each slot of the first, counted on
    these very windows. repeated: the last transition of the first, repeated; `frequent` where it is
    unknown. known: share of the windows in which it is known. nearest: slots of the first transition.
    """

    first: Int64[np.ndarray, "N A"]
    second: Int64[np.ndarray, "N A"]
    frequent: Int64[np.ndarray, "A"]
    repeated: Int64[np.ndarray, "N A"]
    known: float
    nearest: int

    @property
    def shares(self) -> dict[str, Float64[np.ndarray, "A"]]:
        """Share of the windows in which each slot of the first has the code of the second, and of the guesses."""
        answers = {
            "both agree": self.second,
            "most frequent code": self.frequent,
            "last transition repeated": self.repeated,
        }
        return {name: (self.first == codes).mean(0) for name, codes in answers.items()}

    @property
    def guesses(self) -> str:
        """What the guesses reach, over all slots."""
        _, frequent, repeated = (share.mean() for share in self.shares.values())
        text = f"always the most frequent code {frequent:.1%}, the last transition repeated "
        if not self.known:
            return f"{text}the same, because no window's last transition is known"
        return f"{text}{repeated:.1%}" + ("" if self.known == 1 else f", known in {self.known:.0%} of the windows")


def agreement_of(first: LatentStore, second: LatentStore) -> Agreement | None:
    """The agreement of two stores; None where they share no window or speak codes of two codebooks."""
    rows, other_rows = same_windows(first, second)
    if first.info.codebook_id != second.info.codebook_id or not len(rows):
        return None
    guesses = guess(first, codes=first.codes()[rows])
    return Agreement(
        first=first.codes()[rows],
        second=second.codes()[other_rows],
        frequent=guesses.frequent,
        repeated=guesses.repeated[rows],
        known=float(guesses.known[rows].mean()),
        nearest=first.info.codes_per_transition,
    )


def same_windows(first: LatentStore, second: LatentStore) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "N"]]:
    """Rows of both stores with the windows that both hold, in the order of the first. Clips that changed
    between the labellings are left out.
    """
    changed = changed_clips(first, second)
    windows = enumerate(zip(first.keys, first.t0_s))
    pairs = [(row, second.find(key, time)) for row, (key, time) in windows if key not in changed]
    rows = np.array([pair for pair in pairs if pair[1] is not None], int).reshape(-1, 2)
    return rows[:, 0], rows[:, 1]


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


def agreement_sections(
    runs: Sequence[Run], *, allow: Callable[[Run], None], warn: Callable[[str], None]
) -> list[Section]:
    """A section for each two stores of the origins in PAIRS that share a codebook and windows.

    allow: raises ConfigError where the store that a run names may not be opened. warn: is called with a
    message for each run whose store is left out.
    """
    labelled = [run for run in runs if run.verb == "label" and run.finished]
    stores = []
    for run in labelled if len(labelled) > 1 else []:
        try:
            allow(run)
            stores += _held_out_stores(run)
        except LatentDriveError as error:
            warn(f"{run.name}: its store is not compared with others: {error}")
    return [
        _section(first, second, agreement)
        for first, second in pairs_of(stores)
        if (agreement := agreement_of(first, second)) is not None
    ]


def pairs_of(stores: Sequence[LatentStore]) -> Iterator[tuple[LatentStore, LatentStore]]:
    """Each two stores of the origins in PAIRS."""
    for origins in PAIRS:
        yield from product(*([store for store in stores if store.info.origin == origin] for origin in origins))


def _held_out_stores(run: Run) -> list[LatentStore]:
    root = Path(run.written.get("stores", ""))
    parts = [part for part in run.written.get("parts", {}) if (root / part).is_dir()]
    return [LatentStore(root / ("val" if "val" in parts else parts[0]))] if parts else []


def _section(first: LatentStore, second: LatentStore, agreement: Agreement) -> Section:
    names = (NAMES[first.info.origin], NAMES[second.info.origin])
    agree = agreement.shares["both agree"]
    changed = len(changed_clips(first, second))
    return Section(
        title=f"{names[0]} and {names[1]}",
        kind="agreement",
        about="Two stores of the same windows, compared code by code. Each model decoded alone, given its own "
        "earlier codes. The two guesses look at no picture: one always names the most frequent code of a slot, the "
        "other repeats the last transition.",
        facts={
            "windows compared": f"{len(agreement.first):,}",
            **({"clips left out": f"{changed:,}, whose files changed between the labellings"} if changed else {}),
            "same code": f"{agree.mean():.1%} of all slots, {agree[: agreement.nearest].mean():.1%} of the first "
            "transition, each decoding alone",
            "guesses reach": agreement.guesses,
            "codebook": first.info.codebook_id,
        },
        misses=agreement_misses({name: float(share.mean()) for name, share in agreement.shares.items()}),
        charts={"What was measured": _charts(agreement, codes=first.info.codes, names=names)},
    )


def _charts(agreement: Agreement, *, codes: int, names: tuple[str, str]) -> list[Chart]:
    shares = {name: share.tolist() for name, share in agreement.shares.items()}
    numbers = [str(code) for code in range(codes)]
    return [
        grouped_bars(
            "Agreement, slot by slot",
            "Share of windows in which both give the same code, each decoding alone, beside what the two guesses "
            f"reach. The first {agreement.nearest} slots are the nearest transition."
            + ("" if agreement.known else " No window's last transition is known, so both guesses are the same."),
            shares,
            [f"slot {slot}" for slot in range(agreement.first.shape[1])],
            percent=True,
            wide=True,
        ),
        matrix(
            "Which codes are taken for which",
            f"Rows: {names[0]}; columns: {names[1]}. A strong diagonal means that they agree; a "
            "strong column is a code that is "
            "predicted whatever happens.",
            confusion(agreement.first, agreement.second, codes),
            rows=numbers,
            columns=numbers,
            across=names[1],
            down=names[0],
        ),
    ]
