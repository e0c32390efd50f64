"""The codebook's losses, worked by hand."""

import math
from dataclasses import replace

import pytest
import torch

from latentdrive.codebook.forward_dynamics import Prediction
from latentdrive.codebook.losses import (
    copy_share,
    in_share,
    motion_regression,
    moving_weights,
    reading,
    transition_error,
)
from tests.support.codebook import make_batch

GRID, PATCH = (2, 4), 4


def pair(seed: int = 0) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Features and small pictures of a present and a next frame, three transitions."""
    generator = torch.Generator().manual_seed(seed)
    frames = [
        (
            torch.randn(3, 5, *GRID, generator=generator),
            torch.rand(3, 3, GRID[0] * PATCH, GRID[1] * PATCH, generator=generator) * 2 - 1,
        )
        for _ in range(2)
    ]
    return frames[0], frames[1]


def share(prediction, first, second, *, weights=None, features: float = 0.5, pixels: float = 0.5):
    return copy_share(
        Prediction(*prediction, None), first, second, weights=weights, features_weight=features, pixels_weight=pixels
    )


def test_copying_has_share_1_and_a_perfect_prediction_0():
    first, second = pair()
    loss, each, copied = share(first, first, second)
    assert loss.item() == pytest.approx(1.0)
    torch.testing.assert_close(each, copied)
    assert copied.mean().item() == pytest.approx(1.0)
    loss, each, _ = share(second, first, second)
    assert loss.item() == 0.0 and not each.any()


def test_an_error_twice_that_of_copying_has_share_4_as_errors_are_squared():
    first, second = pair()
    twice = tuple(b + 2 * (a - b) for a, b in zip(first, second))
    assert share(twice, first, second)[0].item() == pytest.approx(4.0)


@pytest.mark.parametrize(("features", "pixels", "expected"), [(1.0, 0.0, 0.0), (0.0, 1.0, 1.0), (0.75, 0.25, 0.25)])
def test_the_two_targets_count_by_their_weights_whatever_their_units(features: float, pixels: float, expected: float):
    first, second = pair()
    perfect_features = (second[0], first[1])
    loss_share = share(perfect_features, first, second, features=features, pixels=pixels)[0]
    assert loss_share.item() == pytest.approx(expected)
    scaled = [(f * 100, p) for f, p in (perfect_features, first, second)]
    assert share(*scaled, features=features, pixels=pixels)[0].item() == pytest.approx(expected)


def test_the_error_of_a_constant_offset_is_its_square_at_every_scale():
    features, pixels = torch.zeros(1, 5, *GRID), torch.zeros(1, 3, GRID[0] * PATCH, GRID[1] * PATCH)
    error = transition_error(features + 0.5, pixels + 0.2, features, pixels, None)
    assert error.features.item() == pytest.approx(0.25)
    assert error.pixels.item() == pytest.approx(0.04)


def test_a_pattern_finer_than_a_scale_vanishes_from_it():
    """+1 and -1 in turns: 1 at full size, 0 once two neighbours are averaged, so a third over the three scales."""
    features, pixels = torch.zeros(1, 5, *GRID), torch.zeros(1, 3, GRID[0] * PATCH, GRID[1] * PATCH)
    stripes = torch.ones_like(pixels)
    stripes[..., ::2] = -1
    assert transition_error(features, stripes, features, pixels, None).pixels.item() == pytest.approx(1 / 3)


def test_patches_that_agents_cover_weigh_more():
    """An error in one patch of eight: an eighth unweighted; with weight 8 there and 1 elsewhere, 8 of 15."""
    features, pixels = torch.zeros(1, 5, *GRID), torch.zeros(1, 3, GRID[0] * PATCH, GRID[1] * PATCH)
    wrong_features, wrong_pixels = features.clone(), pixels.clone()
    wrong_features[..., 1, 2] = 1
    wrong_pixels[..., PATCH : 2 * PATCH, 2 * PATCH : 3 * PATCH] = 1
    weights = torch.ones(1, *GRID)
    plain = transition_error(wrong_features, wrong_pixels, features, pixels, None)
    even = transition_error(wrong_features, wrong_pixels, features, pixels, weights)
    assert plain.features.item() == pytest.approx(1 / 8) == even.features.item()
    assert plain.pixels.item() == pytest.approx(1 / 8) == even.pixels.item()
    weights[0, 1, 2] = 8
    weighted = transition_error(wrong_features, wrong_pixels, features, pixels, weights)
    assert weighted.features.item() == pytest.approx(8 / 15) == weighted.pixels.item()


def test_a_still_scene_gives_a_finite_loss():
    first, _ = pair()
    assert share((first[0] + 1, first[1]), first, first)[0].isfinite()


def test_reading_is_the_mean_cross_entropy_in_nats_a_slot():
    logits = torch.zeros(2, 3, 4, 16)
    codes = torch.randint(0, 16, (2, 3, 4))
    assert reading(logits, codes).item() == pytest.approx(math.log(16))
    logits[0, 0, 0, codes[0, 0, 0]] = 100  # one of 24 slots is certain
    assert reading(logits, codes).item() == pytest.approx(math.log(16) * 23 / 24, abs=1e-5)


def test_motion_regression_is_the_mean_absolute_error_of_the_clips_whose_motion_is_known():
    predicted, motion = torch.zeros(2, 1, 3), torch.tensor([[[1.0, -2.0, 3.0]], [[100.0, 100.0, 100.0]]])
    assert motion_regression(predicted, motion, torch.tensor([1.0, 0.0])).item() == pytest.approx(2.0)
    assert motion_regression(predicted, motion, torch.tensor([0.0, 0.0])).item() == 0.0


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_of_clips_holds_in_every_stretch_of_the_list(share: float):
    chosen = in_share(torch.arange(1200), share)
    assert chosen.double().mean() == pytest.approx(share, abs=0.005)
    for begin in range(0, 1200, 100):  # a sorted list has all highways in one stretch
        assert chosen[begin : begin + 100].double().mean() == pytest.approx(share, abs=0.03)
    assert in_share(torch.arange(1200), 1.0).all() and not in_share(torch.arange(1200), 0.0).any()


def test_the_weight_of_moving_patches_is_1_plus_the_share_that_agents_cover():
    batch = make_batch(clips=2, transitions=1, moving=True)
    moving = torch.zeros(2, 1, 4, 8)
    moving[0, 0, 1, 2] = 0.5
    weights = moving_weights(replace(batch, moving=moving), 10.0, (4, 8))
    assert weights[0, 1, 2] == 6.0 and weights.sum() == 64 + 5
    assert moving_weights(replace(batch, moving=moving), 10.0, (2, 4))[0, 0, 1] == 1 + 10 * 0.5 / 4
    assert moving_weights(batch, 0.0, (4, 8)) is None
    assert moving_weights(replace(batch, moving=None), 10.0, (4, 8)) is None
