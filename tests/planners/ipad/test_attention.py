"""Deformable attention by hand: sampling, weights, and queries that no camera sees."""

import pytest
import torch

from latentdrive.planners.ipad.attention import CameraAttention, GridAttention, Samples, sample


def test_sample_reads_cell_centres_and_between_them():
    ramp = torch.tensor([[[[[0.0, 1.0, 2.0, 3.0]]]]])  # one map, one head, one channel, 1 x 4 cells
    places = torch.tensor([[0.125, 0.5], [0.5, 0.5], [0.875, 0.5], [5.0, 0.5]])[None, :, None, None]
    values = sample(ramp, places, torch.ones(1, 4, 1, 1))
    assert values[0, :, 0].tolist() == pytest.approx([0.0, 1.5, 3.0, 0.0])


def test_sample_weighs_points_and_keeps_heads_apart():
    maps = torch.stack([torch.full((2, 1, 2), 1.0), torch.full((2, 1, 2), 10.0)])[None]
    places = torch.full((1, 1, 2, 2, 2), 0.5)
    weights = torch.tensor([[[[0.25, 0.75], [0.5, 0.0]]]])
    assert sample(maps, places, weights)[0, 0].tolist() == pytest.approx([1.0, 1.0, 5.0, 5.0])


def test_the_first_offsets_spread_by_head_and_point():
    samples = Samples(width=8, heads=4, radii=[1.0, 2.0])
    offsets, weights = samples(torch.randn(1, 3, 8), (2, 4))
    assert offsets[0, 0, 0].tolist() == [[0.25, 0.0], [0.5, 0.0]]
    assert offsets[0, 0, 1, 1].tolist() == pytest.approx([0.0, 1.0], abs=1e-6)
    assert torch.equal(weights, torch.full((1, 3, 4, 2), 0.5))


def test_grid_attention_reads_the_query_whose_place_it_is_given():
    attention = GridAttention(width=4, heads=2, points=1, rows=3, columns=2)
    for layer in (attention.values, attention.out):
        torch.nn.init.eye_(layer.weight)
    torch.nn.init.zeros_(attention.samples.offsets.bias)
    queries = torch.randn(1, 6, 4)
    place = torch.tensor([0.75, 0.5]).expand(1, 6, 2)  # column 1 of 2, row 1 of 3: query 3
    output = attention(queries, torch.zeros(6, 4), place)
    torch.testing.assert_close(output, queries[:, 3:4].expand_as(output))


def cameras(count: int, points: int) -> tuple[CameraAttention, torch.Tensor, torch.Tensor]:
    """An attention that passes values on, maps whose values are all k + 1 for map k, and places in the middle."""
    attention = CameraAttention(width=4, heads=2, points=points)
    torch.nn.init.eye_(attention.out.weight)
    torch.nn.init.zeros_(attention.samples.offsets.bias)
    values = (torch.arange(count) + 1.0).view(count, 1, 1, 1, 1).expand(-1, 2, 2, 3, 3)
    return attention, values, torch.full((1, count, 2, points, 2), 0.5)


def test_cameras_that_see_a_point_are_averaged():
    attention, values, places = cameras(3, 2)
    seen = torch.tensor([[[[True, False], [False, False]], [[False] * 2] * 2, [[True, True], [False, True]]]])
    output = attention(torch.randn(1, 2, 4), values, places, seen)
    assert output[0, 0].tolist() == pytest.approx([2.0] * 4)  # mean of cameras 1 and 3
    assert output[0, 1].tolist() == pytest.approx([3.0] * 4)


def test_a_query_that_no_camera_sees_gets_nothing():
    attention, values, places = cameras(2, 3)
    torch.nn.init.ones_(attention.out.bias)
    output = attention(torch.randn(1, 2, 4), values, places * 50, torch.zeros(1, 2, 2, 3, dtype=torch.bool))
    assert torch.equal(output, torch.zeros(1, 2, 4))
