"""Transfuser: its inputs, its outputs, and which weights each part of its loss trains."""

import math
from dataclasses import replace

import pytest
import torch

from latentdrive.errors import ConfigError
from latentdrive.planners.inputs.batch import PlannerTargets
from latentdrive.planners.inputs.sensors import Panorama, Sensors, Surround
from latentdrive.planners.latents.fusion import LatentFusion
from latentdrive.planners.transfuser.backbone import StagedNetwork
from latentdrive.planners.transfuser.losses import TransfuserLoss
from latentdrive.planners.transfuser.model import _require_fitting
from latentdrive.types import LatentFeatures
from tests.support.transfuser import lidar_grid, made_inputs, tiny

SIZE = (64, 128)


def fusion() -> LatentFusion:
    return LatentFusion(visual_width=6, action_width=5, width=32, tokens=2, heads=2)


def latents(scenes: int) -> LatentFeatures:
    torch.manual_seed(1)
    return LatentFeatures(visual=torch.randn(scenes, 4, 6), action=torch.randn(scenes, 3, 5))


def inputs(scenes: int = 3):
    return made_inputs(scenes, seed=2, size=SIZE, cells=64)


def targets(scenes: int = 3) -> PlannerTargets:
    torch.manual_seed(3)
    real = torch.tensor([[True, True, False, False, False]]).expand(scenes, -1).clone()
    return PlannerTargets(
        trajectory=torch.randn(scenes, 8, 3),
        agents=10 * torch.randn(scenes, 5, 5),
        agents_real=real,
        semantics=torch.randint(0, 7, (scenes, 16, 32)).to(torch.uint8),
    )


def loss(**changed) -> TransfuserLoss:
    return TransfuserLoss(**({"trajectory": 10.0, "agent_class": 10.0, "agent_box": 1.0, "semantics": 10.0} | changed))


@pytest.mark.parametrize("lidar_input", ["points", "learned"])
def test_every_output_has_its_shape_and_range(lidar_input):
    output = tiny(lidar_input).eval()(inputs())
    assert output.trajectory.shape == (3, 8, 3) and output.agents.shape == (3, 5, 5)
    assert output.agent_logits.shape == (3, 5) and output.semantics.shape == (3, 7, 16, 32)
    assert output.trajectory[..., 2].abs().max() < math.pi and output.agents[..., 2].abs().max() < math.pi
    assert output.agents[..., :2].abs().max() < 32


@pytest.mark.parametrize(("lidar_input", "lidar"), [("points", True), ("learned", False)])
def test_transfuser_needs_three_cameras_and_the_lidar_and_ltf_no_lidar(lidar_input, lidar):
    needs = tiny(lidar_input).needs
    assert (needs.cameras, needs.lidar) == (("cam_l0", "cam_f0", "cam_r0"), lidar)


def test_ltf_ignores_the_lidar():
    model, given = tiny("learned").eval(), inputs()
    without = model(replace(given, lidar=None))
    assert torch.equal(model(given).trajectory, without.trajectory)


USED = {"points": ("cameras", "lidar", "velocity", "command"), "learned": ("cameras", "velocity", "command")}


@pytest.mark.parametrize(("lidar_input", "names"), USED.items())
def test_every_input_influences_the_plan(lidar_input, names):
    torch.manual_seed(0)
    model, given = tiny(lidar_input).eval(), inputs()
    for exchange in model.backbone.exchanges:  # with its initial weights it passes on almost nothing
        for layer in exchange.blocks.modules():
            if isinstance(layer, torch.nn.Linear):
                torch.nn.init.normal_(layer.weight, std=0.3)
    plan = model(given).trajectory
    for name in names:
        changed = replace(given, **{name: getattr(given, name).flip(0)})
        assert (model(changed).trajectory - plan)[[0, 2]].abs().max() > 1e-5, name


def test_an_untrained_fusion_changes_no_output():
    model, given = tiny("learned", fusion=fusion()).eval(), replace(inputs(), latents=latents(3))
    fused, model.fusion = model(given), None
    plain = model(given)
    for name in ("trajectory", "agents", "agent_logits", "semantics"):
        assert torch.equal(getattr(fused, name), getattr(plain, name))


def test_an_open_fusion_changes_the_plan_and_not_the_birds_eye_view():
    model, given = tiny("learned", fusion=fusion()).eval(), replace(inputs(), latents=latents(3))
    before = model(given)
    torch.nn.init.ones_(model.fusion.gate)
    after = model(given)
    assert not torch.allclose(before.trajectory, after.trajectory) and torch.equal(before.semantics, after.semantics)


def trained(lidar_input: str) -> dict[str, set[str]]:
    """For every part of the loss, the parts of the model that it gives a gradient."""
    torch.manual_seed(0)
    model = tiny(lidar_input, fusion=fusion()).train()
    torch.nn.init.ones_(model.fusion.gate)
    losses = loss()(model(replace(inputs(), latents=latents(3))), targets(), None)
    parts = {}
    for name, value in losses.items():
        model.zero_grad()
        value.backward(retain_graph=True)
        moved = [key for key, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()]
        parts[name] = {".".join(key.split(".")[: 2 if key.startswith("backbone") else 1]) for key in moved}
    return parts


BACKBONE = {"backbone.image", "backbone.lidar", "backbone.exchanges"}
DECODER = BACKBONE | {"bev_in", "status_in", "memory_positions", "queries", "decoder", "fusion"}


@pytest.mark.parametrize(("lidar_input", "grid"), [("points", set()), ("learned", {"backbone.grid"})])
def test_every_loss_trains_its_head_and_all_that_the_head_reads(lidar_input, grid):
    assert trained(lidar_input) == {
        "trajectory": DECODER | {"trajectory"} | grid,
        "agent_class": DECODER | {"agent_logits"} | grid,
        "agent_box": DECODER | {"agent_boxes"} | grid,
        "semantics": BACKBONE | {"semantics"} | grid,
    }


def test_together_the_losses_train_every_weight():
    torch.manual_seed(0)
    model = tiny("learned", fusion=fusion()).train()
    for name, weight in model.named_parameters():
        if "gate" in name or (weight.dim() == 1 and name.endswith("weight")):
            torch.nn.init.ones_(weight)  # timm's residual branches begin with a norm of weight 0
    sum(loss()(model(replace(inputs(), latents=latents(3))), targets(), None).values()).backward()
    untrained = {name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()}
    # A bias of all keys changes all attention scores of a query alike, so it gets no gradient.
    assert {name for name in untrained if not name.endswith("key.bias")} == set()


def test_a_tiny_one_memorises_two_scenes():
    torch.manual_seed(0)
    model, given, truth = tiny("points").train(), inputs(2), targets(2)
    optimizer = torch.optim.Adam(model.parameters(), 4e-3)
    sums = []
    for _ in range(30):
        parts = loss()(model(given), truth, None)
        total = sum(parts.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        sums.append(float(total.detach()))
    assert sums[-1] < 0.6 * sums[0] and parts["trajectory"].item() < 4.0


def test_bfloat16_leaves_poses_in_float32():
    with torch.autocast("cpu", torch.bfloat16):
        output = tiny("learned").train()(inputs())
    assert output.trajectory.dtype == output.agents.dtype == torch.float32 and output.semantics.dtype == torch.bfloat16


def test_frozen_stages_without_published_weights_are_refused():
    with pytest.raises(
        ConfigError, match=r"model\.backbone\.image_frozen=1 keeps published weights, but image_weights=none"
    ):
        tiny("learned", image_frozen=1)


def test_frozen_stages_keep_weights_and_statistics():
    network = StagedNetwork(name="test_resnet", channels_in=3, stride=32, frozen=2).train()
    frozen = {key.split(".")[1] for key, value in network.named_parameters() if not value.requires_grad}
    assert frozen >= {"conv1", "layer1", "layer2"} and "layer3" not in frozen
    before = {key: value.clone() for key, value in network.state_dict().items()}
    maps = torch.rand(2, 3, 64, 64)
    for number in range(4):
        maps = network.stage(number, maps)
    moved = {key.split(".")[1] for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"layer3", "layer4"}


@pytest.mark.parametrize("name", ["resnet18", "test_efficientnet", "test_convnext", "regnetx_002"])
def test_running_a_backbone_stage_by_stage_gives_its_own_maps(name):
    network = StagedNetwork(name=name, channels_in=3, stride=32, frozen=0).eval()
    image, maps = torch.rand(1, 3, 64, 64), []
    last = image
    for number in range(4):
        last = network.stage(number, last)
        maps.append(last)
    assert all(torch.allclose(stage, whole, atol=1e-5) for stage, whole in zip(maps, network.network(image)[-4:]))
    assert tuple(stage.shape[1] for stage in maps) == network.channels


def test_published_weights_of_the_package_reach_the_image_backbone():
    model = tiny("learned", image="efficientnet_lite0", image_weights="package", image_frozen=1, exchange_heads=4)
    before = model.backbone.image.network.conv_stem.weight.clone()
    model.load_pretrained()
    after = model.backbone.image.network.conv_stem.weight
    assert not torch.equal(before, after) and not after.requires_grad


def test_sizes_and_sensors_that_do_not_fit_are_refused():
    panorama, model = Panorama(height=64, width=128), tiny("points")
    with pytest.raises(ConfigError, match=r"1 channels of 256 cells a side, but .*lidar_cells=64: make them agree"):
        _require_fitting(Sensors(cameras=panorama, lidar=lidar_grid()), model.backbone)
    with pytest.raises(ConfigError, match=r"needs a LidarGrid as model\.sensors\.lidar"):
        _require_fitting(Sensors(cameras=panorama, lidar=None), model.backbone)
    with pytest.raises(ConfigError, match="must be null"):
        _require_fitting(Sensors(cameras=panorama, lidar=lidar_grid()), tiny("learned").backbone)
    with pytest.raises(ConfigError, match="Panorama"):
        _require_fitting(Sensors(cameras=Surround(names=("cam_f0",), height=8, width=8), lidar=None), model.backbone)
    with pytest.raises(ConfigError, match=r"exchange_heads=5 must divide .* and one has 32"):
        tiny("points", exchange_heads=5)
    with pytest.raises(ConfigError, match="must be points or learned, got radar"):
        tiny("radar")
    with pytest.raises(ConfigError, match="did you mean resnet34"):
        tiny("points", image="resnet_34")
