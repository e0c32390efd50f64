"""How long planning takes: `planner.plan` alone, without opening scenes from the disk, in milliseconds.

After planning.py. What a planner takes at the evaluation's batch is what an evaluation costs; what it takes for one scene is what a car
would wait for. These numbers are the machine's, and differ from run to run: they stand apart from the score.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from latentdrive.evaluation.planning import FAILS, Call
from latentdrive.planners.baselines.submitted import Submitted
from latentdrive.types import Planner, PrivilegedPlanner

SCENES, WARM_UP = 20, 3  # scenes that are planned one by one; calls before, which are not counted


def is_measured(planner: Planner | PrivilegedPlanner) -> bool:
    """Whether planning takes a time worth telling: the privileged look up what happened, and a submission was planned elsewhere."""
    return getattr(planner, "privileged", False) is not True and not isinstance(planner, Submitted)


def latency(
    planner: Planner, calls: Sequence[Call], tokens: Sequence[str], opener: Callable[[str], Any]
) -> dict[str, float | int | str] | None:  # fmt: skip
    """For summary.json: milliseconds a scene at the evaluation's batch, and at batch 1; None where nothing was planned.

    calls: of the evaluation; the largest batch counts, and its first call only where there is no other. tokens: of scenes that
    were planned, SCENES of which are planned once more; opener: see `what_it_takes`.
    """
    alone = _alone(planner, tokens[:SCENES], opener)
    if not calls or not alone:
        return None
    batch = max(call.scenes for call in calls)
    full = [1000 * call.seconds / call.scenes for call in calls if call.scenes == batch]
    full = full[1:] or full
    told = {"ms_per_scene": full, "ms_batch_1": alone}
    quantiles = {
        f"{name}_{what}": float(np.quantile(values, share))
        for name, values in told.items()
        for what, share in (("median", 0.5), ("p95", 0.95))
    }
    return {"batch": batch, **quantiles, "device": _device(planner), "threads": torch.get_num_threads()}


def _device(planner: Planner) -> str:
    """Where a network runs: cpu, or the name of the GPU."""
    weight = next(planner.parameters(), None) if isinstance(planner, torch.nn.Module) else None
    if weight is None or weight.device.type != "cuda":
        return "cpu" if weight is None else weight.device.type
    return torch.cuda.get_device_name(weight.device)


def _alone(planner: Planner, tokens: Sequence[str], opener: Callable[[str], Any]) -> list[float]:
    """Milliseconds for each scene by itself, after warm-up calls on the first one."""
    spent: list[float] = []
    warm = False
    for token in tokens:
        try:
            scenes = [opener(token)]
            for _ in range(0 if warm else WARM_UP):
                planner.plan(scenes)
            warm, start = True, time.perf_counter()
            planner.plan(scenes)
        except FAILS:
            continue  # its file is gone since; it was planned and scored before
        spent.append(1000 * (time.perf_counter() - start))
    return spent
