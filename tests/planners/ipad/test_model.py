"""iPad as a network: shapes, shared weights, stopped gradients, fusion, checkpoints, and size."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from latentdrive import checkpoint
from latentdrive.build import build
from latentdrive.config import compose, configs_folder
from latentdrive.errors import ConfigError, WrongShape
from latentdrive.planners.inputs.sensors import Panorama, Sensors
from latentdrive.planners.ipad.heads import TOTAL
from latentdrive.planners.ipad.images import grid_masked, padded_size
from latentdrive.planners.ipad.model import Ipad, ego_status
from latentdrive.types import LatentFeatures
from tests.support.ipad_made import (
    CAMERAS,
    FUSION,
    LATENTS,
    NODE,
    PASSES,
    POSES,
    PROPOSALS,
    elsewhere,
    made_inputs,
    small,
)

FULL_PARAMETERS = 29_089_283


def latents(count: int) -> LatentFeatures:
    return LatentFeatures(
        visual=torch.randn(count, 5, LATENTS["visual_width"]), action=torch.randn(count, 3, LATENTS["action_width"])
    )


def test_shapes_in_training_and_in_use():
    torch.manual_seed(0)
    model, inputs, steps = small(), made_inputs(2), 5 * POSES
    output = model.train()(inputs)
    assert output.passes.shape == (2, PASSES, PROPOSALS, POSES, 3) and output.trajectory.shape == (2, POSES, 3)
    assert output.score_logits.shape == (2, PROPOSALS, 6)
    assert output.agent_boxes.shape == (2, PROPOSALS, steps, 2, 8)
    assert output.agent_logits.shape == output.area_logits.shape == (2, PROPOSALS, steps, 2)
    used = model.eval()(inputs)
    assert used.agent_boxes is None and used.agent_logits is None and used.area_logits is None
    assert torch.equal(used.proposals, used.passes[:, -1])


def test_the_plan_is_the_proposal_with_the_highest_total():
    torch.manual_seed(0)
    output = small().eval()(made_inputs(3))
    best = output.score_logits[..., TOTAL].argmax(1)
    assert torch.equal(output.trajectory, output.proposals[torch.arange(3), best])


def test_the_ego_status_has_eleven_numbers_the_first_three_of_which_are_the_origin():
    status = ego_status(made_inputs(2))
    assert status.shape == (2, 11) and not status[:, :3].any()
    assert status[1].tolist() == [0, 0, 0, 5, 0, 0, 0, 0, 1, 0, 0]


def test_passes_share_their_weights():
    names = [name for name, _ in small().named_parameters()]
    assert names == [name for name, _ in small(passes=1).named_parameters()]
    assert len([name for name in names if name.endswith("decode.last.weight")]) == 1


def test_later_passes_look_at_the_cameras_and_the_first_does_not():
    torch.manual_seed(0)
    model, inputs = small().eval(), made_inputs(2)
    for layer in (model.refiner.decode.last, model.refiner.cameras.out):
        nn.init.normal_(layer.weight)
    other = replace(inputs, cameras=255 - inputs.cameras)
    passes, other_passes = model(inputs).passes, model(other).passes
    assert torch.equal(passes[:, 0], other_passes[:, 0])
    assert not torch.equal(passes[:, 1], other_passes[:, 1])


@torch.no_grad()
def test_outputs_stay_finite_where_no_camera_sees_a_proposal():
    torch.manual_seed(0)
    model, inputs = small().eval(), elsewhere(made_inputs(2))
    output = model(inputs)
    assert torch.isfinite(output.passes).all() and torch.isfinite(output.score_logits).all()
    other = replace(inputs, cameras=255 - inputs.cameras)
    assert torch.equal(model(other).passes, output.passes)


def test_anchors_carry_no_gradient_to_the_proposals():
    torch.manual_seed(0)
    model, inputs = small(), made_inputs(1)
    _, views = model._views(inputs)
    queries = model.queries[None].detach()
    proposals = model.refiner.propose(queries).detach().requires_grad_()
    refined = model.refiner(queries, proposals, views)
    assert refined.requires_grad and torch.autograd.grad(refined.sum(), proposals, allow_unused=True) == (None,)


def test_every_weight_gets_a_gradient_from_the_outputs():
    torch.manual_seed(0)
    model = small().train()
    output = model(made_inputs(2))
    values = (output.passes, output.score_logits, output.agent_boxes, output.agent_logits, output.area_logits)
    sum(value.square().sum() for value in values).backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


def test_an_untrained_fusion_changes_no_bit():
    torch.manual_seed(0)
    plain, fused = small().eval(), small(fusion=FUSION).eval()
    missing, unexpected = fused.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all(name.startswith("fusion.") for name in missing)
    inputs = made_inputs(2)
    with torch.no_grad():
        expected, output = plain(inputs), fused(replace(inputs, latents=latents(2)))
        assert torch.equal(output.passes, expected.passes) and torch.equal(output.score_logits, expected.score_logits)
        nn.init.ones_(fused.fusion.gate)
        assert not torch.equal(fused(replace(inputs, latents=latents(2))).passes, expected.passes)


def test_the_fusion_is_trained_through_its_gate():
    model = small(fusion=FUSION).train()
    nn.init.constant_(model.fusion.gate, 0.1)
    model(replace(made_inputs(2), latents=latents(2))).score_logits.square().sum().backward()
    assert [name for name, weight in model.fusion.named_parameters() if weight.grad is None] == []


def test_a_checkpoint_gives_the_same_planner_back(tmp_path):
    torch.manual_seed(0)
    config = NODE | {"fusion": FUSION}
    model, inputs = build(config).eval(), replace(made_inputs(2), latents=latents(2))
    card = checkpoint.Card(kind="latentdrive.planners.ipad.model.Ipad", parents={"codebook": "abc"})
    checkpoint.save(tmp_path / "ipad", model, config=config, card=card)
    loaded, _ = checkpoint.load(tmp_path / "ipad", expect=Ipad)
    assert torch.equal(loaded(inputs).trajectory, model(inputs).trajectory)
    assert loaded.needs.cameras == tuple(CAMERAS) and not loaded.needs.lidar


def test_bfloat16_leaves_poses_in_float32():
    torch.manual_seed(0)
    model = small().train()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(made_inputs(2))
    assert output.passes.dtype == output.score_logits.dtype == output.agent_boxes.dtype == torch.float32


def test_the_full_size_model_has_as_many_parameters_as_its_configuration_says():
    """Built on the meta device, which allocates nothing. The paper publishes no count."""
    with torch.device("meta"):
        model = build(compose("train_planner", ["planner=ipad"]).model)
    assert sum(weight.numel() for weight in model.parameters()) == FULL_PARAMETERS
    text = (configs_folder() / "planner/ipad.yaml").read_text()
    assert f"{FULL_PARAMETERS / 1e6:.1f} M parameters" in text


def test_grid_mask_hides_a_quarter_and_is_drawn_from_torchs_seed():
    pixels = torch.ones(2, 3, 64, 96)
    torch.manual_seed(5)
    first = grid_masked(pixels, 1.0)
    torch.manual_seed(5)
    assert torch.equal(grid_masked(pixels, 1.0), first)
    assert torch.equal(first[0], first[1]) and set(first.unique().tolist()) == {0.0, 1.0}
    hidden = [1 - grid_masked(pixels, 1.0).mean().item() for _ in range(50)]
    assert 0.15 < sum(hidden) / 50 < 0.35
    assert torch.equal(grid_masked(pixels, 0.0), pixels)


def test_grid_mask_acts_in_training_alone():
    torch.manual_seed(0)
    model, inputs = small(grid_mask=1.0), made_inputs(1)
    model.eval()
    assert torch.equal(model.images(inputs.cameras), model.images(inputs.cameras))
    model.train()
    assert not torch.equal(model.images(inputs.cameras), model.images(inputs.cameras))


def test_pictures_are_padded_to_whole_cells():
    assert padded_size(432, 768, 32) == (448, 768) and padded_size(64, 112, 16) == (64, 112)


def test_batch_statistics_stay_unless_all_of_the_backbone_is_trained():
    lite = {"backbone": "efficientnet_lite0", "stages": [3], "weights": "package"}
    kept = small(train_backbone="weights", **lite).train()
    before = {name: buffer.clone() for name, buffer in kept.images.backbone.named_buffers()}
    kept(made_inputs(1))
    assert all(torch.equal(buffer, before[name]) for name, buffer in kept.images.backbone.named_buffers())
    frozen = small(train_backbone="nothing", **lite)
    assert not any(weight.requires_grad for weight in frozen.images.backbone.parameters())
    frozen(made_inputs(1)).passes.sum().backward()
    assert small(train_backbone="all", **lite).train().images.backbone.training


def test_published_weights_are_loaded_on_request():
    model = small(backbone="efficientnet_lite0", stages=[3], weights="package", train_backbone="weights")
    first = next(model.images.backbone.parameters())
    before = first.detach().clone()
    model.load_pretrained()
    assert not torch.equal(first, before)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_backbone": "some"}, "one of all, weights, nothing, got some"),
        ({"train_backbone": "nothing"}, "needs published weights"),
        ({"width": 30}, "width divisible by 2 heads"),
        ({"passes": 0}, "at least one pass"),
        ({"poses": 9}, "no more than 8 poses"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changed, message):
    with pytest.raises(ConfigError, match=message):
        small(**changed)


def test_a_panorama_is_refused():
    sensors = Sensors(cameras=Panorama(height=32, width=64), lidar=None)
    with pytest.raises(ConfigError, match="must be a Surround"):
        build(NODE, sensors=sensors)


def test_inputs_without_cameras_or_latents_are_refused_by_name():
    with pytest.raises(WrongShape, match="expected inputs with cameras, intrinsics and camera_to_ego"):
        small()(replace(made_inputs(1), cameras=None))
    with pytest.raises(ConfigError, match=r"reads a predictor's embeddings, and none were given: add latents=FOLDER"):
        small(fusion=FUSION)(made_inputs(1))


def test_the_tiny_configuration_builds_and_projects_the_ground_and_the_roof():
    model = build(compose("train_planner", ["planner=ipad_tiny"]).model)
    assert model.refiner.heights_m.tolist() == [0.0, 2.0]
    assert sum(weight.numel() for weight in model.parameters()) == 1_338_195
