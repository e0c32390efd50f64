"""Graphs of a bundle as functions from arrays to arrays, whatever their format.

A compiled package (aoti) is machine code, so opening it runs code from the bundle: only for a person who says that
they made it (trust=true).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentdrive.errors import BundleRefused
from latentdrive.export import runtime
from latentdrive.export.formats import Format
from latentdrive.export.graphs import Graph

Session = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def eager(graph: Graph) -> Session:
    """A graph computed by PyTorch as it is."""
    return torch_session(graph.module, tuple(graph.inputs), graph.outputs)


def compiled(graph: Graph) -> Session:
    """A graph under torch.compile."""
    return torch_session(torch.compile(graph.module), tuple(graph.inputs), graph.outputs)


def torch_session(call: Callable, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Session:
    """A function of tensors as a function of arrays."""

    def session(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.no_grad():
            values = call(*(torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in inputs))
        return {name: value.numpy() for name, value in zip(outputs, values, strict=True)}

    return session


def engine_of(graphs: list[Graph], card: Mapping[str, Any], how: Callable[[Graph], Session] = eager) -> runtime.Engine:
    """The runtime's engine over graphs that PyTorch computes."""
    return runtime.Engine(card, {graph.name: how(graph) for graph in graphs})


def open_bundle(
    folder: str | Path, *, provider: str = "cpu", threads: int = 0, trust: bool = False, check: bool = True
) -> runtime.Engine:
    """The engine of a bundle in any format. check: plan the golden input and compare.

    trust: open a compiled package, too, which runs code from the bundle. Raises BundleRefused.
    """
    folder = Path(folder)
    try:
        card = runtime.read_card(folder)
        if card["backend"] == Format.ONNX:
            return runtime.open_engine(folder, provider=provider, threads=threads, check=check)
        engine = runtime.Engine(card, {name: _torch(folder, card, name, trust) for name in card["graphs"]})
        engine.provider = "cpu"
        if check:
            runtime.require_golden(engine, folder)
        return engine
    except runtime.BundleError as error:
        raise BundleRefused(str(error)) from None


def open_graphs(
    card: Mapping[str, Any], files: Mapping[str, Path], format: Format, *, threads: int = 0
) -> runtime.Engine:
    """The engine of graphs that this process has written, without a bundle around them."""
    if format is Format.ONNX:
        sessions = {n: runtime.open_session(file, [runtime.PROVIDERS["cpu"]], threads) for n, file in files.items()}
        return runtime.Engine(card, sessions)
    names = {name: (tuple(card["graphs"][name]["inputs"]), tuple(card["graphs"][name]["outputs"])) for name in files}
    return runtime.Engine(card, {n: torch_session(_load(file, format), *names[n]) for n, file in files.items()})


def _torch(folder: Path, card: Mapping[str, Any], name: str, trust: bool) -> Session:
    graph, backend = card["graphs"][name], card["backend"]
    if backend not in (Format.TORCH_EXPORT, Format.AOTI):
        raise BundleRefused(f"{folder} holds {backend} graphs, which nothing here can run")
    if backend == Format.AOTI and not trust:
        raise BundleRefused(
            f"{folder} holds compiled code, and opening it runs that code: if you made it yourself, add trust=true"
        )
    call = _load(folder / graph["file"], Format(backend))
    return torch_session(call, tuple(graph["inputs"]), tuple(graph["outputs"]))


def _load(file: Path, format: Format) -> Callable:
    if format is Format.TORCH_EXPORT:
        return torch.export.load(file).module()
    from torch._inductor import aoti_load_package

    return aoti_load_package(str(file))
