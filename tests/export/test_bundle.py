"""Bundles: what they compute is what PyTorch computes, and what was altered is refused by name."""

import json
import shutil
import subprocess
import venv
from pathlib import Path

import numpy as np
import pytest

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.errors import BundleRefused, ConfigError, UnreadableScene
from latentdrive.evaluation.planning import HORIZON_S
from latentdrive.export import runtime
from latentdrive.export.bundle import seal
from latentdrive.export.bundle_planner import BundlePlanner
from latentdrive.export.formats import Format, Precision, chosen, require_tensorrt, trtexec_command
from latentdrive.export.gate import Bounds, ColdPlanner, Parity
from latentdrive.export.made_scene import made_scene
from latentdrive.export.runtime import BundleError, Runtime, open_engine, read_card
from latentdrive.export.sessions import open_bundle
from latentdrive.types import Planner
from tests.export.conftest import SIZE, write_bundle

WITHIN_M = 1e-3  # of ONNX in single precision
NAMES = ["ltf_tiny", "ltf_anytime_tiny", pytest.param("ipad", marks=pytest.mark.slow)]


def planner_of(folder: Path) -> BundlePlanner:
    return BundlePlanner(path=str(folder), provider="cpu", threads=1, trust=False)


def altered(source: Path, target: Path, **entries) -> Path:
    """A copy of a bundle whose card says something else, and fits its sum."""
    shutil.copytree(source, target)
    card = json.loads((target / runtime.CARD).read_text())
    seal(target, card | entries)
    return target


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_plans_what_its_planner_plans(name, bundles, planners):
    planner = planner_of(bundles(name))
    assert isinstance(planner, Planner)
    scene = made_scene(planner.needs, SIZE)
    own = ColdPlanner(planners[name], planner.engine.cold).plan([scene])
    made = planner.plan([scene, scene])
    assert made.poses.shape == (2, 8, 3) and made.dt_s * 8 == HORIZON_S
    assert np.abs(made.poses[0] - own.poses[0]).max() < WITHIN_M and (made.poses[0] == made.poses[1]).all()


def test_three_graphs_of_a_planner_that_refines_keep_their_scratchpad(bundles, planners):
    engine = open_engine(bundles("ltf_anytime_tiny"))
    assert set(engine.sessions) == {"begin", "step", "coda"}
    given, _ = runtime.read_golden(bundles("ltf_anytime_tiny"))
    first = engine.plan(given, most=2)
    again = engine.plan(given, most=2, scratchpad=first.scratchpad)
    whole = engine.plan(given, most=4)
    assert (first.steps, whole.steps) == (2, 4) and np.allclose(again.scratchpad, whole.scratchpad, atol=1e-4)
    assert np.abs(again.poses - whole.poses).max() < WITHIN_M and np.abs(first.poses - whole.poses).max() > 0


def test_a_bundle_can_be_chosen_as_a_planner_by_name(bundles):
    planner = build(compose("evaluate", ["planner=bundle", f"planner.path={bundles('ltf_tiny')}"]).planner)
    assert planner.needs.cameras == ("cam_l0", "cam_f0", "cam_r0")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: (f / "plan.onnx").write_bytes((f / "plan.onnx").read_bytes()[:-1] + b"x"), "plan.onnx was altered"),
        (lambda f: (f / "runtime.py").write_text("import os"), "runtime.py was altered"),
        (lambda f: (f / "golden.npz").unlink(), "lacks golden.npz"),
        (lambda f: (f / "bundle.json").unlink(), "is no bundle"),
        (lambda f: (f / "bundle.json").write_text("{"), "can't be read"),
        (lambda f: (f / "bundle.json").write_text("{}"), "has format None, this runtime reads 1"),
        (
            lambda f: (f / "bundle.json").write_text((f / "bundle.json").read_text().replace("fp32", "fp16")),
            "does not fit its own sum",
        ),
    ],
)
def test_an_altered_bundle_is_refused(change, words, bundles, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(bundles("ltf_tiny"), folder)
    change(folder)
    with pytest.raises(BundleRefused, match=words):
        open_bundle(folder)


def test_files_outside_the_bundle_are_refused(bundles, tmp_path):
    folder = altered(bundles("ltf_tiny"), tmp_path / "copy", files={"../secret": "0"})
    with pytest.raises(BundleRefused, match="is no file of the bundle"):
        open_bundle(folder)


def test_weights_that_were_damaged_and_summed_again_give_another_golden_plan(bundles, tmp_path):
    import onnx

    folder = tmp_path / "copy"
    shutil.copytree(bundles("ltf_tiny"), folder)
    model = onnx.load(folder / "plan.onnx")
    for weight in (w for w in model.graph.initializer if w.data_type == 1 and len(w.dims) == 4):
        weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), weight.name))
    onnx.save(model, folder / "plan.onnx")
    card = read_card(folder, complete=False)
    seal(folder, card | {"files": card["files"] | {"plan.onnx": runtime.file_sum(folder / "plan.onnx")}})
    with pytest.raises(BundleRefused, match="this machine computes something else"):
        open_bundle(folder)


def test_an_opset_that_onnxruntime_does_not_know_is_one_sentence(bundles, tmp_path):
    import onnx

    folder = tmp_path / "copy"
    shutil.copytree(bundles("ltf_tiny"), folder)
    model = onnx.load(folder / "plan.onnx")
    model.opset_import[0].version = 99
    onnx.save(model, folder / "plan.onnx")
    card = read_card(folder, complete=False)
    seal(folder, card | {"files": card["files"] | {"plan.onnx": runtime.file_sum(folder / "plan.onnx")}})
    with pytest.raises(BundleRefused, match=r"onnxruntime [\d.]+ can't open .*plan.onnx"):
        open_bundle(folder)


def test_providers_that_are_not_there_are_said_and_others_refused(bundles):
    engine = open_engine(bundles("ltf_tiny"), provider="cuda")
    assert engine.provider == "cuda" or engine.provider.startswith("cpu in place of cuda, which this onnxruntime")
    with pytest.raises(BundleError, match="provider=npu is unknown: choose cpu, cuda, tensorrt"):
        open_engine(bundles("ltf_tiny"), provider="npu")


def test_pictures_of_another_size_fail_their_scene_alone(bundles):
    planner = planner_of(bundles("ltf_tiny"))
    with pytest.raises(UnreadableScene, match="108 x 192, the bundle was exported for 54 x 96"):
        planner.plan([made_scene(planner.needs, (108, 192))])


def test_the_runtime_drives_a_bundle(bundles):
    now = [50.0]
    car = Runtime(str(bundles("ltf_anytime_tiny")), threads=1, clock=lambda: now[0])
    given, _ = runtime.read_golden(bundles("ltf_anytime_tiny"))
    for turn in range(3):
        now[0] += 0.1
        for name, pixels in given.items():
            if name.startswith("picture_"):
                car.frame(name.removeprefix("picture_"), pixels + np.uint8(turn), now[0])
        car.ego(now[0], velocity=(8.0, 0.0), acceleration=(0.0, 0.0), command=1)
        output = car.plan()
        assert runtime.faults_of(output.poses, 0.5, 8.0, car.limits) == []
    assert output.status.counts["frames"] == 9 and output.status.provider == "cpu"


def test_torch_formats_compute_the_same_and_compiled_code_needs_trust(planners, tmp_path):
    folder = write_bundle(planners["ltf_tiny"], tmp_path / "pt2", format=Format.TORCH_EXPORT)
    given, made = runtime.read_golden(folder)
    assert np.abs(open_bundle(folder).plan(given).poses - made["trajectory"]).max() < WITHIN_M
    with pytest.raises(BundleError, match="holds torch_export graphs, and this runtime runs onnx"):
        open_engine(folder)
    compiled = altered(folder, tmp_path / "aoti", backend="aoti")
    with pytest.raises(BundleRefused, match="holds compiled code, and opening it runs that code"):
        open_bundle(compiled)


@pytest.mark.parametrize(
    ("format", "precision", "words"),
    [
        ("tflite", "fp32", "format=tflite is unknown"),
        ("onnx", "int4", "precision=int4 is unknown"),
        ("onnx", "bf16", "format=onnx has no precision=bf16: choose one of fp32, fp16, int8"),
        ("aoti", "int8", "format=aoti has no precision=int8"),
    ],
)
def test_formats_and_precisions_that_do_not_exist_are_refused(format, precision, words):
    with pytest.raises(ConfigError, match=words):
        chosen(format, precision)


def test_tensorrts_command_is_composed_and_its_absence_told(monkeypatch):
    command = trtexec_command(Path("a.onnx"), Path("a.engine"), Precision.FP16)
    assert command == ["trtexec", "--onnx=a.onnx", "--saveEngine=a.engine", "--skipInference", "--fp16"]
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="needs NVIDIA's trtexec on the PATH"):
        require_tensorrt()


@pytest.mark.parametrize(
    ("drift", "pictures", "bundle", "words"),
    [
        (0.01, 0.0, 0.9, "its plans drift 0.01, at most 0.001 is allowed"),
        (float("nan"), 0.0, 0.9, "its plans drift nan"),
        (0.0, 0.2, 0.9, "its pictures move plans by 0.2"),
        (0.0, 0.0, 0.8, "its score falls by 0.1"),
    ],
)
def test_the_gate_stops_what_drifts_or_falls(drift, pictures, bundle, words):
    bounds = Bounds(drift_m=0.001, pictures_m=0.1, pdms=0.02)
    parity = {"scenes": 2, "drift_median_m": 0.0, "pdms_eager": 0.9}
    Parity(drift_m=0.0005, pictures_m=0.0, pdms_bundle=0.89, **parity).require(bounds)
    with pytest.raises(BundleRefused, match=words):
        Parity(drift_m=drift, pictures_m=pictures, pdms_bundle=bundle, **parity).require(bounds)


@pytest.mark.slow
def test_the_bundles_own_runtime_needs_numpy_and_onnxruntime_alone(bundles, tmp_path):
    venv.create(tmp_path / "car", with_pip=True)
    python = tmp_path / "car/bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", "numpy", "onnxruntime"], check=True, timeout=600)
    code = (
        "import runtime, sys; engine = runtime.open_engine(runtime.Path('.')); "
        "assert not {'torch', 'latentdrive', 'cv2'} & set(sys.modules); print(engine.first_call_s)"
    )
    done = subprocess.run([python, "-c", code], cwd=bundles("ltf_anytime_tiny"), capture_output=True, text=True)
    assert done.returncode == 0 and float(done.stdout) > 0, done.stderr


def test_the_bundles_runtime_is_ours_word_for_word(bundles):
    own = (bundles("ltf_tiny") / "runtime.py").read_text()
    assert own == Path(runtime.__file__).read_text()
