"""How long planning takes, in milliseconds: `planner.plan` alone, without reading the scene from
the disk.

The time a scene takes within the evaluation's batch is the cost of an evaluation; the time one
scene takes alone is what a car would wait for. Both depend on the machine and differ from run to
run, so they are reported apart from the score.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from latentdrive.evaluation.planning import SCENE_ERRORS, AnyPlanner, PlanCall, is_privileged
from latentdrive.planners.baselines.submitted import Submitted
from latentdrive.types import Planner

SCENES = 20  # scenes planned one by one to measure the latency of a single scene
WARM_UP = 3  # calls before the measurement, which are not counted


def is_measured(planner: AnyPlanner) -> bool:
    """Whether its planning time means anything: privileged planners and submissions only look their
    trajectories up."""
    return not is_privileged(planner) and not isinstance(planner, Submitted)


def planning_latency(
    planner: Planner, calls: Sequence[PlanCall], tokens: Sequence[str], opener: Callable[[str], Any]
) -> dict[str, float | int | str] | None:
    """For summary.json: milliseconds a scene at the evaluation's batch, and at batch 1; None where
    nothing was planned.

    calls: those of the evaluation. Only the largest batch counts, and its first call only if there
    is no other. tokens: scenes that were planned; the first SCENES of them are planned once more,
    alone. opener: see `scene_opener`.
    """
    single = _single_scene_ms(planner, tokens[:SCENES], opener)
    if not calls or not single:
        return None
    batch = max(call.scenes for call in calls)
    batched = [1000 * call.seconds / call.scenes for call in calls if call.scenes == batch]
    batched = batched[1:] or batched
    quantiles = {
        f"{name}_{quantile}": float(np.quantile(values, share))
        for name, values in {"ms_per_scene": batched, "ms_batch_1": single}.items()
        for quantile, share in (("median", 0.5), ("p95", 0.95))
    }
    return {"batch": batch, **quantiles, "device": _device(planner), "threads": torch.get_num_threads()}


def _device(planner: Planner) -> str:
    """Where a network runs: cpu, or the name of the GPU."""
    weight = next(planner.parameters(), None) if isinstance(planner, torch.nn.Module) else None
    if weight is None or weight.device.type != "cuda":
        return "cpu" if weight is None else weight.device.type
    return torch.cuda.get_device_name(weight.device)


def _single_scene_ms(planner: Planner, tokens: Sequence[str], opener: Callable[[str], Any]) -> list[float]:
    """Milliseconds for each scene planned alone, after WARM_UP calls on the first one."""
    milliseconds: list[float] = []
    warm = False
    for token in tokens:
        try:
            scenes = [opener(token)]
            for _ in range(0 if warm else WARM_UP):
                planner.plan(scenes)
            warm, start = True, time.perf_counter()
            planner.plan(scenes)
        except SCENE_ERRORS:
            continue  # the scene was planned and scored before, but its file has vanished since
        milliseconds.append(1000 * (time.perf_counter() - start))
    return milliseconds
