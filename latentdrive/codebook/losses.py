"""What the codebook minimises: the prediction's error as a share of the error of copying the present frame.

Errors are squared, of features and of pixels at three scales: on a sharp picture alone a flow finds no
distant match. Patches that agents cover may weigh more.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from latentdrive.codebook.forward_dynamics import Prediction
from latentdrive.codebook.phase_outputs import PhaseOutput
from latentdrive.data.batches.transitions import TransitionBatch

SCALES = 3
GOLDEN_SECTION = (math.sqrt(5) - 1) / 2


class TransitionError(NamedTuple):
    """Mean squared error of each transition, in features and in pixels (mean over scales)."""

    features: Float[Tensor, "N"]
    pixels: Float[Tensor, "N"]


class PhaseLoss(NamedTuple):
    """total: what is minimised. parts: name → unweighted part or measure, for the log."""

    total: Float[Tensor, ""]
    parts: dict[str, Float[Tensor, ""]]


@dataclass(frozen=True, kw_only=True)
class CodebookLoss:
    """The loss of every phase.

    features, pixels: shares of the two targets. moving: extra weight of patches that agents cover,
    while environment codes are learned; ego codes describe the whole picture. regression: weight of the
    ego-motion head's error on a share of the clips, `regression_share`.
    """

    features: float
    pixels: float
    moving: float
    regression: float
    regression_share: float

    def __call__(self, output: PhaseOutput) -> PhaseLoss:
        """The loss of a phase's output; 0 where the phase could use no window of the batch."""
        if output.seen is None:
            return PhaseLoss(torch.zeros((), device=output.batch.clip.device, requires_grad=True), {})
        if output.read is not None:
            loss = reading(output.read.logits, output.target)
            agreement = (output.read.codes == output.target).float().mean()
            return PhaseLoss(loss, {"reader/cross_entropy": loss.detach(), "reader/agreement": agreement})
        name, total = output.phase, self._share_of_copy(output, output.prediction)
        parts = {f"{name}/share_of_copy": total.detach()}
        if output.code is not None:
            total = total + output.commitment_weight * output.code.commitment
            parts[f"{name}/commitment"] = output.code.commitment.detach()
        if output.relearned is not None:
            total = total + output.relearned
        if output.motion is not None:
            known = output.batch.motion_known & in_share(output.batch.clip, self.regression_share)
            regression = motion_regression(output.motion, output.true_motion, known.float())
            total = total + self.regression * regression
            parts[f"{name}/regression"] = regression.detach()
        if output.shuffled is not None:
            parts[f"{name}/share_shuffled"] = self._share_of_copy(output, output.shuffled)
        return PhaseLoss(total, parts)

    def _share_of_copy(self, output: PhaseOutput, prediction: Prediction) -> Float[Tensor, ""]:
        # Targets carry no gradient: trained features would make themselves easy to predict.
        features, pixels = output.seen.features.detach(), output.seen.pixels
        moving = self.moving if output.phase == "environment" else 0.0
        loss, _, _ = copy_share(
            prediction,
            (features[:, :-1].flatten(0, 1), pixels[:, :-1].flatten(0, 1)),
            (features[:, 1:].flatten(0, 1), pixels[:, 1:].flatten(0, 1)),
            weights=moving_weights(output.batch, moving, tuple(features.shape[-2:])),
            features_weight=self.features,
            pixels_weight=self.pixels,
        )
        return loss


def transition_error(
    features: Float[Tensor, "N C h w"],
    pixels: Float[Tensor, "N 3 H W"],
    true_features: Float[Tensor, "N C h w"],
    true_pixels: Float[Tensor, "N 3 H W"],
    weights: Float[Tensor, "N h w"] | None,
) -> TransitionError:
    """Error of predicted (or copied) next frames. weights: of each patch, of any scale; None for equal weights."""
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
    """The loss; and for each transition its error and that of copying, both kinds weighted and summed.

    first, second: features and small pictures of the present and the next frame. The loss is the
    weighted mean over features and pixels of (the batch's error / the batch's copy error): 1 for
    copying, 0 for a perfect prediction.
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
    """Mean absolute error of the ego's scaled motion over the windows where it is known (DynVLA's regulariser)."""
    error = (predicted - motion).abs().mean((1, 2))
    return (error * known).sum() / known.sum().clamp_min(1)


def in_share(clip: Int64[Tensor, "B"], share: float) -> Bool[Tensor, "B"]:
    """A fixed choice of this share of the clips, by their number.

    Multiples of the golden section lie evenly over any stretch of a list, so that every type of road in
    a sorted list is chosen as often.
    """
    return clip.double() * GOLDEN_SECTION % 1 < share


def moving_weights(batch: TransitionBatch, moving: float, grid: tuple[int, int]) -> Float[Tensor, "N h w"] | None:
    """1 + moving x (share of the patch that agents cover), over all transitions; None without truth or weight."""
    if batch.moving is None or not moving:
        return None
    return 1 + moving * F.interpolate(batch.moving.flatten(0, 1)[:, None], grid, mode="area")[:, 0]
