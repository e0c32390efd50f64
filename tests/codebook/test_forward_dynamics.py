"""Forward dynamics: copying is the zero output, and a flow moves a picture by exactly its displacement."""

import pytest
import torch

from latentdrive.codebook.forward_dynamics import PlainForwardDynamics, WarpForwardDynamics, warp

torch.set_num_threads(1)
GRID, PATCH, CHANNELS = (4, 8), 4, 6


def forward_dynamics(kind: str, *, sectors: int = 0):
    torch.manual_seed(0)
    sizes = {
        "feature_channels": CHANNELS,
        "grid": GRID,
        "pool": 2,
        "width": 16,
        "layers": 1,
        "heads": 2,
        "conditions": 3,
        "sectors": sectors,
        "condition_width": 5,
        "patch_pixels": PATCH,
    }
    return PlainForwardDynamics(**sizes) if kind == "plain" else WarpForwardDynamics(flow_cells=2, **sizes)


def present(count: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(count, CHANNELS, *GRID, generator=generator)
    pixels = torch.rand(count, 3, GRID[0] * PATCH, GRID[1] * PATCH, generator=generator) * 2 - 1
    return features, pixels, torch.randn(count, 3, 5, generator=generator)


@pytest.mark.parametrize("kind", ["plain", "warp"])
@pytest.mark.parametrize("sectors", [0, 2])
def test_an_untrained_decoder_copies_the_present_frame(kind: str, sectors: int):
    features, pixels, conditions = present()
    prediction = forward_dynamics(kind, sectors=sectors)(features, pixels, conditions)
    torch.testing.assert_close(prediction.features, features, atol=1e-5, rtol=0)
    torch.testing.assert_close(prediction.pixels, pixels, atol=1e-5, rtol=0)
    assert (prediction.flow is None) == (kind == "plain")
    assert prediction.flow is None or not prediction.flow.any()


@pytest.mark.parametrize("sectors", [0, 2])
def test_codes_move_things_and_never_repaint_them(sectors: int):
    """With a flow that is held, other conditions change nothing, and the correction teaches them nothing."""
    network, (features, pixels, conditions) = forward_dynamics("warp", sectors=sectors), present()
    torch.nn.init.normal_(network.correct_features.weight)
    torch.nn.init.normal_(network.correct_pixels.weight)
    conditions.requires_grad_()
    prediction = network(features, pixels, conditions)
    assert (prediction.pixels - pixels).abs().max() > 0.01, "the correction is awake"
    other = network(features, pixels, torch.randn_like(conditions))
    torch.testing.assert_close(prediction.features, other.features)
    torch.testing.assert_close(prediction.pixels, other.pixels)
    torch.nn.init.normal_(network.flow.weight)
    network(features, pixels, conditions).pixels.sum().backward()
    assert conditions.grad.abs().max() > 0, "through the flow they are taught"


@pytest.mark.parametrize(("right", "down"), [(1, 0), (0, 1), (-2, 1)])
def test_a_flow_of_whole_patches_fetches_from_that_many_patches_away(right: int, down: int):
    features, pixels, _ = present(1)
    flow = torch.tensor([right, down], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, *GRID)
    for maps, side in ((features, 1), (pixels, PATCH)):
        moved = warp(maps, flow, GRID)
        expected = maps.roll((-down * side, -right * side), (2, 3))
        inside = [
            slice(max(0, -shift) * side, maps.shape[axis] - max(0, shift) * side)
            for axis, shift in ((2, down), (3, right))
        ]
        torch.testing.assert_close(
            moved[:, :, inside[0], inside[1]], expected[:, :, inside[0], inside[1]], atol=1e-4, rtol=0
        )


def test_beyond_the_edge_there_is_the_edge():
    ramp = torch.arange(8.0).expand(1, 1, 4, 8)
    flow = torch.tensor([3.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, *GRID)
    assert warp(ramp, flow, GRID)[0, 0, 0].tolist() == pytest.approx([3, 4, 5, 6, 7, 7, 7, 7])


def test_a_flow_of_half_a_patch_is_the_mean_of_two():
    ramp = torch.arange(8.0).expand(1, 1, 4, 8)
    flow = torch.tensor([0.5, 0.0]).view(1, 2, 1, 1).expand(1, 2, *GRID)
    assert warp(ramp, flow, GRID)[0, 0, 0, :7].tolist() == pytest.approx([0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5])


def test_patches_are_the_unit_of_flow_at_every_resolution():
    """A flow field moves features (one cell a patch) and pixels (PATCH cells) by the same share of the picture."""
    flow = torch.zeros(1, 2, 2 * GRID[0], 2 * GRID[1])
    flow[:, 0] = 1.0
    coarse = torch.arange(8.0).expand(1, 1, 4, 8)
    fine = coarse.repeat_interleave(PATCH, -1).repeat_interleave(PATCH, -2)
    assert warp(coarse, flow, GRID)[0, 0, 0, :6].tolist() == pytest.approx([1, 2, 3, 4, 5, 6])
    assert warp(fine, flow, GRID)[0, 0, 0, PATCH // 2 :: PATCH][:6].tolist() == pytest.approx([1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize("kind", ["plain", "warp"])
@pytest.mark.parametrize("sectors", [0, 2])
def test_every_condition_can_move_the_prediction(kind: str, sectors: int):
    network = forward_dynamics(kind, sectors=sectors)
    for weight in network.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.1)
    features, pixels, conditions = present()
    conditions.requires_grad_()
    network(features, pixels, conditions).pixels.square().sum().backward()
    assert (conditions.grad.abs().sum((0, 2)) > 0).all()


@pytest.mark.parametrize("kind", ["plain", "warp"])
def test_every_weight_of_the_decoder_gets_a_gradient_from_its_second_step_on(kind: str):
    network = forward_dynamics(kind, sectors=2)
    for weight in network.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.1)
    prediction = network(*present())
    (prediction.features.square().sum() + prediction.pixels.square().sum()).backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_flow_that_is_no_number_gives_no_numbers_for_its_map_alone_and_can_be_differentiated(value: float):
    maps, flow = torch.rand(3, 3, 6, 8, requires_grad=True), torch.zeros(3, 2, 6, 8)
    flow[1, 0, 4, 5], flow[2, 1, 0, 0] = value, 3e38
    flow.requires_grad_(True)
    moved = warp(maps, flow, (6, 8))
    assert moved[1].isnan().all() and moved[[0, 2]].isfinite().all()
    moved.nansum().backward()  # with such a place in grid_sample itself, this ended the process
    assert maps.grad.isfinite().all()
