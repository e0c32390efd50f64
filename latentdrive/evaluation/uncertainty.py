"""Whether a planner knows when it fails: how well the movement of its refined plans ranks failures.

After RD-VLA (arXiv:2602.07845), whose plans tell their own uncertainty by how far they still move at the last step.
"""

from typing import TypedDict

import numpy as np

from latentdrive.evaluation.results import Results
from latentdrive.statistics import Interval, auroc_by_drive

FAILED_AT_MOST = 0.0  # a scene counts as failed with this score or less (latentdrive default)


class Uncertainty(TypedDict):
    """What summary.json says of refined plans.

    auroc: probability that a failed scene's plan moved more at its last step than another's; 0.5 is chance. null
    where no scene or every scene failed. low, high: its 95 % interval by drive; null where there is one drive.
    """

    mean_steps: float
    scenes: int
    failed: int
    auroc: float | None
    low: float | None
    high: float | None
    drives: int


def uncertainty(results: Results) -> Uncertainty | None:
    """Steps, and how well the movement ranks failures; None for a planner that plans at once."""
    if results.steps is None or results.movement is None:
        return None
    known = results.valid & ~np.isnan(results.movement)
    failed = results.score[known] <= FAILED_AT_MOST
    drives = [drive for drive, used in zip(results.drives, known) if used]
    ranked = auroc_by_drive(results.movement[known], failed, drives) if known.any() else None
    return Uncertainty(
        mean_steps=float(np.nanmean(results.steps)),
        scenes=int(known.sum()),
        failed=int(failed.sum()),
        auroc=None if ranked is None else ranked.mean,
        low=None if ranked is None or np.isnan(ranked.low) else ranked.low,
        high=None if ranked is None or np.isnan(ranked.high) else ranked.high,
        drives=len(set(drives)),
    )


def uncertainty_lines(told: Uncertainty | None) -> list[str]:
    """What the terminal says of it; nothing for a planner that plans at once."""
    if told is None:
        return []
    lines = [f"plans took {told['mean_steps']:.1f} steps on average"]
    if told["auroc"] is None:
        return [*lines, f"{told['failed']:,} of {told['scenes']:,} plans failed: there is nothing to rank"]
    auroc = auroc_of(told).within(".3f")
    return [
        *lines,
        f"their movement at the last step tells the {told['failed']:,} that score 0: AUROC {auroc}, chance 0.5",
    ]


def auroc_of(told: Uncertainty) -> Interval:
    """The AUROC with its interval."""
    low, high = (np.nan if told[end] is None else told[end] for end in ("low", "high"))
    return Interval(mean=told["auroc"], low=low, high=high, drives=told["drives"], values=told["scenes"])
