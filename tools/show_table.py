"""What a table of experiments found, in Markdown, from its committed JSON files alone.

    python tools/show_table.py planners --order constant_velocity ego_mlp ltf transfuser ipad human
    python tools/show_table.py planners --pairs ego_mlp,ipad transfuser,ipad

Prints one table for each evaluation. A score is the mean over seeds, scene by scene; intervals are
95 %, bootstrapped by drive. Differences (the second row minus the first; of consecutive rows, or of
--pairs) are paired by scene and seed; a row without seeds is paired with every seed. A difference
is not resolved if its interval contains 0; the table then says how many drives would show a
difference of this size (statistics.drives_needed). That interval speaks of these trainings only, so
the means by seed stand beside it. If the interval over trainings (statistics.over_trainings)
excludes 0 as well, the difference is shown; if not, it is shown for these trainings only.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from table_results import Evaluated, read_results
from table_rows import row_order

from latentdrive.counting import counted
from latentdrive.errors import ConfigError, LatentDriveError
from latentdrive.evaluation.comparison import is_shown
from latentdrive.statistics import bootstrap_by_drive, drives_needed, over_trainings, recordings

Seeds = Mapping[int | None, Evaluated]  # of one row in one evaluation


def main(arguments: Sequence[str] | None = None) -> int:
    """Print everything. Returns the exit status."""
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
    """A section for each evaluation. Raises ConfigError if a row has no result, or if rows can't be compared."""
    results, planned = read_results(table), row_order(table)
    rows = list(order or sorted(results, key=lambda row: (planned.index(row) if row in planned else len(planned), row)))
    named = [_pair(word) for word in pairs] if pairs else list(pairwise(rows))
    if missing := sorted({*rows, *(row for pair in named for row in pair)} - results.keys()):
        raise ConfigError(f"{table} has no result of {', '.join(missing)}; it has some of {', '.join(results)}")
    steps = dict.fromkeys(step for seeds in results.values() for evaluations in seeds.values() for step in evaluations)
    if not steps:
        raise ConfigError(f"{table} evaluates no planner: its metrics are in its JSON files")
    texts = []
    for step in steps:
        of_step = {row: _of_step(seeds, step) for row, seeds in results.items()}
        of_step = {row: seeds for row, seeds in of_step.items() if seeds}  # rows without this evaluation are left out
        if shown := [row for row in rows if row in of_step]:
            texts.append(section(f"{table}, {step}", of_step, shown, named))
    return texts


def _of_step(seeds: Mapping[int | None, Mapping[str, Evaluated]], step: str) -> Seeds:
    return {seed: evaluations[step] for seed, evaluations in seeds.items() if step in evaluations}


def _pair(word: str) -> tuple[str, str]:
    first, sign, second = word.partition(",")
    if not sign:
        raise ConfigError(f"--pairs {word}: expected two rows with a comma between them")
    return first, second


def section(title: str, rows: Mapping[str, Seeds], order: Sequence[str], pairs: Sequence[tuple[str, str]]) -> str:
    """One evaluation: a table of rows and a table of differences. Raises ConfigError if rows can't be compared."""
    chosen = {*order, *(row for pair in pairs for row in pair)} & rows.keys()
    every = [evaluated for row in sorted(chosen) for evaluated in rows[row].values()]
    kinds = {(evaluated.scorer, evaluated.split) for evaluated in every}
    if len(kinds) > 1:
        raise ConfigError(f"{title}: rows of several scores or splits can't be compared: {sorted(kinds)}")
    first = every[0]
    names, drives = list(first.sub_scores), len(recordings(first.drives)[0])
    lines = [
        f"{title}: {first.scorer}, {counted(len(first.scores), 'scene')} of {counted(drives, 'drive')}",
        "",
        f"| row | seeds | score | by seed | {' | '.join(names)} | failed |",
        "|" + "---|" * (len(names) + 5),
        *(row_line(row, rows[row], names) for row in order),
    ]
    differences = [difference_line(*pair, rows) for pair in pairs if rows.keys() >= set(pair)]
    if differences:
        lines += ["", "| difference | score | by seed | over trainings | |", "|---|---|---|---|---|", *differences]
    return "\n".join(lines)


def row_line(row: str, seeds: Seeds, names: Sequence[str]) -> str:
    """The score with its interval, the means of the sub-scores, and the failed scenes of all seeds."""
    score = bootstrap_by_drive(average(seeds), drives_of(seeds))
    means = [float(np.mean([evaluated.sub_scores[name] for evaluated in seeds.values()])) for name in names]
    columns = " | ".join("–" if np.isnan(mean) else f"{mean:.3f}" for mean in means)
    failed = sum(evaluated.failed for evaluated in seeds.values())
    mark = next(iter(seeds.values())).mark
    each = ", ".join(f"{seeds[seed].scores.mean():.3f}" for seed in _numbers(seeds)) or "–"
    named = f"{row}{f' ({mark})' if mark else ''}"
    return f"| {named} | {_seeds(seeds)} | {score.within('.3f')} | {each} | {columns} | {failed} |"


def difference_line(first: str, second: str, rows: Mapping[str, Seeds]) -> str:
    """The second row minus the first, whether the difference is shown, and what would show it."""
    seeds, values = paired(first, second, rows)
    drives = drives_of(rows[first])
    mean = bootstrap_by_drive(values.mean(0), drives)
    anew = over_trainings(values, drives) if len(seeds) > 1 else None
    if not is_shown(mean):
        verdict = "not resolved" + _what_is_lacking(drives_needed(values.mean(0), drives), mean.drives)
    elif not seeds or (anew is not None and is_shown(anew)):
        verdict = "shown"
    else:
        verdict = "shown for these trainings only" if anew is not None else "shown for this one training only"
    each = ", ".join(f"{seed}: {value.mean():+.4f}" for seed, value in zip(seeds, values)) or "–"
    trainings = anew.ends("+.4f") if anew else "–"
    return f"| {second} − {first} | {mean.within('+.4f')} | {each} | {trainings} | {verdict} |"


def _what_is_lacking(needed: int | None, drives: int) -> str:
    """Behind `not resolved`: what would resolve it. needed: None where no number of drives follows."""
    if drives == 1:
        return ": one drive says nothing about others"
    if needed is None:
        return ""
    return f": for these trainings it would take about {counted(needed, 'drive')}, here are {drives:,}"


def paired(first: str, second: str, rows: Mapping[str, Seeds]) -> tuple[list[int], np.ndarray]:
    """The seeds that both rows have, and the differences of N scenes for each seed, [S, N].

    If neither row has seeds there is one row of differences. Raises ConfigError if the rows have no
    seed in common.
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
    """The scores of N scenes, averaged over seeds."""
    return np.mean([evaluated.scores for evaluated in seeds.values()], 0)


def drives_of(seeds: Seeds) -> list[str]:
    """The drive of each of N scenes."""
    return next(iter(seeds.values())).drives


def _seeds(seeds: Seeds) -> str:
    return ", ".join(map(str, _numbers(seeds))) or "–"


def _numbers(seeds: Seeds) -> list[int]:
    """The seeds in order, without None for a row that has none."""
    return sorted(seed for seed in seeds if seed is not None)


if __name__ == "__main__":
    raise SystemExit(main())
