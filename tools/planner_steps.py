"""What the parts of a training step of a planner cost that learns from true scores. For
bench_planners.py.

The scenes are the golden ones that NAVSIM's devkit scored; LATENTDRIVE_GOLDEN names their folder.
The proposals that are scored are the human's plan with a metre of noise, like those of a trained
planner.
"""

import cProfile
import pstats
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clocks import seconds_of
from planner_costs import made_inputs

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the reader of golden files

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.pdms.prepare import prepare_scene
from latentdrive.pdms.scorer import Scorer
from latentdrive.pdms.storage.building import build_store
from latentdrive.pdms.storage.store import ScoringStore
from latentdrive.pdms.versions import Version
from latentdrive.planners.inputs.batch import PlannerInputs, PlannerTargets
from latentdrive.planners.ipad.targets import agent_targets, area_targets
from latentdrive.planners.sampling import DT_S
from latentdrive.types import SceneTruth
from tests.support.golden_files import FILES, SCENES, golden

VERSION, NOISE_M = Version.PDMS_V1_1, 1.0


@dataclass
class Step:
    """Everything that a training step of a planner needs."""

    model: torch.nn.Module
    loss: Callable[..., dict[str, torch.Tensor]]
    optimizer: torch.optim.Optimizer
    inputs: PlannerInputs
    targets: PlannerTargets
    scenes: list
    device: str


class GoldenTruths:
    """Truths by token, as if all were in one file (a TruthSource of a store)."""

    def __init__(self, truths: Sequence[SceneTruth]) -> None:
        self.truths = {truth.token: truth for truth in truths}

    def truth(self, token: str) -> SceneTruth:
        return self.truths[token]

    def location(self, token: str) -> Path:
        return Path("golden")


def golden_truths(count: int) -> list[SceneTruth]:
    """The first `count` golden scenes. Exits with a message if there are too few."""
    names = [name for name in FILES if name.startswith("0")]
    if len(names) * SCENES < count:
        raise SystemExit("bench_planners: no golden files; LATENTDRIVE_GOLDEN=FOLDER names the folder that holds them")
    return [golden(name).truth(number) for name in names for number in range(SCENES)][:count]


def step_of(name: str, batch: int | None, device: str) -> Step:
    """A planner with its loss and optimiser, and a batch of golden scenes. batch: None for the configured size."""
    cfg = compose("train_planner", [f"planner={name}", "data.path=none"])
    truths = golden_truths(batch or cfg.batches.batch_size)
    model = build(cfg.model).train().to(device)
    human = np.stack([truth.human.poses[:8] for truth in truths])
    return Step(
        model=model,
        loss=build(cfg.training.loss),
        optimizer=build(cfg.training.optimizer)([p for p in model.parameters() if p.requires_grad]),
        inputs=made_inputs(model.sensors, len(truths)).to(device),
        targets=PlannerTargets(trajectory=torch.from_numpy(human).float()).to(device),
        scenes=[prepare_scene(truth, VERSION.rules) for truth in truths],
        device=device,
    )


def step_times(name: str, threads: int, batch: int | None, rounds: int) -> dict[str, Any]:
    """Milliseconds of the parts of a step and the share of scoring, on the CPU, and on the GPU if there is one."""
    torch.set_num_threads(threads)
    measured = {"cpu": parts_of_step(step_of(name, batch, "cpu"), rounds)}
    if torch.cuda.is_available():
        measured["cuda"] = parts_of_step(step_of(name, None, "cuda"), rounds)
    return measured


def parts_of_step(step: Step, rounds: int) -> dict[str, float]:
    """Medians over several steps of the parts of a step, in order.

    `truth` is the time for scores, agents and areas of the proposals; it is part of `loss`.
    """
    with tempfile.TemporaryDirectory() as folder:
        opener = stored(Path(folder), len(step.scenes))
        clocks: list[dict[str, float]] = [one_step(step, opener) for _ in range(rounds + 1)]
    ms = {key: 1e3 * statistics.median(clock[key] for clock in clocks[1:]) for key in clocks[0]}
    whole = ms["build_scorer"] + ms["forward"] + ms["loss"] + ms["backward"] + ms["optimiser"]
    scoring = ms["build_scorer"] + ms["truth"]
    return {
        "batch": len(step.scenes),
        "proposals": step.model.refiner.shape[0],
        **{f"{key}_ms": value for key, value in ms.items()},
        "step_ms": whole,
        "scoring_share": scoring / whole,
        "scoring_share_with_reading": (scoring + ms["read_store"]) / (whole + ms["read_store"]),
    }


def stored(folder: Path, count: int) -> Callable[[], list]:
    """A function that opens the scenes from a store, which is written here."""
    truths = golden_truths(count)
    prepare = partial(prepare_scene, rules=VERSION.rules)
    tokens = [truth.token for truth in truths]
    build_store(
        folder, GoldenTruths(truths), tokens, prepare, rules=VERSION.rules, processes=1, memory_gb=4.0, progress=None
    )
    return lambda: [store.get(token) for store in [ScoringStore(folder)] for token in tokens]


def one_step(step: Step, opener: Callable[[], list]) -> dict[str, float]:
    """Seconds of each part of one training step."""
    clock: dict[str, float] = {}
    _timed(clock, "read_store", opener)
    scorer = _timed(clock, "build_scorer", partial(Scorer, step.scenes, version=VERSION, device=step.device))
    output = _timed(clock, "forward", partial(step.model, step.inputs))
    noise = NOISE_M * torch.randn_like(output.proposals)
    output = replace(output, proposals=step.targets.trajectory[:, None] + noise)
    _timed(clock, "truth", partial(truth_about, scorer, output))
    parts = _timed(clock, "loss", partial(step.loss, output, step.targets, scorer))
    _timed(clock, "backward", torch.stack(list(parts.values())).sum().backward)
    _timed(clock, "optimiser", step.optimizer.step)
    step.optimizer.zero_grad()
    return clock


def truth_about(scorer: Scorer, output: Any) -> None:
    """Compute what the loss asks the scorer for."""
    steps, device = output.area_logits.shape[2], output.proposals.device
    scores = scorer.score_poses(output.proposals, dt_s=DT_S, states=True)
    agent_targets(scorer, scores, steps, device)
    area_targets(scorer, scores, steps, device)


def profile(step: Step) -> None:
    """Print where building the scorer and scoring spend their time."""
    output = step.model(step.inputs)
    with cProfile.Profile() as watch:
        for _ in range(5):
            truth_about(Scorer(step.scenes, version=VERSION), output)
    pstats.Stats(watch).sort_stats("cumulative").print_stats("latentdrive", 25)
    pstats.Stats(watch).sort_stats("tottime").print_stats(15)


def _timed(clock: dict[str, float], name: str, call: Callable[[], Any]) -> Any:
    """The result of a call, whose seconds are written into the clock."""
    clock[name], result = seconds_of(call)
    return result
