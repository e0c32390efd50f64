"""`bench`: how long a planner or a bundle takes, whole and stage by stage, one scene at a time.

    latentdrive bench planner=runs/planner/checkpoint arms='[eager,compile,onnx,aoti]'
    latentdrive bench planner=ltf
    latentdrive bench bundles='[runs/onnx/bundle,runs/int8/bundle]'

Arms take turns. planner=ltf, planner=ipad and other networks without a checkpoint are measured with random weights.
"""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from latentdrive.build import build
from latentdrive.config import Config
from latentdrive.drawing.score_latency import score_latency_svg
from latentdrive.errors import ConfigError
from latentdrive.export import runtime
from latentdrive.export.benching import engine_stages, floor_of, peak_memory_mb, planner_stages
from latentdrive.export.bundle import planner_card
from latentdrive.export.bundle_planner import EnginePlanner
from latentdrive.export.formats import Format, Precision, write
from latentdrive.export.graphs import Graph, planner_graphs
from latentdrive.export.made_scene import made_scene
from latentdrive.export.scene_inputs import cameras_of, scene_inputs
from latentdrive.export.sessions import compiled, engine_of, open_bundle, open_graphs
from latentdrive.export.timing import Times, interleaved, machine_load
from latentdrive.kinds import Count
from latentdrive.planners.learned import LearnedPlanner
from latentdrive.run_folder import METRICS, RunFolder
from latentdrive.types import Scene

EAGER, COMPILE = "eager", "compile"
ARMS = (EAGER, COMPILE, Format.ONNX, Format.TORCH_EXPORT, Format.AOTI)
PICTURE = "pdms_p99.svg"
OTHERS = ["training", "batches", "trainer"]  # what options of `planner` say for training


def run(cfg: Config) -> Path:
    """Print and write the times; returns the run's folder."""
    with RunFolder(cfg, verb=cfg.verb) as folder, ExitStack() as kept:
        bundles, arms, size = cfg.bundles, cfg.arms, tuple(cfg.size)
        repeats, threads, trust, dry_run = (
            cfg.value("repeats", Count),
            cfg.value("threads", int),
            cfg.trust,
            cfg.dry_run,
        )
        limits, scores = runtime.Limits.of(cfg.limits.plain()), cfg.scores.plain()
        if threads:
            torch.set_num_threads(threads)
        planner = None if bundles else _planner(cfg)
        if unknown := [arm for arm in arms if arm not in ARMS]:
            raise ConfigError(f"arms: {unknown[0]} is unknown: choose from {', '.join(ARMS)}")
        cfg.mark_read([name for name in ("planner", "model", "scores", *OTHERS) if name in cfg])
        cfg.require_all_read()
        if dry_run:
            folder.say(f"dry run: would measure {', '.join(bundles or arms)}")
            return folder.path
        if planner is None:
            bench = _of_bundles(bundles, size, threads, trust)
        else:
            draft = Path(kept.enter_context(tempfile.TemporaryDirectory()))
            bench = _of_planner(planner, arms, size, threads, limits, draft, folder.say)
        _report(folder, *bench, limits=limits, repeats=repeats, scores=scores)
        then = f"run bundle={bundles[0]} source=VIDEO" if bundles else "export planner=CHECKPOINT data=navsim"
        folder.finish(folder.path / METRICS, f"latentdrive {then}")
        return folder.path


def _planner(cfg: Config) -> LearnedPlanner:
    """The planner of a checkpoint, or one with random weights."""
    if "model" in cfg:
        torch.manual_seed(cfg.seed)
        planner = build(cfg.model, fusion=None)
    else:
        planner = build(cfg.planner)
    if not isinstance(planner, LearnedPlanner):
        raise ConfigError(
            f"{type(planner).__name__} is no network: give a checkpoint, or planner=ltf with random weights"
        )
    return planner.eval()


Arms = dict[str, Callable[[], object]]
Stages = Callable[[int], dict[str, dict[str, Times]]]


def _of_bundles(names: list[str], size: tuple[int, int], threads: int, trust: bool) -> tuple[Any, ...]:
    engines = {name: open_bundle(name, threads=threads, trust=trust) for name in names}
    first = next(iter(engines.values())).card
    facts = list(first["cameras"].values())
    scene = made_scene(
        EnginePlanner(engines[names[0]]).needs, (facts[0]["height"], facts[0]["width"]) if facts else size
    )
    return engines, None, scene, None


def _of_planner(
    planner: LearnedPlanner,
    arms: list[str],
    size: tuple[int, int],
    threads: int,
    limits: runtime.Limits,
    draft: Path,
    say: Callable[[str], None],
) -> tuple[Any, ...]:
    scene = made_scene(planner.needs, size)
    cameras = cameras_of(scene, planner.needs.cameras)
    graphs = planner_graphs(planner, cameras)
    card = planner_card(planner, cameras, graphs, limits)
    engines = {}
    for arm in arms:
        if arm == COMPILE:
            engines[arm] = engine_of(graphs, card, compiled)
        elif arm != EAGER:
            say(f"{arm}: writing {len(graphs)} graphs")
            files = {g.name: write(g, draft, Format(arm), Precision.FP32, calibration={}, suffix=arm) for g in graphs}
            engines[arm] = open_graphs(card, files, Format(arm), threads=threads)
    return engines, planner if EAGER in arms else None, scene, graphs


def _report(
    folder: RunFolder,
    engines: dict[str, runtime.Engine],
    planner: LearnedPlanner | None,
    scene: Scene,
    graphs: list[Graph] | None,
    *,
    limits: runtime.Limits,
    repeats: int,
    scores: dict[str, float],
) -> None:
    """Measure, print and write."""
    arms: Arms = {} if planner is None else {EAGER: lambda: planner.plan([scene])}
    for name, engine in engines.items():
        given = scene_inputs(scene, engine.card)
        arms[name] = lambda engine=engine, given=given: engine.plan(given)
    before, whole = machine_load(), interleaved(arms, repeats=repeats)
    stages = {} if planner is None else {EAGER: planner_stages(planner, scene, limits, repeats)}
    stages |= {name: engine_stages(engine, scene, limits, repeats) for name, engine in engines.items()}
    floor = None if graphs is None else floor_of(graphs)
    for line in _table(whole, stages):
        folder.say(line)
    if floor is not None:
        folder.say(
            f"floor: {floor.flops / 1e9:.2f} GFLOP, {floor.bytes / 1e6:.0f} MB of weights: {floor.milliseconds:.1f} ms"
        )
    folder.say(f"peak memory {peak_memory_mb():.0f} MB, load {before:.1f}, {torch.get_num_threads()} threads")
    known = {name: _score(engine) for name, engine in engines.items()} | scores
    points = {n: (times.p99, known[n]) for n, times in whole.items() if known.get(n) is not None}
    if points:
        folder.write(PICTURE, score_latency_svg(points))
    folder.metrics(
        {
            "milliseconds": {name: times.plain() for name, times in whole.items()},
            "stages": {n: {stage: times.plain() for stage, times in of.items()} for n, of in stages.items()},
            "floor": None if floor is None else {"flops": floor.flops, "bytes": floor.bytes, "ms": floor.milliseconds},
            "peak_memory_mb": peak_memory_mb(),
            "load": before,
            "threads": torch.get_num_threads(),
        }
    )


def _score(engine: runtime.Engine) -> float | None:
    """The PDMS that the gate measured."""
    gate = engine.card.get("gate")
    return None if gate is None else gate["pdms_bundle"]


def _table(whole: dict[str, Times], stages: dict[str, dict[str, Times]]) -> list[str]:
    wide = max(len(name) for name in whole) + 2
    lines = [f"{'ms':<{wide}}{'p50':>9}{'p90':>9}{'p99':>9}{'worst':>9}{'jitter':>8}{'p99/mean':>10}"]
    for name, t in whole.items():
        lines.append(
            f"{name:<{wide}}{t.p50:>9.2f}{t.p90:>9.2f}{t.p99:>9.2f}{t.worst:>9.2f}{t.jitter:>8.2f}{t.tail:>10.2f}"
        )
    for name, of in stages.items():
        lines.append(f"{name}: " + ", ".join(f"{stage} {times.p50:.2f}" for stage, times in of.items()))
    return lines
