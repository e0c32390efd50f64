"""What the codebook minimises: the prediction's error as a share of the error of copying the present frame.

Squared error, of pixels at three scales (a flow finds a distant match only on a blurred picture); patches that agents cover
may weigh more. Every function returns tensors, none knows the model.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from latentdrive.codebook.forward_dynamics import Prediction

SCALES = 3


class TransitionError(NamedTuple):
    """Mean squared error of each transition, in features and in pixels (mean over scales)."""

    features: Float[Tensor, "N"]
    pixels: Float[Tensor, "N"]


def transition_error(
    features: Float[Tensor, "N C h w"],
    pixels: Float[Tensor, "N 3 H W"],
    true_features: Float[Tensor, "N C h w"],
    true_pixels: Float[Tensor, "N 3 H W"],
    weights: Float[Tensor, "N h w"] | None,
) -> TransitionError:
    """Error of predicted (or copied) next frames. weights: of each patch, mean 1 over a frame not needed; None: all equal."""
    by_patch = (features.float() - true_features).square().mean(1)
    scales = []
    for _ in range(SCALES):
        scales.append(_weighted((pixels.float() - true_pixels).square().mean(1), weights))
        pixels, true_pixels = F.avg_pool2d(pixels, 2), F.avg_pool2d(true_pixels, 2)
    return TransitionError(_weighted(by_patch, weights), torch.stack(scales).mean(0))


def _weighted(error: Float[Tensor, "N H W"], weights: Float[Tensor, "N h w"] | None) -> Float[Tensor, "N"]:
    if weights is None:
        return error.mean((1, 2))
    if weights.shape[-2:] != error.shape[-2:]:
        weights = F.interpolate(weights[:, None], error.shape[-2:], mode="area")[:, 0]
    return (error * weights).sum((1, 2)) / weights.sum((1, 2))


def copy_share(
    prediction: Prediction,
    first: tuple[Float[Tensor, "N C h w"], Float[Tensor, "N 3 H W"]],
    second: tuple[Float[Tensor, "N C h w"], Float[Tensor, "N 3 H W"]],
    *,
    weights: Float[Tensor, "N h w"] | None,
    features_weight: float,
    pixels_weight: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, "N"], Float[Tensor, "N"]]:
    """Loss, and for each transition the error and that of copying, both kinds weighted and summed.

    The loss is the weighted mean over the two kinds of (batch error / batch copy error): 1 for copying, 0 for perfect.
    """
    error = transition_error(prediction.features, prediction.pixels, *second, weights)
    copied = transition_error(*first, *second, weights)
    total = features_weight + pixels_weight
    scale = [w / total / c.mean().clamp_min(1e-6) for w, c in zip((features_weight, pixels_weight), copied)]
    loss = sum(e.mean() * s for e, s in zip(error, scale))
    each = sum(e * s for e, s in zip(error, scale))
    each_copy = sum(c * s for c, s in zip(copied, scale))
    return loss, each, each_copy


def reading(logits: Float[Tensor, "B T E K"], codes: Int64[Tensor, "B T E"]) -> Float[Tensor, ""]:
    """Cross-entropy of the environment reader against the frozen encoder's codes, in nats a slot."""
    return F.cross_entropy(logits.flatten(0, 2), codes.flatten())


def motion_regression(
    predicted: Float[Tensor, "B T 3"], motion: Float[Tensor, "B T 3"], known: Float[Tensor, "B"]
) -> Float[Tensor, ""]:
    """Mean absolute error of the ego's scaled motion, over the clips where it is known (DynVLA's regulariser)."""
    error = (predicted - motion).abs().mean((1, 2))
    return (error * known).sum() / known.sum().clamp_min(1)
