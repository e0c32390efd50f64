"""Which scenes to look at: the lowest scores, but not six moments of one drive. Beside audit.py; the command draws them."""

import numpy as np

from latentdrive.evaluation.results import Results


def worst(results: Results, count: int) -> list[int]:
    """Rows of the scored scenes with the lowest totals below 1, worst first: the worst one of each drive, then the rest.

    Scenes that failed are left out: they have no drive to look at, and are named elsewhere.
    """
    order = [
        int(row) for row in np.argsort(results.score, kind="stable") if results.valid[row] and results.score[row] < 1
    ]
    seen: set[str] = set()
    first, rest = [], []
    for row in order:
        (rest if results.drives[row] in seen else first).append(row)
        seen.add(results.drives[row])
    chosen = [*first, *rest][: max(0, count)]
    return sorted(chosen, key=lambda row: (results.score[row], row))
