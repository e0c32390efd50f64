"""Inverse dynamics: causal in time, looks at both frames and at its context, treats every window alone in use."""

import pytest
import torch

from latentdrive.codebook.inverse_dynamics import Correlation, InverseDynamics

torch.set_num_threads(1)
CHANNELS, GRID, STRIDE = 6, (4, 8), 8


def inverse_dynamics(*, context_width: int = 5, sectors: bool = False, stride: int = STRIDE) -> InverseDynamics:
    torch.manual_seed(0)
    network = InverseDynamics(
        feature_channels=CHANNELS,
        stride=stride,
        grid=GRID,
        pool=2,
        reach=2,
        pictures=2,
        width=32,
        layers=2,
        heads=2,
        slots=2,
        code_width=4,
        context_width=context_width,
        sectors=sectors,
    )
    return network


def window(*, transitions: int = 3, batch: int = 2, seed: int = 1, stride: int = STRIDE) -> tuple[torch.Tensor, ...]:
    """Features and pictures of transitions + 1 frames, and a context token a transition."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, transitions + 1, CHANNELS, *GRID, generator=generator)
    pictures = torch.rand(batch, transitions + 1, 3, GRID[0] * stride, GRID[1] * stride, generator=generator) * 2 - 1
    return features, pictures, torch.randn(batch, transitions, 1, 5, generator=generator)


def read(network: InverseDynamics, features, pictures, context) -> torch.Tensor:
    stacked = torch.cat([pictures[:, :-1], pictures[:, 1:]], 2)
    return network(features[:, :-1], features[:, 1:], stacked, context)


@pytest.fixture(params=[False, True], ids=["slots", "sectors"])
def network(request) -> InverseDynamics:
    network = inverse_dynamics(sectors=request.param)
    read(network, *window(batch=8, seed=2))  # running statistics
    return network.eval()


def test_slots_of_a_transition_depend_on_no_later_frame(network):
    features, pictures, context = window()
    before = read(network, features, pictures, context)
    later = window(seed=9)
    features, pictures, context = features.clone(), pictures.clone(), context.clone()
    features[:, 3], pictures[:, 3], context[:, 2] = later[0][:, 3], later[1][:, 3], later[2][:, 2]
    after = read(network, features, pictures, context)
    assert torch.equal(before[:, :2], after[:, :2])  # transitions 1 and 2 end at frame 2
    assert not torch.allclose(before[:, 2], after[:, 2])


def test_slots_remember_earlier_transitions(network):
    features, pictures, context = window()
    before = read(network, features, pictures, context)
    features = features.clone()
    features[:, 0] += 1
    after = read(network, features, pictures, context)
    assert not torch.allclose(before[:, 2], after[:, 2])


@pytest.mark.parametrize("part", [0, 1], ids=["features", "pictures"])
@pytest.mark.parametrize("frame", [0, 1])
def test_both_frames_count(network, part: int, frame: int):
    inputs = list(window(transitions=1))
    before = read(network, *inputs)
    inputs[part] = inputs[part].clone()
    inputs[part][:, frame] = inputs[part][:, frame].flip(-1)
    assert not torch.allclose(before, read(network, *inputs))


def test_the_context_counts(network):
    features, pictures, context = window()
    assert not torch.allclose(read(network, features, pictures, context), read(network, features, pictures, -context))


def test_in_use_a_window_is_read_alone_whatever_stands_beside_it(network):
    inputs = window(batch=4)
    together = read(network, *inputs)
    alone = torch.cat([read(network, *(part[row : row + 1] for part in inputs)) for row in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_a_network_without_context_takes_none():
    network = inverse_dynamics(context_width=0)
    assert read(network, *window()[:2], None).shape == (2, 3, 2, 4)


def test_patches_of_14_pixels_fit_as_well():
    network = inverse_dynamics(stride=14)
    assert read(network, *window(stride=14)).shape == (2, 3, 2, 4)


def test_every_weight_gets_a_gradient():
    network = inverse_dynamics(sectors=True)
    read(network, *window(batch=4)).pow(3).sum().backward()
    without = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == []


def test_correlation_is_highest_where_a_patch_has_gone():
    correlation = Correlation(grid=(5, 8), reach=2)
    first = torch.randn(3, 16, 5, 8, generator=torch.Generator().manual_seed(0))
    second = first.roll((1, -2), (2, 3))  # one patch down, two to the left
    alike = correlation(first, second)
    assert alike.shape == (3, 25, 5, 8) and alike.abs().max() <= 1 + 1e-5
    inside = alike[:, :, :4, 2:]  # patches whose new place is in the picture
    assert (inside.argmax(1) == 3 * 5 + 0).all()  # rows of displacements from -2: down 1 is row 3, left 2 column 0
    torch.testing.assert_close(inside[:, 15], torch.ones(3, 4, 6))


def test_correlation_beyond_the_edge_is_nothing():
    ones = torch.ones(1, 4, 3, 3)
    alike = Correlation(grid=(3, 3), reach=1)(ones, ones)
    assert alike[0, :, 0, 0].tolist() == pytest.approx([0, 0, 0, 0, 1, 1, 0, 1, 1])
