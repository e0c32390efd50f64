"""The formats that graphs are written in, and the precisions of each.

| format | precisions | file |
|---|---|---|
| onnx | fp32, fp16, int8 | one .onnx a graph, for onnxruntime and runtime.py |
| torch_export | fp32, bf16, fp16 | one .pt2 a graph, for torch.export.load |
| aoti | fp32, bf16, fp16 | one .pt2 a graph with compiled code (AOTInductor), for the machine it was made on |
| tensorrt | fp32, fp16 | one engine a graph, made from ONNX by NVIDIA's trtexec |

torch.export is the one way in. bf16 and fp16 of PyTorch's formats are autocast, as in training: layers that return
metres stay in float32.
"""

import shutil
import subprocess
import warnings
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from latentdrive.errors import ConfigError, reason_of
from latentdrive.export.graphs import Graph
from latentdrive.export.onnx import Quantisation, to_half, write_onnx

Feeds = Mapping[str, Sequence[Mapping[str, np.ndarray]]]  # by graph


class Format(StrEnum):
    """How graphs are written."""

    ONNX = "onnx"
    TORCH_EXPORT = "torch_export"
    AOTI = "aoti"
    TENSORRT = "tensorrt"


class Precision(StrEnum):
    """What graphs compute in."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"


PRECISIONS = {
    Format.ONNX: (Precision.FP32, Precision.FP16, Precision.INT8),  # onnxruntime's CPU has no bf16
    Format.TORCH_EXPORT: (Precision.FP32, Precision.BF16, Precision.FP16),
    Format.AOTI: (Precision.FP32, Precision.BF16, Precision.FP16),
    Format.TENSORRT: (Precision.FP32, Precision.FP16),
}
SUFFIXES = {Format.ONNX: ".onnx", Format.TORCH_EXPORT: ".pt2", Format.AOTI: ".pt2", Format.TENSORRT: ".engine"}
DTYPES = {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}
TRTEXEC = "trtexec"


class Autocast(nn.Module):
    """A module under autocast on the CPU."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.dtype = module, dtype

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Its outputs, in single precision."""
        with torch.autocast("cpu", dtype=self.dtype):
            outputs = self.module(*tensors)
        return tuple(output.float() if output.is_floating_point() else output for output in outputs)


def chosen(format: str, precision: str) -> tuple[Format, Precision]:
    """The format and precision of these names. Raises ConfigError for names and pairs that do not exist."""
    if format not in list(Format):
        raise ConfigError(f"format={format} is unknown: choose one of {', '.join(Format)}")
    if precision not in list(Precision):
        raise ConfigError(f"precision={precision} is unknown: choose one of {', '.join(Precision)}")
    kind, bits = Format(format), Precision(precision)
    if bits not in PRECISIONS[kind]:
        raise ConfigError(f"format={kind} has no precision={bits}: choose one of {', '.join(PRECISIONS[kind])}")
    return kind, bits


def program_of(graph: Graph, precision: Precision) -> torch.export.ExportedProgram:
    """torch.export's program of a graph. Precisions that PyTorch does not compute in are those of `write`."""
    module = graph.module
    if precision in DTYPES:
        module = Autocast(module, DTYPES[precision]).eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(module, tuple(graph.inputs.values()))


def write(
    graph: Graph, folder: Path, format: Format, precision: Precision, *, calibration: Feeds, suffix: str = ""
) -> Path:
    """Write a graph into a folder; returns its file. calibration: inputs by graph, for int8. suffix: of its name."""
    file = folder / f"{graph.name}{suffix}{SUFFIXES[format]}"
    if format is Format.ONNX:
        write_onnx(program_of(graph, Precision.FP32), graph, file)
        if precision is Precision.FP16:
            to_half(file)
        elif precision is Precision.INT8:
            quantise(file, calibration[graph.name])
    elif format is Format.TORCH_EXPORT:
        torch.export.save(program_of(graph, precision), file)
    elif format is Format.AOTI:
        _compile(program_of(graph, precision), file)
    else:
        _build_engine(graph, file, precision)
    return file


def quantise(file: Path, scenes: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Replace an ONNX file by its int8 form."""
    whole = file.rename(file.with_name(f".whole_{file.name}"))
    Quantisation(whole, scenes).write(file)
    whole.unlink()


def _compile(program: torch.export.ExportedProgram, file: Path) -> None:
    from torch._inductor import aoti_compile_and_package

    try:
        aoti_compile_and_package(program, package_path=str(file))
    except (RuntimeError, OSError) as error:  # InductorError, and a missing or failing compiler
        raise ConfigError(
            f"format=aoti could not compile {file.stem} ({reason_of(error)}): install a C++ compiler (g++), or choose "
            "format=onnx"
        ) from error


def trtexec_command(onnx: Path, engine: Path, precision: Precision) -> list[str]:
    """The command that builds a TensorRT engine."""
    half = ["--fp16"] if precision is Precision.FP16 else []
    return [TRTEXEC, f"--onnx={onnx}", f"--saveEngine={engine}", "--skipInference", *half]


def require_tensorrt() -> None:
    """Raise ConfigError where TensorRT's builder is not installed."""
    if shutil.which(TRTEXEC) is None:
        raise ConfigError(
            f"format=tensorrt needs NVIDIA's {TRTEXEC} on the PATH, and it is not there: install TensorRT 10 "
            "(https://developer.nvidia.com/tensorrt), or export format=onnx and run it with provider=tensorrt"
        )


def _build_engine(graph: Graph, file: Path, precision: Precision) -> None:
    require_tensorrt()
    source = file.with_suffix(".onnx")
    write_onnx(program_of(graph, Precision.FP32), graph, source)
    done = subprocess.run(trtexec_command(source, file, precision), capture_output=True, text=True)
    if done.returncode or not file.is_file():
        raise ConfigError(f"{TRTEXEC} could not build {graph.name}: {(done.stderr or done.stdout).strip()[-300:]}")
