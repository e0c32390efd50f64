"""The configured Transfusers: they build, their sensors, targets and losses fit, and they have the stated sizes."""

import pytest
import torch

from latentdrive.build import build
from latentdrive.config import compose
from latentdrive.planners.inputs.batch import stacked, targets_of
from tests.support.made_truths import street_truth
from tests.support.transfuser import full_size, made_inputs


def composed(planner: str, *more: str):
    return compose("train_planner", [f"planner={planner}", *more])


@pytest.mark.parametrize(("planner", "lidar_input"), [("transfuser", "points"), ("ltf", "learned")])
def test_full_size_is_the_published_size(planner, lidar_input):
    cfg = composed(planner)
    with torch.device("meta"):
        model, published = build(cfg.model), full_size(lidar_input)
    shapes = ({key: value.shape for key, value in built.state_dict().items()} for built in (model, published))
    assert next(shapes) == next(shapes)
    assert model.sensors == published.sensors and model.agents_half_m == published.agents_half_m
    assert cfg.model.backbone.image_weights == "hub" and not cfg.model.backbone.normalise


@pytest.mark.parametrize(("planner", "parameters"), [("transfuser_tiny", 5.42e6), ("ltf_tiny", 5.44e6)])
@pytest.mark.parametrize("fusion", ["none", "latent_tiny"])
def test_a_tiny_one_is_small_and_its_targets_fit_its_outputs(planner, parameters, fusion):
    cfg = composed(planner, f"fusion={fusion}")
    model = build(cfg.model)
    counts = [weight.numel() for name, weight in model.named_parameters() if "fusion" not in name]
    assert sum(counts) == pytest.approx(parameters, rel=0.02)
    model.fusion = None
    lidar = None if model.sensors.lidar is None else 128
    output = model(made_inputs(2, seed=1, size=(64, 256), cells=lidar))
    targets = targets_of(stacked([build(cfg.batches.targets)(street_truth())] * 2))
    parts = build(cfg.training.loss)(output, targets, None)
    assert set(parts) == {"trajectory", "agent_class", "agent_box", "semantics"}
    assert all(torch.isfinite(value) and value > 0 for value in parts.values())


@pytest.mark.parametrize("planner", ["transfuser", "ltf", "transfuser_tiny", "ltf_tiny"])
def test_targets_and_outputs_have_the_same_sizes(planner):
    cfg = composed(planner)
    targets, model = build(cfg.batches.targets), cfg.model.plain()
    for name in ("poses", "agents", "agents_half_m"):
        assert getattr(targets, name) == model[name]
    assert [targets.semantics.height, targets.semantics.width] == model["semantic_size"]
    assert (targets.bearing_deg is not None) == (model["sensors"]["lidar"] is None)
    assert targets.semantics.width * targets.semantics.metres_per_cell == 64.0
