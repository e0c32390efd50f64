"""What a planner costs: parameters, time of a pass, memory. For bench_planners.py.

Pictures are noise and weights are random, because neither changes a time.
"""

import resource
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np
import torch
from clocks import median_seconds

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.planners.inputs.batch import PlannerInputs
from latentdrive.planners.inputs.sensors import Sensors, Surround

YAWS_DEG = {"cam_f0": 0.0, "cam_l0": 55.0, "cam_r0": -55.0, "cam_b0": 180.0}
WARM_UP_ROUNDS = 200  # calls that a GPU needs before it runs at its usual speed


def cost(name: str, threads: int, batch: int, rounds: int) -> dict[str, Any]:
    """Parameters, and milliseconds and megabytes on this CPU; also frames a second if there is a GPU."""
    torch.set_num_threads(threads)
    before_mb = peak_mb()
    model = build(compose("train_planner", [f"planner={name}", "data.path=none"]).model)
    single, several = made_inputs(model.sensors, 1), made_inputs(model.sensors, batch)
    with torch.no_grad():
        model.eval()
        measured = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "batch": batch,
            "latency_ms": 1e3 * median_seconds(partial(model, single), rounds),
            "forward_ms": 1e3 * median_seconds(partial(model, several), rounds),
            "peak_mb_in_use": peak_mb() - before_mb,
        }
    model.train()
    measured["forward_backward_ms"] = 1e3 * median_seconds(partial(backward, model, several), rounds)
    measured["peak_mb_in_training"] = peak_mb() - before_mb
    if torch.cuda.is_available():
        measured["cuda"] = on_gpu(model.eval().cuda(), single.to("cuda"), rounds)
    return measured


def on_gpu(model: torch.nn.Module, inputs: PlannerInputs, rounds: int) -> dict[str, float | str]:
    """Frames a second at batch 1 in float32, bfloat16, and bfloat16 compiled; and the peak of memory in megabytes."""
    measured: dict[str, float | str] = {}
    torch.cuda.reset_peak_memory_stats()
    with torch.no_grad():
        median_seconds(partial(model, inputs), WARM_UP_ROUNDS)
        measured["fps_float32"] = 1 / median_seconds(partial(model, inputs), 20 * rounds)
        with torch.autocast("cuda", torch.bfloat16):
            measured["fps_bfloat16"] = 1 / median_seconds(partial(model, inputs), 20 * rounds)
            try:
                compiled = torch.compile(model)
                measured["fps_compiled"] = 1 / median_seconds(partial(compiled, inputs), 20 * rounds)
            except Exception as error:  # a model that the compiler can't handle is a result, too
                measured["fps_compiled"] = f"fails: {str(error).splitlines()[0]}"
    measured["peak_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return measured


def backward(model: torch.nn.Module, inputs: PlannerInputs) -> None:
    """Compute gradients of every tensor of the output."""
    output = model(inputs)
    values = (getattr(output, field.name) for field in fields(output))
    torch.stack([value.float().square().mean() for value in values if isinstance(value, torch.Tensor)]).sum().backward()
    model.zero_grad()


def made_inputs(sensors: Sensors, count: int) -> PlannerInputs:
    """Noise in the shape of what these sensors give."""
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
        tokens=tuple(map(str, range(count))),
        velocity=torch.tensor([[6.0, 0.0]]).repeat(count, 1),
        acceleration=torch.zeros(count, 2),
        command=torch.ones(count, dtype=torch.long),
        **arrays,
    )


def calibration(cameras: Surround, count: int) -> dict[str, torch.Tensor]:
    """Intrinsics and poses of level cameras 1.6 m above the ground, with a field of view of 64 degrees."""
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


def peak_mb() -> float:
    """The most memory that this process ever held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
