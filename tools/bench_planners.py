"""What planners cost: size, time and memory of each, and how much of a training step of iPad its true scores take.

    python tools/bench_planners.py                                     # prints; about ten minutes on two CPU cores
    python tools/bench_planners.py --out docs/results/bench_planners.json
    python tools/bench_planners.py --planners ipad_tiny --steps        # the share of scoring alone
    python tools/bench_planners.py --profile                           # where scoring spends its time; writes nothing

Pictures are noise, weights are random: neither changes a time. Scenes of training steps are the golden ones that NAVSIM's devkit scored
(LATENTDRIVE_GOLDEN names another folder); proposals to score are the human's plan with a metre of noise, as a trained planner's are.
Times are medians; each planner is measured in a process of its own, one after the other. On a GPU also frames a second.
"""

import argparse
import cProfile
import pstats
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from records import write_record
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/pdms"))  # the one reader of golden files
from golden_files import FILES, SCENES, golden

from latentdrive.build import build
from latentdrive.config import compose, configs_folder
from latentdrive.pdms.prepare import prepare_scene
from latentdrive.pdms.scorer import Scorer
from latentdrive.pdms.storage.building import build_store
from latentdrive.pdms.storage.store import ScoringStore
from latentdrive.pdms.versions import Version
from latentdrive.planners.inputs.batch import PlannerInputs, PlannerTargets
from latentdrive.planners.inputs.sensors import Sensors, Surround
from latentdrive.planners.ipad.targets import agent_targets, area_targets
from latentdrive.planners.sampling import DT_S
from latentdrive.types import SceneTruth

PLANNERS = ("ego_mlp", "ltf", "transfuser", "ipad")
STEPS = {"ipad_tiny": None, "ipad": 2}  # whose training steps are taken apart: scenes a step, None: as configured
VERSION, NOISE_M = Version.PDMS_V1_1, 1.0
YAWS_DEG = {"cam_f0": 0.0, "cam_l0": 55.0, "cam_r0": -55.0, "cam_b0": 180.0}
HUGE_STEPS = 200  # of a warm-up that a GPU needs before it runs at its usual speed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planners", nargs="+", default=PLANNERS)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, default=2, help="scenes of the timed forward and backward pass")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", action="store_true", help="only the training steps of the planners named that score")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.profile:
        profile(step_of("ipad_tiny", None, "cpu"))
        return
    found: dict[str, Any] = {"threads": options.threads, "rounds": options.rounds}
    if not options.steps:
        names = [name for name in options.planners if there(name)]
        found["planners"] = {name: apart(cost, name, options.threads, options.batch, options.rounds) for name in names}
        show_costs(found["planners"])
    scoring = [name for name in STEPS if there(name) and (not options.steps or name in options.planners)]
    found["training_steps"] = {
        name: apart(step_times, name, options.threads, STEPS[name], options.rounds) for name in scoring
    }
    show_steps(found["training_steps"])
    if options.out:
        write_record(options.out, **found)


def there(name: str) -> bool:
    """Whether a planner of this name is configured; says so where it isn't."""
    if (configs_folder() / f"planner/{name}.yaml").is_file():
        return True
    print(f"bench_planners: there is no configs/planner/{name}.yaml, it is left out")
    return False


def apart(call: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a call in a process of its own, so that its peak of memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


# ---- size, time, memory ----


def cost(name: str, threads: int, batch: int, rounds: int) -> dict[str, Any]:
    """Parameters, and milliseconds and megabytes on this CPU; on a GPU, if there is one, frames a second too."""
    torch.set_num_threads(threads)
    before_mb = peak_mb()
    model = build(compose("train_planner", [f"planner={name}", "data.path=none"]).model)
    one, some = made_inputs(model.sensors, 1), made_inputs(model.sensors, batch)
    with torch.no_grad():
        model.eval()
        found = {
            "parameters": sum(p.numel() for p in model.parameters()), "batch": batch,
            "latency_ms": 1e3 * usual(partial(model, one), rounds), "forward_ms": 1e3 * usual(partial(model, some), rounds),
            "peak_mb_in_use": peak_mb() - before_mb,
        }  # fmt: skip
    model.train()
    found["forward_backward_ms"] = 1e3 * usual(partial(backward, model, some), rounds)
    found["peak_mb_in_training"] = peak_mb() - before_mb
    if torch.cuda.is_available():
        found["cuda"] = on_gpu(model.eval().cuda(), one.to("cuda"), rounds)
    return found


def on_gpu(model: torch.nn.Module, inputs: PlannerInputs, rounds: int) -> dict[str, float | str]:
    """Frames a second at batch 1: float32, bfloat16, and bfloat16 compiled. Peak of memory in megabytes."""
    found: dict[str, float | str] = {}
    torch.cuda.reset_peak_memory_stats()
    with torch.no_grad():
        usual(partial(model, inputs), HUGE_STEPS)
        found["fps_float32"] = 1 / usual(partial(model, inputs), 20 * rounds)
        with torch.autocast("cuda", torch.bfloat16):
            found["fps_bfloat16"] = 1 / usual(partial(model, inputs), 20 * rounds)
            try:
                compiled = torch.compile(model)
                found["fps_compiled"] = 1 / usual(partial(compiled, inputs), 20 * rounds)
            except Exception as error:  # whatever the compiler can't do is a finding, not an end
                found["fps_compiled"] = f"fails: {str(error).splitlines()[0]}"
    found["peak_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return found


def backward(model: torch.nn.Module, inputs: PlannerInputs) -> None:
    """Gradients of everything that the output says."""
    output = model(inputs)
    told = (getattr(output, name) for name in output.__dataclass_fields__)
    torch.stack([one.float().square().mean() for one in told if isinstance(one, torch.Tensor)]).sum().backward()
    model.zero_grad()


def made_inputs(sensors: Sensors, count: int) -> PlannerInputs:
    """Noise for what these sensors see."""
    draw, arrays = torch.Generator().manual_seed(0), {}
    if sensors.cameras is not None:
        views, size = 1, (sensors.cameras.height, sensors.cameras.width)
        if isinstance(sensors.cameras, Surround):
            views = len(sensors.cameras.names)
            arrays |= calibration(sensors.cameras, count)
        arrays["cameras"] = torch.randint(0, 256, (count, views, 3, *size), dtype=torch.uint8, generator=draw)
    if sensors.lidar is not None:
        cells = round(2 * sensors.lidar.half_m * sensors.lidar.cells_per_m)
        arrays["lidar"] = torch.rand(count, 1 + sensors.lidar.ground, cells, cells, generator=draw)
    return PlannerInputs(
        tokens=tuple(map(str, range(count))), velocity=torch.tensor([[6.0, 0.0]]).repeat(count, 1),
        acceleration=torch.zeros(count, 2), command=torch.ones(count, dtype=torch.long), **arrays,
    )  # fmt: skip


def calibration(cameras: Surround, count: int) -> dict[str, torch.Tensor]:
    """Level cameras 1.6 m above the ground, field of view 64 degrees."""
    poses = []
    for yaw in (np.deg2rad(YAWS_DEG.get(name, 0.0)) for name in cameras.names):
        forward, right = [np.cos(yaw), np.sin(yaw), 0.0], [np.sin(yaw), -np.cos(yaw), 0.0]
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = np.stack([right, [0.0, 0.0, -1.0], forward], 1), [1.5, 0.0, 1.6]
        poses.append(torch.from_numpy(pose).float())
    focal = cameras.width / 2 / np.tan(np.deg2rad(32.0))
    lens = torch.tensor([[focal, 0.0, cameras.width / 2], [0.0, focal, cameras.height / 2], [0.0, 0.0, 1.0]])
    shape = (count, len(cameras.names))
    return {
        "intrinsics": lens.float().expand(*shape, 3, 3).clone(),
        "camera_to_ego": torch.stack(poses).expand(*shape, 4, 4).clone(),
    }


# ---- training steps ----


@dataclass
class Step:
    """All that a training step of a planner needs. sizes: of the batch."""

    model: torch.nn.Module
    loss: Callable[..., dict[str, torch.Tensor]]
    optimizer: torch.optim.Optimizer
    inputs: PlannerInputs
    targets: PlannerTargets
    scenes: list
    device: str


class GoldenTruths:
    """Truths by token, all in one file as it were (a store's TruthSource)."""

    def __init__(self, truths: Sequence[SceneTruth]) -> None:
        self.truths = {truth.token: truth for truth in truths}

    def truth(self, token: str) -> SceneTruth:
        return self.truths[token]

    def location(self, token: str) -> Path:
        return Path("golden")


def golden_truths(count: int) -> list[SceneTruth]:
    """So many golden scenes. Exits with a message where there are none."""
    names = [name for name in FILES if name.startswith("0")]
    if len(names) * SCENES < count:
        raise SystemExit("bench_planners: no golden files; LATENTDRIVE_GOLDEN=FOLDER names the folder that holds them")
    return [golden(name).truth(number) for name in names for number in range(SCENES)][:count]


def step_of(name: str, batch: int | None, device: str) -> Step:
    """A planner with its loss and optimiser, and a batch of golden scenes."""
    cfg = compose("train_planner", [f"planner={name}", "data.path=none"])
    truths = golden_truths(batch or cfg.batches.batch_size)
    model = build(cfg.model).train().to(device)
    human = np.stack([truth.human.poses[:8] for truth in truths])
    return Step(
        model=model, loss=build(cfg.training.loss),
        optimizer=build(cfg.training.optimizer)([p for p in model.parameters() if p.requires_grad]),
        inputs=made_inputs(model.sensors, len(truths)).to(device),
        targets=PlannerTargets(trajectory=torch.from_numpy(human).float()).to(device),
        scenes=[prepare_scene(truth, VERSION.rules) for truth in truths], device=device,
    )  # fmt: skip


def step_times(name: str, threads: int, batch: int | None, rounds: int) -> dict[str, Any]:
    """Milliseconds of the parts of a step, and the share of scoring, on the CPU; on a GPU too, if there is one."""
    torch.set_num_threads(threads)
    found = {"cpu": parts_of_step(step_of(name, batch, "cpu"), rounds)}
    if torch.cuda.is_available():
        found["cuda"] = parts_of_step(step_of(name, None, "cuda"), rounds)
    return found


def parts_of_step(step: Step, rounds: int) -> dict[str, float]:
    """Parts of a step in order, medians of several steps. truth: scores, agents and areas of the proposals, which are part of `loss`."""
    with tempfile.TemporaryDirectory() as folder:
        opener = stored(Path(folder), len(step.scenes))
        clocks: list[dict[str, float]] = [one_step(step, opener) for _ in range(rounds + 1)]
    ms = {key: 1e3 * statistics.median(clock[key] for clock in clocks[1:]) for key in clocks[0]}
    whole = ms["build_scorer"] + ms["forward"] + ms["loss"] + ms["backward"] + ms["optimiser"]
    scoring = ms["build_scorer"] + ms["truth"]
    return {
        "batch": len(step.scenes), "proposals": step.model.refiner.shape[0],
        **{f"{key}_ms": value for key, value in ms.items()}, "step_ms": whole, "scoring_share": scoring / whole,
        "scoring_share_with_reading": (scoring + ms["read_store"]) / (whole + ms["read_store"]),
    }  # fmt: skip


def stored(folder: Path, count: int) -> Callable[[], list]:
    """Opens the scenes anew from a store that was made of them."""
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
    timed(clock, "read_store", opener)
    scorer = timed(clock, "build_scorer", partial(Scorer, step.scenes, version=VERSION, device=step.device))
    output = timed(clock, "forward", partial(step.model, step.inputs))
    noise = NOISE_M * torch.randn_like(output.proposals)
    output = replace(output, proposals=step.targets.trajectory[:, None] + noise)
    timed(clock, "truth", partial(truth_about, scorer, output))
    parts = timed(clock, "loss", partial(step.loss, output, step.targets, scorer))
    timed(clock, "backward", torch.stack(list(parts.values())).sum().backward)
    timed(clock, "optimiser", step.optimizer.step)
    step.optimizer.zero_grad()
    return clock


def truth_about(scorer: Scorer, output: Any) -> None:
    """What the loss asks the scorer for."""
    steps, device = output.area_logits.shape[2], output.proposals.device
    scores = scorer.score_poses(output.proposals, dt_s=DT_S, states=True)
    agent_targets(scorer, scores, steps, device)
    area_targets(scorer, scores, steps, device)


def profile(step: Step) -> None:
    """Where building the scorer and scoring spend their time."""
    output = step.model(step.inputs)
    with cProfile.Profile() as watch:
        for _ in range(5):
            truth_about(Scorer(step.scenes, version=VERSION), output)
    pstats.Stats(watch).sort_stats("cumulative").print_stats("latentdrive", 25)
    pstats.Stats(watch).sort_stats("tottime").print_stats(15)


# ---- clocks and tables ----


def timed(clock: dict[str, float], name: str, call: Callable[[], Any]) -> Any:
    """The result of a call; its seconds go into the clock."""
    wait()
    began = time.perf_counter()
    result = call()
    wait()
    clock[name] = time.perf_counter() - began
    return result


def usual(call: Callable[[], Any], rounds: int) -> float:
    """Seconds of several calls, their median, after one that isn't counted."""
    call()
    clocks: list[dict[str, float]] = [{} for _ in range(rounds)]
    for clock in clocks:
        timed(clock, "call", call)
    return statistics.median(clock["call"] for clock in clocks)


def wait() -> None:
    """For a GPU, which works on behind Python's back."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_mb() -> float:
    """Most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def show_costs(found: Mapping[str, Mapping[str, Any]]) -> None:
    """A row a planner."""
    table = Table(
        "planner", "M parameters", "latency ms", "forward ms", "forward + backward ms", "MB in use", "in training"
    )
    for name, one in found.items():
        keys = ("latency_ms", "forward_ms", "forward_backward_ms", "peak_mb_in_use", "peak_mb_in_training")
        table.add_row(name, f"{one['parameters'] / 1e6:.2f}", *(f"{one[key]:,.0f}" for key in keys))
    Console().print(table)
    for name, one in found.items():
        if "cuda" in one:
            print(name, one["cuda"])


def show_steps(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """A column a planner and device."""
    columns = {f"{name}, {device}": one for name, devices in found.items() for device, one in devices.items()}
    table = Table("training step", *columns)
    for key in next(iter(columns.values()), {}):
        numbers = [one[key] for one in columns.values()]
        table.add_row(
            key, *(f"{x:.1%}" if "share" in key else f"{x:,.1f}" if key.endswith("_ms") else str(x) for x in numbers)
        )
    Console().print(table)


if __name__ == "__main__":
    main()
