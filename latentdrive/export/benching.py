"""What `bench` measures: whole plans by arm, stages of a plan, and the floor below which no implementation gets.

Arms are PyTorch as it is (eager), under torch.compile (compile), and bundles. Batch 1, pictures of noise.
"""

import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from latentdrive.export.graphs import Graph
from latentdrive.export.made_scene import decode, encoded
from latentdrive.export.runtime import Engine, Limits, faults_of
from latentdrive.export.scene_inputs import scene_inputs
from latentdrive.export.timing import WARM_UP, Times, times_of
from latentdrive.planners.inputs.batch import inputs_of, stacked
from latentdrive.planners.ipad.images import CameraFeatures
from latentdrive.planners.latents.fusion import AttentionPool, LatentFusion
from latentdrive.planners.learned import LearnedPlanner
from latentdrive.planners.transfuser.backbone import TransfuserBackbone
from latentdrive.types import FROZEN, Scene

DECODE, PREPARE, STUDENT, BACKBONE, FUSION, HEAD, CHECK = (
    "decode",
    "pre-process",
    "student",
    "backbone",
    "fusion",
    "head",
    "check",
)
STAGE_OF = {
    TransfuserBackbone: BACKBONE,
    CameraFeatures: BACKBONE,
    LatentFusion: FUSION,
    AttentionPool: FUSION,
}
SQUARE, COPIED_BYTES = 1024, 1 << 27  # of the matrix product and the copy that tell what the machine can


@dataclass(**FROZEN)
class Floor:
    """Work of one plan, and the time that this machine needs for it at its best. bytes: of the weights, read once."""

    flops: int
    bytes: int
    milliseconds: float


class Stopwatch:
    """Seconds by stage, of one plan after the other."""

    def __init__(self) -> None:
        self.plans: dict[str, list[float]] = {}
        self.now: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what the block takes for this stage."""
        start = time.perf_counter()
        yield
        self.now[name] = self.now.get(name, 0.0) + time.perf_counter() - start

    def end(self) -> None:
        """End a plan."""
        for name, seconds in self.now.items():
            self.plans.setdefault(name, []).append(seconds)
        self.now = {}

    def times(self) -> dict[str, Times]:
        """Of every stage."""
        return {name: times_of(seconds) for name, seconds in self.plans.items()}


def planner_stages(planner: LearnedPlanner, scene: Scene, limits: Limits, repeats: int) -> dict[str, Times]:
    """The stages of a planner in PyTorch. head: what is neither backbone nor fusion."""
    files, watch = encoded(scene), Stopwatch()
    with _hooked(planner, watch):
        for turn in range(WARM_UP + repeats):
            _staged_plan(planner, scene, limits, files, watch)
            watch.end()
            if turn == WARM_UP - 1:
                watch.plans.clear()
    return watch.times()


def _staged_plan(planner: LearnedPlanner, scene: Scene, limits: Limits, files: list[bytes], watch: Stopwatch) -> None:
    latents = None
    with watch.stage(DECODE):
        decode(files)
    with watch.stage(PREPARE):
        arrays = stacked([planner.sensors(scene)])
    if planner.latents is not None:
        with watch.stage(STUDENT):
            latents = planner.latents.of([scene])
    inputs = inputs_of([scene.token], arrays)
    inputs = type(inputs)(**{name: getattr(inputs, name) for name in inputs.__slots__} | {"latents": latents})
    with torch.no_grad(), watch.stage(HEAD):
        poses = planner(inputs).trajectory[0].numpy()
    watch.now[HEAD] -= sum(watch.now.get(name, 0.0) for name in (BACKBONE, FUSION))
    with watch.stage(CHECK):
        faults_of(poses, 0.5, float(scene.ego.velocity[-1, 0]), limits)


@contextmanager
def _hooked(planner: nn.Module, watch: Stopwatch) -> Iterator[None]:
    """Time the planner's modules that are stages of their own."""
    hooks, started = [], {}
    for module in planner.modules():
        if (stage := STAGE_OF.get(type(module))) is None:
            continue

        def before(module: nn.Module, _: Any) -> None:
            started[module] = time.perf_counter()

        def after(module: nn.Module, _: Any, __: Any, stage: str = stage) -> None:
            watch.now[stage] = watch.now.get(stage, 0.0) + time.perf_counter() - started.pop(module)

        hooks += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def engine_stages(engine: Engine, scene: Scene, limits: Limits, repeats: int) -> dict[str, Times]:
    """The stages of a bundle: its graphs hold pre-processing, backbone, student and fusion."""
    files, watch, own = encoded(scene), Stopwatch(), dict(engine.sessions)

    def timed(name: str) -> Callable:
        def session(feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
            with watch.stage(name):
                return own[name](feeds)

        return session

    engine.sessions = {name: timed(name) for name in own}
    try:
        for turn in range(WARM_UP + repeats):
            with watch.stage(DECODE):
                decode(files)
            with watch.stage(PREPARE):
                given = scene_inputs(scene, engine.card)
            poses = engine.plan(given).poses
            with watch.stage(CHECK):
                faults_of(poses, engine.card["plan"]["dt_s"], float(scene.ego.velocity[-1, 0]), limits)
            watch.end()
            if turn == WARM_UP - 1:
                watch.plans.clear()
    finally:
        engine.sessions = own
    return watch.times()


def floor_of(graphs: list[Graph]) -> Floor:
    """The floor of one call of every graph."""
    flops = 0
    for graph in graphs:
        graph.module.requires_grad_(False)  # the counter asks parameters for gradients that nobody computes
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            graph.module(*graph.inputs.values())
        flops += counter.get_total_flops()
    weights = {p.data_ptr(): p.numel() * p.element_size() for graph in graphs for p in graph.module.parameters()}
    size, (peak, bandwidth) = sum(weights.values()), machine_peaks()
    return Floor(flops=flops, bytes=size, milliseconds=1000 * max(flops / peak, size / bandwidth))


def machine_peaks() -> tuple[float, float]:
    """Floating-point operations and bytes a second that this machine reaches with PyTorch, the best of ten tries."""
    matrix, copied = torch.randn(SQUARE, SQUARE), torch.empty(COPIED_BYTES, dtype=torch.uint8)
    product = min(_seconds(lambda: matrix @ matrix) for _ in range(10))
    copy = min(_seconds(copied.clone) for _ in range(10))
    return 2 * SQUARE**3 / product, 2 * COPIED_BYTES / copy


def peak_memory_mb() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
