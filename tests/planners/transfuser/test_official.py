"""NAVSIM's weights: all names and shapes are accounted for, outputs are the same, and wrong files are refused."""

import builtins
import json
import pickle
import sys
import types
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from latentdrive.errors import CheckpointError
from latentdrive.planners.latents.fusion import LatentFusion
from latentdrive.planners.transfuser.official import PREFIX, our_name, read_official, to_ours
from tests.support.transfuser import (
    HERE,
    full_size,
    made_inputs,
    official_name,
    official_shapes,
    official_state,
    official_weights,
    tiny,
)

VARIANTS = {"transfuser": ("points", 55_970_149, 668), "ltf": ("learned", 56_035_685, 669)}
# Outputs of NAVSIM's own network with the weights and inputs of tests/support/transfuser.py, rounded to 1e-6.
GOLDEN = json.loads((HERE / "golden_transfuser.json").read_text())


@pytest.fixture(scope="module")
def small():
    """A tiny Transfuser, and its weights under NAVSIM's names."""
    model = tiny("points")
    return model, official_state(model.state_dict())


def saved(path: Path, state: dict, **more) -> Path:
    torch.save({"epoch": 3, "state_dict": state, **more}, path)
    return path


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_official_weight_has_its_place_and_no_other_weight_exists(variant):
    lidar_input, parameters, count = VARIANTS[variant]
    with torch.device("meta"):
        model = full_size(lidar_input)
    official = official_shapes(variant)
    ours = {
        key: (tuple(value.shape), str(value.dtype).removeprefix("torch.")) for key, value in model.state_dict().items()
    }
    assert len(official) == count and sum(weight.numel() for weight in model.parameters()) == parameters
    assert {our_name(key): value for key, value in official.items()} == ours
    assert {official_name(key): value for key, value in ours.items()} == official


@pytest.fixture(scope="module")
def ltf_weights() -> dict[str, torch.Tensor]:
    """All weights of NAVSIM's LTF; without the learned grid they are those of its Transfuser."""
    return official_weights("ltf")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_official_weights_give_the_official_networks_numbers(variant, ltf_weights):
    """Loaded without a file, because writing and reading 224 MB would take most of the time."""
    model = full_size(VARIANTS[variant][0]).eval()
    names = official_shapes(variant)
    state = {key: value for key, value in ltf_weights.items() if key in names}
    model.load_state_dict(to_ours(state, model.state_dict(), file="made"), strict=True)
    with torch.no_grad():  # LTF is given a histogram too, and must ignore it
        output = model(made_inputs(2, seed=5, size=(256, 1024), cells=256))
    values = {
        "trajectory": output.trajectory,
        "agents": output.agents,
        "agent_logits": output.agent_logits,
        "semantics": output.semantics[:, :, 5::41, 7::67],
    }
    for name, value in values.items():
        expected = torch.tensor(GOLDEN[variant][name]).view(value.shape)
        torch.testing.assert_close(value, expected, atol=1e-4, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


def test_weights_under_official_names_are_loaded_one_to_one(small, tmp_path):
    model, state = small
    other = tiny("points")
    other.load_official(saved(tmp_path / "ours.ckpt", state))
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in other.state_dict().items())


def test_a_fusion_is_neither_required_of_a_checkpoint_nor_changed_by_it(small, tmp_path):
    model = tiny("points", fusion=LatentFusion(visual_width=6, action_width=5, width=32, tokens=2, heads=2))
    before = model.fusion.visual.queries.detach().clone()
    model.load_official(saved(tmp_path / "a.ckpt", small[1]))
    assert torch.equal(model.fusion.visual.queries, before)


def test_missing_and_extra_weights_are_named_with_their_number(small, tmp_path):
    state = dict(small[1])
    for key in [key for key in state if "_status_encoding" in key]:
        del state[key]
    state[PREFIX + "_depth_head.weight"] = torch.zeros(1)
    with pytest.raises(
        CheckpointError, match=r"lacks status_in.weight, status_in.bias; it has _depth_head.weight that"
    ):
        tiny("points").load_official(saved(tmp_path / "a.ckpt", state))


def test_other_sizes_are_named_on_both_sides(small, tmp_path):
    state = dict(small[1])
    state[PREFIX + "_query_embedding.weight"] = torch.zeros(31, 256)
    with pytest.raises(CheckpointError, match=r"queries.weight \[31, 256\] instead of \[6, 32\].*no size changed"):
        tiny("points").load_official(saved(tmp_path / "a.ckpt", state))


def test_the_other_variant_is_recognised(small, tmp_path):
    ltf = tiny("learned")
    with pytest.raises(
        CheckpointError,
        match=r"a Transfuser checkpoint \(it lacks _backbone.lidar_latent\), .* is an LTF: choose planner=transfuser",
    ):
        ltf.load_official(saved(tmp_path / "a.ckpt", small[1]))
    with pytest.raises(
        CheckpointError,
        match=r"an LTF checkpoint \(it has _backbone.lidar_latent\), but .* is a Transfuser: choose planner=ltf",
    ):
        tiny("points").load_official(saved(tmp_path / "b.ckpt", official_state(ltf.state_dict())))


def test_what_is_no_checkpoint_says_what_it_is(small, tmp_path):
    with pytest.raises(CheckpointError, match="does not exist: name NAVSIM's checkpoint"):
        read_official(tmp_path / "nowhere.ckpt")
    (tmp_path / "text.ckpt").write_text("<html>not found</html>")
    with pytest.raises(CheckpointError, match="download it again"):
        read_official(tmp_path / "text.ckpt")
    (tmp_path / "note.ckpt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n")
    with pytest.raises(CheckpointError, match="is a note of Git LFS that stands for the file"):
        read_official(tmp_path / "note.ckpt")
    torch.save({"epoch": 1}, tmp_path / "empty.ckpt")
    with pytest.raises(CheckpointError, match="under state_dict; it holds: epoch"):
        read_official(tmp_path / "empty.ckpt")
    with pytest.raises(CheckpointError, match=r"net\.a of its 1 weights do not begin with agent\._transfuser_model\."):
        read_official(saved(tmp_path / "other.ckpt", {"net.a": torch.zeros(1)}))
    whole = saved(tmp_path / "whole.ckpt", small[1]).read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="can't be read as a checkpoint"):
        read_official(tmp_path / "cut.ckpt")


class Touch:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return builtins.exec, (f"open({str(self.path)!r}, 'w').close()",)


class Shell:
    """Calls os.system when it is unpickled."""

    def __reduce__(self):
        import os

        return os.system, ("true",)


def test_a_checkpoint_that_would_run_something_is_refused_by_name_and_runs_nothing(small, tmp_path):
    path = saved(tmp_path / "evil.ckpt", small[1], extra=Touch(tmp_path / "touched"))
    with pytest.raises(CheckpointError, match=r"asks for exec, .*nothing in the file was run.*torch\.save"):
        read_official(path)
    assert not (tmp_path / "touched").exists()
    with pytest.raises(CheckpointError, match=r"asks for posix.system"):
        read_official(saved(tmp_path / "evil2.ckpt", small[1], extra=Shell()))


def made_class(monkeypatch, full: str, **attributes) -> type:
    """A class of this module and name, for pickling. The module disappears after the test."""
    module, _, name = full.rpartition(".")
    created = type(name, (), {"__module__": module} | attributes)
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), types.ModuleType(module))
    setattr(sys.modules[module], name, created)
    return created


def test_settings_saved_beside_the_weights_are_ignored(small, tmp_path, monkeypatch):
    from lightning.fabric.utilities.data import AttributeDict

    config = made_class(monkeypatch, "navsim.agents.transfuser.transfuser_config.TransfuserConfig")()
    config.trajectory_sampling = made_class(
        monkeypatch, "nuplan.planning.simulation.trajectory.trajectory_sampling.TrajectorySampling"
    )()
    config.trajectory_sampling.num_poses = 8
    path = saved(
        tmp_path / "a.ckpt",
        small[1],
        hyper_parameters=AttributeDict(
            config=config, settings=OmegaConf.create({"lr": 1e-4, "splits": ["a", None], "on": True})
        ),
        loops=defaultdict(dict, fit={"done": 3}),
        where=tmp_path,
    )
    monkeypatch.undo()
    assert read_official(path).keys() == {key.removeprefix(PREFIX) for key in small[1]}


def test_a_class_that_is_not_listed_is_refused_by_name(small, tmp_path, monkeypatch):
    stranger = made_class(monkeypatch, "somewhere.else_.Agent")()
    path = saved(tmp_path / "a.ckpt", small[1], agent=stranger)
    with pytest.raises(CheckpointError, match=r"asks for somewhere\.else_\.Agent"):
        read_official(path)


def test_a_pickle_of_another_kind_is_refused(tmp_path):
    (tmp_path / "a.ckpt").write_bytes(pickle.dumps({"state_dict": Shell()}, protocol=2))
    with pytest.raises(CheckpointError):
        read_official(tmp_path / "a.ckpt")


def test_names_without_a_place_stay_as_they_are():
    assert to_ours({"a": torch.zeros(1)}, {"a": torch.zeros(1)}, file="x").keys() == {"a"}
