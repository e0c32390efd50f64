"""Bundles side by side: how far their plans drift from the first one's, what they score, how long they take."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from latentdrive.errors import BundleRefused, UnreadableClip
from latentdrive.evaluation.planned_split import PreparedSplit, plan_split
from latentdrive.export.bundle_planner import EnginePlanner
from latentdrive.export.gate import apart
from latentdrive.export.runtime import Engine
from latentdrive.export.scene_inputs import scene_inputs
from latentdrive.export.timing import interleaved, machine_load
from latentdrive.types import Scene


def require_comparable(engines: Mapping[str, Engine]) -> None:
    """Raise BundleRefused where bundles are of different planners, or of cameras of different sizes."""
    first, *others = engines
    for name in others:
        for key in ("kind", "parents", "cameras", "plan"):
            if engines[name].card[key] != engines[first].card[key]:
                raise BundleRefused(
                    f"{name} and {first} differ in their {key}: bundles are compared if one checkpoint made them"
                )


def compare(engines: Mapping[str, Engine], split: PreparedSplit, *, repeats: int) -> list[dict[str, Any]]:
    """A row for each bundle. The first one is what the others are compared with."""
    planners = {name: EnginePlanner(engine) for name, engine in engines.items()}
    scenes = _scenes(split)
    poses = {name: planner.plan(scenes).poses for name, planner in planners.items()}
    first = next(iter(poses))
    given = scene_inputs(scenes[0], engines[first].card)
    times = interleaved({n: (lambda engine=e: engine.plan(given)) for n, e in engines.items()}, repeats=repeats)
    rows = []
    for name, engine in engines.items():
        score = None if split.unscorable else float(_score(split, planners[name], name))
        rows.append(
            {
                "bundle": name,
                "backend": engine.card["backend"],
                "precision": engine.card["precision"],
                "scenes": len(scenes),
                "largest_difference": float(apart(poses[first], poses[name]).max()),
                "pdms": score,
                "provider": engine.provider,
                "load": machine_load(),
                **times[name].plain(),
            }
        )
    return rows


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as lines of text."""
    lines = [f"{'format':<13}{'precision':<10}{'drift':>9}{'PDMS':>9}{'p50 ms':>9}{'p99 ms':>9}{'worst':>9}  bundle"]
    for row in rows:
        score = "–" if row["pdms"] is None else f"{row['pdms']:.4f}"
        lines.append(
            f"{row['backend']:<13}{row['precision']:<10}{row['largest_difference']:>9.2g}{score:>9}"
            f"{row['p50']:>9.1f}{row['p99']:>9.1f}{row['worst']:>9.1f}  {row['bundle']}"
        )
    return lines


def _scenes(split: PreparedSplit) -> list[Scene]:
    scenes = []
    for token in split.scenes.tokens:
        try:
            scenes.append(split.scenes.source[token])
        except UnreadableClip:
            continue
    if not scenes:
        raise BundleRefused("no scene of the val split can be opened, so nothing can be compared: check data")
    return scenes


def _score(split: PreparedSplit, planner: EnginePlanner, name: str) -> np.floating:
    return plan_split(split, planner, label=Path(name).name).scored.results.score.mean()
