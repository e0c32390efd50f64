"""A planner's bundle, from its graphs to the measured folder."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentdrive.errors import BundleRefused, ConfigError, UnreadableClip
from latentdrive.evaluation.planned_split import PreparedSplit
from latentdrive.export import runtime
from latentdrive.export.bundle import fill, planner_card, seal
from latentdrive.export.bundle_planner import EnginePlanner
from latentdrive.export.formats import Format, Precision, write
from latentdrive.export.gate import Bounds, ColdPlanner, Parity, measure
from latentdrive.export.graphs import Graph, planner_graphs
from latentdrive.export.onnx import Quantisation
from latentdrive.export.scene_inputs import cameras_of, scene_inputs
from latentdrive.export.sessions import engine_of, open_bundle
from latentdrive.export.timing import interleaved, machine_load
from latentdrive.files import atomic_folder
from latentdrive.planners.learned import LearnedPlanner
from latentdrive.types import FROZEN

SENSITIVITY_SCENES = 4
Feeds = dict[str, list[dict[str, np.ndarray]]]


@dataclass(**FROZEN)
class Export:
    """What is exported and how. parents: fingerprints of the checkpoints, by role. sensitivity: layers to try."""

    planner: LearnedPlanner
    split: PreparedSplit
    format: Format
    precision: Precision
    bounds: Bounds
    limits: runtime.Limits
    parents: Mapping[str, str]
    calibration_scenes: int
    sensitivity: int
    repeats: int
    say: Callable[[str], None]

    def write(self, target: Path) -> dict[str, Any]:
        """Write the bundle; returns its card. Raises BundleRefused where it is not like the planner."""
        scenes = self._scenes()
        cameras = cameras_of(scenes[0], self.planner.needs.cameras)
        graphs = planner_graphs(self.planner, cameras)
        card = planner_card(self.planner, cameras, graphs, self.limits)
        eager = engine_of(graphs, card)
        first = [scene_inputs(scene, card) for scene in scenes]
        feeds = self._calibration(graphs, eager, first)
        with atomic_folder(target) as draft:
            files = {}
            for graph in graphs:
                files[graph.name] = write(graph, draft, self.format, self.precision, calibration=feeds)
                self.say(f"{graph.name}: {files[graph.name].stat().st_size / 1e6:.1f} MB")
            self._say_sensitivity(graphs[0], feeds)
            card = self._fill(draft, card, files, first[0], eager)
            if self.format is Format.TENSORRT:
                self.say("tensorrt engines are not run here: the gate did not compare them")
                return seal(draft, card | {"gate": None, "latency": None})
            engine = open_bundle(draft, trust=True)
            parity = self._gate(card, eager, engine)
            latency = _latency(eager, engine, first[0], self.repeats)
            self.say(_latency_line(latency))
            return seal(draft, card | {"gate": _plain(parity, self.bounds), "latency": latency})

    def _fill(
        self, draft: Path, card: dict[str, Any], files: Mapping[str, Path], given: dict[str, np.ndarray], eager: Any
    ) -> dict[str, Any]:
        made = eager.plan(given)
        golden = {"trajectory": made.poses, "steps": np.int64(made.steps)}
        return fill(
            draft,
            card,
            format=self.format,
            precision=self.precision,
            files=files,
            parents=self.parents,
            golden=(given, golden),
            tolerance=self.bounds.drift_m,
        )

    def _scenes(self) -> list[Any]:
        scenes, source = [], self.split.scenes.source
        for token in self.split.scenes.tokens[: self.calibration_scenes]:
            try:
                scenes.append(source[token])
            except UnreadableClip:
                continue
        if not scenes:
            raise ConfigError("no scene of the val split can be opened, and export measures cameras on one: check data")
        return scenes

    def _calibration(self, graphs: list[Graph], eager: runtime.Engine, first: list[dict]) -> Feeds:
        """What every graph is given while the first scenes are planned."""
        feeds: Feeds = {graph.name: [] for graph in graphs}
        if self.precision is not Precision.INT8:
            return feeds
        own = dict(eager.sessions)

        def noted(name: str) -> Callable:
            def session(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
                feeds[name].append(given)
                return own[name](given)

            return session

        noting = runtime.Engine(eager.card, {name: noted(name) for name in own})
        for given in first:
            noting.plan(given)
        return feeds

    def _say_sensitivity(self, graph: Graph, feeds: Feeds) -> None:
        """Of the graph that holds the backbone."""
        if self.precision is not Precision.INT8 or not self.sensitivity:
            return
        with tempfile.TemporaryDirectory() as folder:
            whole = write(graph, Path(folder), Format.ONNX, Precision.FP32, calibration={})
            moved = Quantisation(whole, feeds[graph.name][:SENSITIVITY_SCENES]).sensitivity(self.sensitivity)
        for layer, far in moved.items():
            self.say(f"int8 of {layer} alone moves the plan by at most {far:.3g}")

    def _gate(self, card: dict[str, Any], eager: runtime.Engine, engine: runtime.Engine) -> Parity:
        own = ColdPlanner(self.planner, engine.cold)
        parity = measure(self.split, own, EnginePlanner(eager), EnginePlanner(engine))
        for line in parity.lines(self.bounds):
            self.say(line)
        parity.require(self.bounds)
        return parity


def _latency(eager: runtime.Engine, engine: runtime.Engine, given: dict, repeats: int) -> dict[str, Any]:
    """Milliseconds of a whole plan in PyTorch and from the bundle; the longest single call of each graph."""
    engine.calls = dict.fromkeys(engine.calls, 0.0)
    arms = {"eager": lambda: eager.plan(given), "bundle": lambda: engine.plan(given)}
    times = interleaved(arms, repeats=repeats)
    return {
        **{name: taken.plain() for name, taken in times.items()},
        "longest_call_ms": {name: 1000 * seconds for name, seconds in engine.calls.items()},
        "load": machine_load(),
    }


def _latency_line(latency: Mapping[str, Any]) -> str:
    bundle, eager = latency["bundle"], latency["eager"]
    longest = max(latency["longest_call_ms"].values())
    return (
        f"latency: p50 {bundle['p50']:.1f} ms, p99 {bundle['p99']:.1f} ms (eager {eager['p50']:.1f} and "
        f"{eager['p99']:.1f}); longest single call {longest:.1f} ms; load {latency['load']:.1f}"
    )


def _plain(parity: Parity, bounds: Bounds) -> dict[str, Any]:
    names = ("scenes", "drift_m", "drift_median_m", "pictures_m", "pdms_eager", "pdms_bundle")
    most = {name: getattr(bounds, name) for name in ("drift_m", "pictures_m", "pdms")}
    return {name: getattr(parity, name) for name in names} | {"bounds": most}


def write_network(
    graph: Graph,
    target: Path,
    card: dict[str, Any],
    *,
    format: Format,
    precision: Precision,
    bound: float,
    **facts: Any,
) -> float:
    """A bundle of a network that makes no plan; returns how far its outputs are from PyTorch's at most.

    Compared on noise. Raises BundleRefused above `bound`, and ConfigError for int8, which needs scenes.
    """
    if precision is Precision.INT8:
        raise ConfigError("int8 is calibrated on scenes, by planners alone: choose precision=fp32 or fp16")
    given = _noise(graph)
    made = engine_of([graph], card).sessions[graph.name](given)
    with atomic_folder(target) as draft:
        file = write(graph, draft, format, precision, calibration={})
        card = fill(
            draft,
            card,
            format=format,
            precision=precision,
            files={graph.name: file},
            golden=(given, made),
            tolerance=bound,
            **facts,
        )
        session = open_bundle(draft, trust=True, check=False).sessions[graph.name]
        near = session(given)
        apart = max(float(np.abs(near[name] - made[name]).max()) for name in made if made[name].dtype == np.float32)
        if not apart <= bound:
            raise BundleRefused(
                f"the outputs of the bundle are {apart:.3g} away from PyTorch's, at most {bound:g} is allowed"
            )
    return apart


def _noise(graph: Graph) -> dict[str, np.ndarray]:
    """Noise in place of pictures, and the examples of all other inputs."""
    drawn = np.random.default_rng(0)
    examples = {name: value.numpy() for name, value in graph.inputs.items()}
    return {
        name: drawn.integers(0, 256, value.shape, np.uint8) if value.dtype == np.uint8 else value
        for name, value in examples.items()
    }
