"""The bundle: a folder with all that a car needs of a checkpoint, and nothing that a reader would run unasked.

Graphs; its own copy of runtime.py; `golden.npz`, an input and the plan it gave; and `bundle.json`: cameras, units,
frames, thresholds, parents, what the gate measured, and the sum of every file. It appears whole or not at all.
"""

import platform
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from latentdrive import __version__
from latentdrive.export import runtime
from latentdrive.export.formats import Format, Precision
from latentdrive.export.graphs import Camera, Graph, cold_scratchpad
from latentdrive.plain_files import as_json
from latentdrive.planners.anytime import RefinesPlans
from latentdrive.planners.inputs.sensors import Surround
from latentdrive.planners.learned import LearnedPlanner
from latentdrive.planners.sampling import DT_S, POSES
from latentdrive.types import Command

RUNTIME = "runtime.py"
UNITS = {"length": "metre", "time": "second", "angle": "radian", "velocity": "m/s", "acceleration": "m/s^2"}
FRAMES = {
    "ego": "origin at the rear axle now; x forward, y left; headings counter-clockwise in (-pi, pi]",
    "camera": "x right, y down, z forward; camera_to_ego takes camera coordinates to the ego frame",
    "plan": "poses x, y, heading in the ego frame of the newest picture; the first lies dt_s after it",
}
PICTURES = "RGB, uint8, [rows, columns, 3], as the camera gives them; scaling is inside the graph"


def planner_card(
    planner: LearnedPlanner, cameras: Mapping[str, Camera], graphs: list[Graph], limits: runtime.Limits
) -> dict[str, Any]:
    """What a bundle says of its planner. Format, parents and measurements are added by its writer."""
    wanted, grid = planner.sensors.cameras, planner.sensors.lidar
    head = planner.head if isinstance(planner, RefinesPlans) else None
    facts = {name: _camera(cameras[name]) for name in planner.needs.cameras}
    return {
        "kind": type(planner).__name__,
        "cameras": facts,
        "calibrated": list(wanted.names) if isinstance(wanted, Surround) else [],
        "lidar": None if grid is None else asdict(grid),
        "plan": {"poses": POSES, "dt_s": DT_S},
        "commands": {command.name.lower(): int(command) for command in Command},
        "anytime": None if head is None else _anytime(head.settings),
        "scratchpad": None if head is None else _array(cold_scratchpad(head).numpy()),
        "limits": asdict(limits),
        "graphs": {graph.name: _graph(graph) for graph in graphs},
    }


def network_card(kind: str, graph: Graph) -> dict[str, Any]:
    """What a bundle says of a network that makes no plan."""
    return {"kind": kind, "cameras": {}, "calibrated": [], "lidar": None, "graphs": {graph.name: _graph(graph)}}


def fill(
    folder: Path,
    card: dict[str, Any],
    *,
    format: Format,
    precision: Precision,
    files: Mapping[str, Path],
    parents: Mapping[str, str],
    golden: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]],
    tolerance: float,
) -> dict[str, Any]:
    """Complete a folder that holds the graphs' files; returns the card. golden: inputs and outputs, by name."""
    given, made = golden
    for name, file in files.items():
        card["graphs"][name]["file"] = file.name
    shutil.copyfile(runtime.__file__, folder / RUNTIME)
    with (folder / runtime.GOLDEN).open("wb") as file:
        np.savez(file, **{f"in_{n}": v for n, v in given.items()}, **{f"out_{n}": v for n, v in made.items()})
    card |= {
        "format": runtime.FORMAT,
        "backend": str(format),
        "precision": str(precision),
        "pictures": PICTURES,
        "units": UNITS,
        "frames": FRAMES,
        "parents": dict(parents),
        "golden": {"tolerance": tolerance},
        "made_with": {"latentdrive": __version__, "python": platform.python_version(), **versions()},
        "files": {path.name: runtime.file_sum(path) for path in sorted(folder.iterdir()) if path.name != runtime.CARD},
    }
    return seal(folder, card)


def seal(folder: Path, card: dict[str, Any]) -> dict[str, Any]:
    """Write a card with the sum over its entries."""
    plain = runtime.json.loads(as_json({name: value for name, value in card.items() if name != "sum"}, default=float))
    plain["sum"] = runtime.sum_of(plain)
    (folder / runtime.CARD).write_text(as_json(plain), encoding="utf-8")
    return plain


def versions() -> dict[str, str]:
    """Versions of what made the graphs."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("torch", "onnx", "onnxruntime", "onnxscript"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def _camera(camera: Camera) -> dict[str, Any]:
    height, width = camera.size
    return {
        "height": height,
        "width": width,
        "intrinsics": camera.intrinsics,
        "camera_to_ego": camera.camera_to_ego,
    }


def _graph(graph: Graph) -> dict[str, Any]:
    inputs = {
        n: {"shape": list(v.shape), "dtype": str(v.dtype).removeprefix("torch.")} for n, v in graph.inputs.items()
    }
    return {"inputs": inputs, "outputs": list(graph.outputs)}


def _anytime(settings: Any) -> dict[str, Any]:
    names = ("pose_units", "delta", "most_steps", "probe")
    return {name: getattr(settings, name) for name in names}


def _array(values: np.ndarray) -> dict[str, Any]:
    return {"shape": list(values.shape), "values": [float(value) for value in values.ravel()]}
