"""What planners that learn nothing score on a data set, and which of their differences are shown.

    python tools/score_baselines.py --out docs/results/score_world.json --splits test_unfiltered test \\
        -- data=navsim data.path=FOLDER
    python tools/score_baselines.py --out docs/results/score_nuscenes.json --scorers pdms_v1.1 \\
        -- data=scenarios data.path=FOLDER data.scenes.future_frames=10

Runs `latentdrive evaluate` for every planner, split and scorer, except for evaluations that are
finished in --runs. Prints tables in Markdown: means with 95 % intervals by drive, the share of
scenes without a zero sub-score, and paired differences. On two cores 1,000 scenes take about a
minute a planner, and once as long to prepare them.
"""

import argparse
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from records import portable, write_record

from latentdrive.commands import evaluate
from latentdrive.config import compose
from latentdrive.counting import counted
from latentdrive.evaluation.comparison import compare_folders, is_shown
from latentdrive.evaluation.results import Results
from latentdrive.evaluation.summary import SUMMARY, as_interval, read_evaluation
from latentdrive.overrides import quoted
from latentdrive.pdms.score import DDC, EC
from latentdrive.pdms.versions import Version
from latentdrive.statistics import Interval

PLANNERS = ("human", "pdm_closed", "constant_velocity", "stand_still")


def main() -> None:
    """Score, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--splits", nargs="+", default=[None])
    parser.add_argument("--scorers", nargs="+", default=["pdms_v1.1", "epdms_v2.2"])
    parser.add_argument("--runs", type=Path, default=Path("runs/baselines"))
    parser.add_argument("data", nargs="+", help="overrides of `latentdrive evaluate`")
    options = parser.parse_args()
    numbers: dict[str, Any] = {}
    for split in options.splits:
        for scorer in options.scorers:
            name = f"{split or 'all'} {scorer}"
            folders = {planner: scored(planner, split, scorer, options) for planner in PLANNERS}
            numbers[name] = {planner: numbers_of(folder) for planner, folder in folders.items()}
            numbers[name]["differences"] = differences(folders)
            show(name, numbers[name])
    write_record(options.out, data=[portable(word) for word in options.data], **numbers)


def scored(planner: str, split: str | None, scorer: str, options: argparse.Namespace) -> Path:
    """The folder of one evaluation, which is run unless it is finished."""
    folder = options.runs / f"{split or 'all'}_{scorer}_{planner}"
    if not (folder / SUMMARY).is_file():
        overrides = [f"planner={planner}", f"scorer={scorer}", f"out={quoted(str(folder))}", *options.data]
        evaluate.run(compose("evaluate", overrides + ([f"data.split.test={split}"] if split else [])))
    return folder


def numbers_of(folder: Path) -> dict[str, Any]:
    """The numbers of one evaluation."""
    results, summary = read_evaluation(folder)
    copied = ("scenes", "drives", "failed", "score", "sub_scores", "devkit_mean_without_failed_scenes", "audit")
    counted = {name: summary[name] for name in copied}
    columns = results.columns
    outside = [t for t, inside in zip(results.tokens, columns["drivable_area_compliance"]) if inside == 0]
    return {**counted, "free_of_zeros": free_of_zeros(results), "left_the_drivable_area": outside[:50]}


def free_of_zeros(results: Results) -> float:
    """The share of scenes in which no sub-score that counts is 0.

    v1's driving direction has no weight, and extended comfort may be unknown.
    """
    weightless = {EC, DDC} if results.version is Version.PDMS_V1_1 else {EC}
    return float(np.mean(np.all([v > 0 for name, v in results.terms.items() if name not in weightless], axis=0)))


def differences(folders: dict[str, Path]) -> dict[str, Any]:
    """The differences of all pairs of planners, paired by scene. The planner with the higher mean stands first."""
    order = sorted(folders, key=lambda planner: read_evaluation(folders[planner])[1]["score"]["mean"], reverse=True)
    pairs = {}
    for better, worse in combinations(order, 2):
        total = compare_folders(folders[worse], folders[better]).differences["score"]
        pairs[f"{better} - {worse}"] = {**asdict(total), "shown": is_shown(total)}
    return pairs


def show(name: str, numbers: dict[str, Any]) -> None:
    """Print tables in Markdown."""
    planners = [planner for planner in numbers if planner != "differences"]
    columns = list(numbers[planners[0]]["sub_scores"])
    first = numbers[planners[0]]
    print(f"\n{name}, {counted(first['scenes'], 'scene')} of {counted(first['drives'], 'drive')}\n")
    print(f"| planner | score | free of zeros | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 3)}")
    for planner in planners:
        row = numbers[planner]
        score, subs = row["score"], row["sub_scores"]
        means = " | ".join("–" if subs[c] is None else f"{subs[c]['mean']:.3f}" for c in columns)
        print(f"| {planner} | {as_interval(score).within('.3f')} | {row['free_of_zeros']:.1%} | {means} |")
    for pair, gain in numbers["differences"].items():
        interval = Interval(**{name: value for name, value in gain.items() if name != "shown"})
        print(f"{pair}: {interval.within('+.3f')}{'' if gain['shown'] else ' (not shown)'}")


if __name__ == "__main__":
    main()
