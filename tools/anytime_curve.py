"""Score against steps of one trained anytime planner: fixed numbers of steps, adaptive, warm start, lazy coda.

    python tools/anytime_curve.py runs/tables/anytime/ltf_anytime_0/train/checkpoint \\
        --out docs/results/anytime_seed0.json -- data=navsim data.path=data/navsim_bench

The bound delta of the adaptive arms and the probe of the lazy coda are chosen on --choose-on (val): of all whose mean
score there is at most --within below the best one, the one that takes the fewest steps, or for the probe the smallest
number (the coda begins latest). Then every arm plans --split (test). All arms share one look at each scene, and their
heads are timed in turn. Written are, for each arm: the score with its 95 % interval by drive, its paired difference
from the plan before any step, mean steps, milliseconds of the head, and how well movement ranks failed plans (AUROC).
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anytime_arms import Arm, ArmsOf
from records import portable, write_record

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.counting import counted
from latentdrive.data.clips.data_set import DataSet
from latentdrive.errors import ConfigError, UnreadableClip
from latentdrive.evaluation.uncertainty import FAILED_AT_MOST
from latentdrive.pdms.versions import Version
from latentdrive.planners.anytime import AnytimePlanner
from latentdrive.planners.inputs.prepared_scenes import PreparedScenes
from latentdrive.planners.loading import load_planner
from latentdrive.planners.sampling import DT_S
from latentdrive.progress import unwatched
from latentdrive.statistics import Interval, auroc_by_drive, bootstrap_by_drive

FIXED = (1, 2, 4, 8, 12, 16, 32)
DELTAS = (2e-3, 1e-3, 5e-4, 2e-4, 1e-4)  # RD-VLA has 5e-4 to 1e-3
PROBES = (1e-3, 3e-3, 1e-2, 3e-2)
MOST = 32
BATCH = 32


class Split:
    """The scenes of a split of the data that open, and the scores of plans in them."""

    def __init__(self, data: DataSet, name: str, *, needs: Any, version: Version, stores: Path, limit: int | None):
        self.source = data.open_scenes(split=name, needs=needs, progress=unwatched)
        self.prepared = PreparedScenes(stores, version=version, processes=1, memory_gb=8.0, kept=64)
        tokens = list(self.source.tokens)[:limit]
        failed = self.prepared.prepare(data.scenes.id_of(name), self.source, tokens, progress=unwatched)
        self.tokens = [token for token in tokens if token not in failed]

    def plan(self, arms: Mapping[str, Arm], of: ArmsOf, *, earlier: Arm | None) -> dict[str, Any]:
        """Drives, and by arm the scores, steps and movements of all scenes."""
        rows: dict[str, list[np.ndarray]] = {}
        drives: list[str] = []
        for start in range(0, len(self.tokens), BATCH):
            scenes = [scene for token in self.tokens[start : start + BATCH] if (scene := self.open(token)) is not None]
            planned = of.plan(arms, scenes, earlier=earlier)
            poses = torch.stack([one.poses for one in planned.values()], 1)
            scorer = self.prepared.scorer([scene.token for scene in scenes], poses.device)
            scores = scorer.score_poses(poses, dt_s=DT_S).score.cpu().numpy()
            drives += [scene.drive for scene in scenes]
            for number, (name, one) in enumerate(planned.items()):
                columns = np.stack([scores[:, number], one.steps.numpy(), one.movement.numpy()])
                rows.setdefault(name, []).append(columns)
        return {"drives": drives, "arms": {name: np.concatenate(parts, 1) for name, parts in rows.items()}}

    def open(self, token: str) -> Any:
        """A scene, or None where it can't be opened."""
        try:
            return self.source[token]
        except UnreadableClip:
            return None


def main(arguments: Sequence[str] | None = None) -> None:
    """Choose on val, measure on test, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--choose-on", default="val")
    parser.add_argument("--within", type=float, default=0.005)
    parser.add_argument("--scorer", default="pdms_v1.1")
    parser.add_argument("--limit", type=int, help="only the first scenes of each split")
    parser.add_argument("--timed", type=int, default=30, help="scenes in which the heads are timed")
    parser.add_argument("--latents", help="stores of embeddings, for a planner that reads them")
    parser.add_argument("data", nargs="+", help="overrides of `latentdrive evaluate` that name the data")
    options = parser.parse_args(arguments)
    planner = load_planner(
        folder=options.checkpoint, latents=options.latents, predictor=None, oracle_future=False, device="cpu"
    )
    if not isinstance(planner, AnytimePlanner):
        raise ConfigError(f"{options.checkpoint} holds a {type(planner).__name__}, which does not refine its plan")
    write_record(
        options.out, checkpoint=portable(options.checkpoint), **measured(planner.eval(), options, options.data)
    )


@torch.no_grad()
def measured(planner: Any, options: argparse.Namespace, words: Sequence[str]) -> dict[str, Any]:
    """Everything that is written."""
    cfg = compose("evaluate", list(words))
    data, common = build(cfg.data), {"version": Version(options.scorer), "stores": Path(cfg.stores).expanduser()}
    common |= {"needs": planner.needs, "limit": options.limit}
    val = Split(data, options.choose_on, **common)
    delta, probe, chosen_from = choose(val, ArmsOf(planner, val.source), within=options.within)
    earlier = Arm(delta=delta, most=MOST)
    arms = {
        **{f"fixed_{count}": Arm(delta=0.0, most=count) for count in FIXED},
        **{f"adaptive_{bound:g}": Arm(delta=bound, most=MOST) for bound in DELTAS},
        "warm": Arm(delta=delta, most=MOST, warm=True),
        "lazy": Arm(delta=delta, most=MOST, probe=probe),
        "warm_lazy": Arm(delta=delta, most=MOST, probe=probe, warm=True),
    }
    test = Split(data, options.split, **common)
    of = ArmsOf(planner, test.source)
    seen = test.plan(arms, of, earlier=earlier)
    timed = [scene for token in test.tokens[: options.timed] if (scene := test.open(token)) is not None]
    times = of.times_ms(arms, timed, earlier=earlier)
    numbers = {name: numbers_of(columns, seen["arms"]["own"], seen["drives"]) for name, columns in seen["arms"].items()}
    for name, row in numbers.items():
        row["head_ms"] = 0.0 if name == "own" else times[name]
        if f"{name}+earlier" in times:
            row["head_ms_with_the_earlier_pass"] = times[f"{name}+earlier"]
        print(f"{name:<16} {row['score']['mean']:.4f}  {row['mean_steps']:5.1f} steps  {row['head_ms']:7.2f} ms")
    scenes = {"split": options.split, "scenes": len(seen["drives"]), "scorer": options.scorer, "timed": len(timed)}
    chosen = {"on": options.choose_on, "within": options.within, "delta": delta, "probe": probe, "from": chosen_from}
    print(f"{counted(len(seen['drives']), 'scene')}; delta {delta:g} and probe {probe:g} chosen on {options.choose_on}")
    return {**scenes, "failed_at_most": FAILED_AT_MOST, "chosen": chosen, "perceive_ms": times["perceive"],
            "arms": numbers}  # fmt: skip


def choose(val: Split, of: ArmsOf, *, within: float) -> tuple[float, float, dict[str, Any]]:
    """delta and probe, and the mean score and mean steps of everything that was tried."""
    deltas = {bound: Arm(delta=bound, most=MOST) for bound in DELTAS}
    adaptive = means_of(val.plan({f"{bound:g}": arm for bound, arm in deltas.items()}, of, earlier=None))
    delta = cheapest({bound: adaptive[f"{bound:g}"] for bound in DELTAS}, within, cost=lambda bound, row: row["steps"])
    probes = {f"{probe:g}": Arm(delta=delta, most=MOST, probe=probe) for probe in PROBES}
    lazy = means_of(val.plan(probes, of, earlier=None))
    probe = cheapest({probe: lazy[f"{probe:g}"] for probe in PROBES}, within, cost=lambda probe, row: probe)
    return delta, probe, {"deltas": adaptive, "probes": lazy}


def means_of(seen: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Mean score and mean steps by arm."""
    arms = seen["arms"].items()
    return {name: {"score": float(scores.mean()), "steps": float(steps.mean())} for name, (scores, steps, _) in arms}


def cheapest(rows: Mapping[float, Mapping[str, float]], within: float, *, cost: Any) -> float:
    """Of the settings whose score is at most `within` below the best one, the cheapest."""
    best = max(row["score"] for row in rows.values())
    good = {setting: row for setting, row in rows.items() if row["score"] >= best - within}
    return min(good, key=lambda setting: cost(setting, good[setting]))


def numbers_of(columns: np.ndarray, own: np.ndarray, drives: Sequence[str]) -> dict[str, Any]:
    """Score, difference from the plan before any step, steps, and AUROC of an arm."""
    scores, steps, movement = columns.astype(np.float64)
    known = ~np.isnan(movement)
    ranked = None
    if known.any():
        there = [drive for drive, is_known in zip(drives, known) if is_known]
        ranked = auroc_by_drive(movement[known], scores[known] <= FAILED_AT_MOST, there)
    return {
        "score": plain(bootstrap_by_drive(scores, drives)),
        "minus_own": plain(bootstrap_by_drive(scores - own[0], drives)),
        "mean_steps": float(steps.mean()),
        "failed": int((scores <= FAILED_AT_MOST).sum()),
        "auroc": None if ranked is None else plain(ranked),
    }


def plain(interval: Interval) -> dict[str, float]:
    """Mean, low and high."""
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


if __name__ == "__main__":
    main()
