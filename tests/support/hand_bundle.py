"""A bundle written by hand: one small ONNX graph that drives straight on at the ego's speed, and its card."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from latentdrive.export import runtime
from latentdrive.export.bundle import seal
from tests.support.bundles import card

HEIGHT, WIDTH = 48, 96
OPSET, IR = 18, 9  # what every onnxruntime of the last years reads


def write_bundle(folder: Path, *, cameras: tuple[str, ...] = ("cam_f0",), **changed) -> Path:
    """Write the bundle. changed: entries of its card."""
    folder.mkdir(parents=True)
    pictures = [f"picture_{name}" for name in cameras]
    names = ["velocity", "acceleration", "command", *pictures]
    onnx.save(_graph(pictures), folder / "plan.onnx")
    given = {
        "velocity": np.array([[8.0, 0.0]], np.float32),
        "acceleration": np.zeros((1, 2), np.float32),
        "command": np.array([1], np.int64),
        **{name: np.zeros((HEIGHT, WIDTH, 3), np.uint8) for name in pictures},
    }
    made = {"trajectory": _ramp()[0] * 8.0}
    np.savez(
        folder / runtime.GOLDEN, **{f"in_{n}": v for n, v in given.items()}, **{f"out_{n}": v for n, v in made.items()}
    )
    camera = {"height": HEIGHT, "width": WIDTH, "intrinsics": None, "camera_to_ego": None}
    content = card(
        graphs={"plan": {"inputs": names, "outputs": ["trajectory"], "file": "plan.onnx"}},
        cameras={name: camera for name in cameras},
        backend="onnx",
        precision="fp32",
        format=runtime.FORMAT,
        golden={"tolerance": 1e-4},
        files={name: runtime.file_sum(folder / name) for name in ("plan.onnx", runtime.GOLDEN)},
        **{"kind": "StraightOn"} | changed,
    )
    seal(folder, content)
    return folder


def _ramp() -> np.ndarray:
    """What a speed of 1 m/s becomes: [1, 8, 3]."""
    ramp = np.zeros((1, 8, 3), np.float32)
    ramp[0, :, 0] = 0.5 * np.arange(1, 9)
    return ramp


def _graph(pictures: list[str]) -> onnx.ModelProto:
    """trajectory = speed x ramp + 0 x the sum of all other inputs, so that every input counts."""
    inputs = [
        helper.make_tensor_value_info("velocity", TensorProto.FLOAT, [1, 2]),
        helper.make_tensor_value_info("acceleration", TensorProto.FLOAT, [1, 2]),
        helper.make_tensor_value_info("command", TensorProto.INT64, [1]),
        *(helper.make_tensor_value_info(name, TensorProto.UINT8, [HEIGHT, WIDTH, 3]) for name in pictures),
    ]
    nodes = [
        helper.make_node("Gather", ["velocity", "first"], ["speed"], axis=1),
        helper.make_node("Reshape", ["speed", "single"], ["scalar"]),
        helper.make_node("Mul", ["ramp", "scalar"], ["ahead"]),
    ]
    total = "ahead"
    for number, name in enumerate(["acceleration", "command", *pictures]):
        nodes += [
            helper.make_node("Cast", [name], [f"float{number}"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", [f"float{number}"], [f"sum{number}"], keepdims=0),
            helper.make_node("Mul", [f"sum{number}", "nothing"], [f"zero{number}"]),
            helper.make_node("Add", [total, f"zero{number}"], [f"total{number}"]),
        ]
        total = f"total{number}"
    nodes.append(helper.make_node("Squeeze", [total, "first"], ["trajectory"]))
    constants = {
        "single": np.array([1, 1, 1]),
        "first": np.array([0]),
        "ramp": _ramp(),
        "nothing": np.array(0.0, np.float32),
    }
    output = helper.make_tensor_value_info("trajectory", TensorProto.FLOAT, [8, 3])
    made = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "plan", inputs, [output], made), opset_imports=[helper.make_opsetid("", OPSET)]
    )
    model.ir_version = IR
    onnx.checker.check_model(model)
    return model
