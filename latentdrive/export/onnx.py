"""Graphs as ONNX files: torch.export's programs through PyTorch's own exporter, and lower precisions of them.

fp16: weights and arithmetic in half precision, inputs and outputs in single. int8: static quantisation of
convolutions and matrix products, with ranges from calibration scenes (onnxruntime.quantization, QDQ form).
"""

import importlib
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from latentdrive.errors import ConfigError
from latentdrive.export.graphs import Graph

OPSET = 20
QUANTISED = ["Conv", "MatMul", "Gemm"]
Feeds = Sequence[Mapping[str, np.ndarray]]


def write_onnx(program: torch.export.ExportedProgram, graph: Graph, file: Path) -> None:
    """Write a program in single precision. Raises ConfigError where onnx or onnxscript is not installed."""
    _needs("onnx"), _needs("onnxscript")
    with _quiet():
        made = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            verbose=False,
        )
    made.save(file, external_data=False)


def to_half(file: Path) -> None:
    """Replace a file by its half-precision form."""
    onnx, converter = _needs("onnx"), _needs("onnxruntime.transformers.float16")
    model = onnx.load(file)
    blocked = [*converter.DEFAULT_OP_BLOCK_LIST, "GridSample"]  # places in a picture need more than 11 bits
    onnx.save(converter.convert_float_to_float16(model, keep_io_types=True, op_block_list=blocked), file)


class Quantisation:
    """Static int8 quantisation of one file. scenes: inputs that give the ranges of all tensors."""

    def __init__(self, file: Path, scenes: Feeds) -> None:
        self.tools, self.onnx = _needs("onnxruntime.quantization"), _needs("onnx")
        self.file, self.scenes = file, scenes
        model = self.onnx.load(file)
        self.layers = [node.name for node in model.graph.node if node.op_type in QUANTISED]
        known = {entry.name for entry in model.graph.initializer}
        sizes = {entry.name: self.onnx.numpy_helper.to_array(entry).size for entry in model.graph.initializer}
        weights = {n.name: max((sizes[i] for i in n.input if i in known), default=0) for n in model.graph.node}
        self.weights = {name: weights[name] for name in self.layers}

    def write(self, target: Path, *, layers: Sequence[str] | None = None) -> None:
        """Write the quantised graph. layers: quantise these alone; None quantises all."""
        reader = _Scenes(self.scenes, self.tools.CalibrationDataReader)
        with _quiet():
            self.tools.quantize_static(
                str(self.file),
                str(target),
                reader,
                quant_format=self.tools.QuantFormat.QDQ,
                per_channel=True,
                op_types_to_quantize=QUANTISED,
                nodes_to_quantize=None if layers is None else list(layers),
                activation_type=self.tools.QuantType.QUInt8,
                weight_type=self.tools.QuantType.QInt8,
            )

    def sensitivity(self, most: int) -> dict[str, float]:
        """How far the first output moves at most, by layer, where this layer alone is quantised.

        most: layers that are tried, those with most weights first.
        """
        chosen = sorted(self.layers, key=lambda name: -self.weights[name])[:most]
        exact = outputs_of(self.file, self.scenes)
        moved = {}
        with tempfile.TemporaryDirectory() as folder:
            for layer in chosen:
                self.write(target := Path(folder) / "one.onnx", layers=[layer])
                near = outputs_of(target, self.scenes)
                moved[layer] = max(float(np.abs(a - b).max()) for a, b in zip(exact, near, strict=True))
        return dict(sorted(moved.items(), key=lambda entry: -entry[1]))


def outputs_of(file: Path, scenes: Feeds) -> list[np.ndarray]:
    """The first output of a file for each scene."""
    runtime = _needs("onnxruntime")
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return [session.run(None, {name: scene[name] for name in names})[0] for scene in scenes]


class _Scenes:
    """Scenes, one after the other, as the quantiser asks for them."""

    def __new__(cls, scenes: Feeds, kind: type) -> object:
        class Reader(kind):
            def __init__(self) -> None:
                self.left: Iterator = iter(scenes)

            def get_next(self) -> Mapping[str, np.ndarray] | None:
                return next(self.left, None)

        return Reader()


def _needs(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"format=onnx needs the package {error.name}: in the folder of latentdrive, pip install -e '.[export]'"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' remarks about their own insides."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
