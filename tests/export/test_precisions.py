"""Half precision and int8 of ONNX graphs: near the exact plan, and int8 says which layers it costs."""

from pathlib import Path

import numpy as np
import pytest
from onnxruntime import InferenceSession

from latentdrive.export.formats import quantise
from latentdrive.export.onnx import Quantisation, outputs_of, to_half
from latentdrive.export.runtime import read_golden


@pytest.mark.parametrize(("name", "most_m"), [("fp16", 0.05), ("int8", 2.0)])
def test_lower_precisions_stay_near(name, most_m, bundles, tmp_path):
    file = tmp_path / "plan.onnx"
    file.write_bytes((Path(bundles("ltf_tiny")) / "plan.onnx").read_bytes())
    given, made = read_golden(bundles("ltf_tiny"))
    to_half(file) if name == "fp16" else quantise(file, [given])
    (poses,) = outputs_of(file, [given])
    assert 0 < np.abs(poses - made["trajectory"]).max() < most_m and poses.dtype == np.float32
    assert [entry.name for entry in InferenceSession(str(file)).get_inputs()]


def test_int8_tells_how_far_each_layer_moves_the_plan(bundles):
    given, _ = read_golden(bundles("ltf_tiny"))
    quantisation = Quantisation(Path(bundles("ltf_tiny")) / "plan.onnx", [given])
    moved = quantisation.sensitivity(2)
    assert len(moved) == 2 and set(moved) <= set(quantisation.layers) and all(far >= 0 for far in moved.values())
