"""What a table of experiments found, in Markdown, from its committed JSONs alone: scores with intervals, and which differences are shown.

    python tools/show_table.py planners --order constant_velocity ego_mlp ltf transfuser ipad human
    python tools/show_table.py planners --pairs ego_mlp,ipad transfuser,ipad

One table an evaluation. A score is the mean over seeds, scene by scene; intervals are 95 %, bootstrapped by drive. Differences (the second
minus the first; of consecutive rows, or of --pairs) are paired by scene and seed; a row without seeds pairs with every seed. One is not
resolved where its interval holds 0, and it stands there how many drives would show a difference of this size (statistics.drives_needed).
That interval speaks of these trainings: the means by seed stand beside it, and where also the interval over trainings
(statistics.over_trainings) excludes 0 the difference is shown; else it is shown for these trainings only.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from table_results import Evaluated, read_results
from table_rows import row_order

from latentdrive.errors import ConfigError, LatentDriveError
from latentdrive.evaluation.comparison import is_shown
from latentdrive.statistics import bootstrap_by_drive, drives_needed, over_trainings

Seeds = Mapping[int | None, Evaluated]  # of one row in one evaluation


def main(arguments: Sequence[str] | None = None) -> int:
    """Print everything; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table")
    parser.add_argument(
        "--order", nargs="+", metavar="ROW", help="only these rows, in this order; consecutive ones are compared"
    )
    parser.add_argument("--pairs", nargs="+", metavar="ROW,ROW", help="compare these instead")
    options = parser.parse_args(arguments)
    try:
        print("\n\n".join(sections(options.table, options.order, options.pairs)))
    except LatentDriveError as error:
        print(f"show_table.py: {error}", file=sys.stderr)
        return 1
    return 0


def sections(table: str, order: Sequence[str] | None, pairs: Sequence[str] | None) -> list[str]:
    """A section an evaluation. Raises ConfigError where a row has no result, or scores of two kinds meet."""
    found, planned = read_results(table), row_order(table)
    rows = list(order or sorted(found, key=lambda row: (planned.index(row) if row in planned else len(planned), row)))
    named = [_pair(word) for word in pairs] if pairs else list(pairwise(rows))
    if missing := sorted({*rows, *(row for pair in named for row in pair)} - found.keys()):
        raise ConfigError(f"{table} has no result of {', '.join(missing)}; it has some of {', '.join(found)}")
    evaluations = dict.fromkeys(step for row in found.values() for one in row.values() for step in one)
    if not evaluations:
        raise ConfigError(f"{table} evaluates no planner: its metrics stand in its JSONs")
    told = []
    for step in evaluations:  # of a row that has none of this name nothing is told here
        of_step = {row: {seed: one[step] for seed, one in seeds.items() if step in one} for row, seeds in found.items()}
        of_step = {row: seeds for row, seeds in of_step.items() if seeds}
        if here := [row for row in rows if row in of_step]:
            told.append(section(f"{table}, {step}", of_step, here, named))
    return told


def _pair(word: str) -> tuple[str, str]:
    first, sign, second = word.partition(",")
    if not sign:
        raise ConfigError(f"--pairs {word}: two rows with a comma between them")
    return first, second


def section(title: str, rows: Mapping[str, Seeds], order: Sequence[str], pairs: Sequence[tuple[str, str]]) -> str:
    """One evaluation: a table of rows, and one of differences."""
    asked = {*order, *(row for pair in pairs for row in pair)} & rows.keys()
    every = [one for row in sorted(asked) for one in rows[row].values()]
    kinds = {(one.scorer, one.split) for one in every}
    if len(kinds) > 1:
        raise ConfigError(f"{title}: rows are of several scores or splits, {sorted(kinds)}: they can't be compared")
    first = every[0]
    names = list(first.sub_scores)
    lines = [
        f"{title}: {first.scorer}, {len(first.scores):,} scenes of {len(set(first.drives)):,} drives", "",
        f"| row | seeds | score | by seed | {' | '.join(names)} | failed |", "|" + "---|" * (len(names) + 5),
        *(row_line(row, rows[row], names) for row in order),
    ]  # fmt: skip
    differences = [difference_line(*pair, rows) for pair in pairs if rows.keys() >= set(pair)]
    if differences:
        lines += ["", "| difference | score | by seed | over trainings | |", "|---|---|---|---|---|", *differences]
    return "\n".join(lines)


def row_line(row: str, seeds: Seeds, names: Sequence[str]) -> str:
    """Score with its interval, means of the sub-scores, failed scenes of all seeds."""
    score = bootstrap_by_drive(average(seeds), drives_of(seeds))
    means = [float(np.mean([one.sub_scores[name] for one in seeds.values()])) for name in names]
    told = " | ".join("–" if np.isnan(mean) else f"{mean:.3f}" for mean in means)
    failed = sum(one.failed for one in seeds.values())
    mark = next(iter(seeds.values())).mark
    each = (
        ", ".join(f"{seeds[seed].scores.mean():.3f}" for seed in sorted(one for one in seeds if one is not None)) or "–"
    )
    named = f"{row}{f' ({mark})' if mark else ''}"
    return f"| {named} | {_seeds(seeds)} | {score.mean:.3f} [{score.low:.3f}, {score.high:.3f}] | {each} | {told} | {failed} |"


def difference_line(first: str, second: str, rows: Mapping[str, Seeds]) -> str:
    """The second minus the first, whether it is shown, and what would show it."""
    seeds, values = paired(first, second, rows)
    drives = drives_of(rows[first])
    found = bootstrap_by_drive(values.mean(0), drives)
    anew = over_trainings(values, drives) if len(seeds) > 1 else None
    if not is_shown(found):
        needed = drives_needed(values.mean(0), drives)
        verdict = "not resolved" + (
            f": for these trainings it would take about {needed:,} drives, here are {found.drives:,}" if needed else ""
        )
    elif not seeds or (anew is not None and is_shown(anew)):
        verdict = "shown"
    else:
        verdict = "shown for these trainings only" if anew is not None else "shown for this one training only"
    told = f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
    each = ", ".join(f"{seed}: {one.mean():+.4f}" for seed, one in zip(seeds, values)) or "–"
    return f"| {second} − {first} | {told} | {each} | {f'[{anew.low:+.4f}, {anew.high:+.4f}]' if anew else '–'} | {verdict} |"


def paired(first: str, second: str, rows: Mapping[str, Seeds]) -> tuple[list[int], np.ndarray]:
    """The seeds that both rows have, and the differences of N scenes for each, [S, N]; one row of them where neither has seeds.

    Raises ConfigError where there is no such pair.
    """
    a, b = rows[first], rows[second]
    seeds = sorted(seed for seed in a.keys() | b.keys() if seed is not None and _has(a, seed) and _has(b, seed))
    if not seeds and not (None in a and None in b):
        raise ConfigError(f"{first} and {second} have no seed in common: {_seeds(a)} and {_seeds(b)}")
    both = seeds or [None]
    return seeds, np.stack([b.get(seed, b.get(None)).scores - a.get(seed, a.get(None)).scores for seed in both])


def _has(seeds: Seeds, seed: int) -> bool:
    return seed in seeds or None in seeds


def average(seeds: Seeds) -> np.ndarray:
    """Scores of N scenes, the mean over seeds."""
    return np.mean([one.scores for one in seeds.values()], 0)


def drives_of(seeds: Seeds) -> list[str]:
    """The drive of each of N scenes."""
    return next(iter(seeds.values())).drives


def _seeds(seeds: Seeds) -> str:
    return ", ".join(str(seed) for seed in sorted(one for one in seeds if one is not None)) or "–"


if __name__ == "__main__":
    raise SystemExit(main())
