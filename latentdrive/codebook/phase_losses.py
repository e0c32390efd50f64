"""What each phase of training a codebook minimises: a share of the error of copying, and what binds vectors to codes."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from latentdrive.codebook import losses
from latentdrive.codebook.forward_dynamics import Prediction
from latentdrive.codebook.judging.health import CodeUsage
from latentdrive.codebook.model import Codebook, Observation
from latentdrive.codebook.phases import enter
from latentdrive.data.batches.transitions import TransitionBatch, with_motion
from latentdrive.errors import ConfigError

GOLDEN_SECTION = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, kw_only=True)
class CodebookLossWeights:
    """features, pixels: shares of the two targets. moving: extra weight of patches that agents cover, while the
    environment codes are learned.

    regression: weight of the ego-motion head, on this share of the clips (`regression_share`).
    """

    features: float
    pixels: float
    moving: float
    regression: float
    regression_share: float


def phase_loss(
    model: Codebook,
    batch: TransitionBatch,
    phase: str,
    weights: CodebookLossWeights,
    *,
    quantised: bool,
    usage: CodeUsage | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of one phase and what to log of it (`usage` collects the codes seen). quantised: see PhaseSchedule.open_share.

    Raises ConfigError where one of several devices has too few windows with poses: all of them make a book, or none does.
    """
    if model.training:
        enter(model, phase)
    if phase != "ego" or model.environment_source == "encoder":
        batch = with_motion(batch)
        if len(batch) < (2 if model.training else 1):  # one row has no statistics
            if model.training and torch.distributed.is_available() and torch.distributed.is_initialized():
                raise ConfigError(
                    f"a device has {len(batch)} windows with poses in its batch, and needs 2: raise batches.batch_size, "
                    "add clips with poses, or train on one device (trainer.devices=1)"
                )
            return torch.zeros((), device=batch.clip.device, requires_grad=True), {}
    seen = model.observe(batch.frames, batch.features)
    if phase == "reader":
        with torch.no_grad():
            target = model.encode_environment(seen, batch.motion).codes
        read = model.read_environment(seen)
        loss = losses.reading(read.logits, target)
        return loss, {"reader/cross_entropy": loss.detach(), "reader/agreement": (read.codes == target).float().mean()}
    # Ego codes are for the whole picture; only what describes the environment looks closer at what moves in it.
    patch_weights = moving_weights(batch, weights.moving if phase == "environment" else 0.0, model.grid)
    share = Share(seen, patch_weights, weights)
    if phase == "motion":
        loss, _ = share(model.predict_from_motion(seen, batch.motion, None))
        return loss, {"motion/share_of_copy": loss.detach()}
    if phase == "environment":
        code = model.encode_environment(seen, batch.motion, quantised=quantised)
        loss, _ = share(model.predict_from_motion(seen, batch.motion, code.vectors))
        total = loss + model.environment_book.commitment * code.commitment
        logged = {"environment/share_of_copy": loss.detach(), "environment/commitment": code.commitment.detach()}
        if usage is not None:
            usage.add("environment", code.codes)
            shuffled = code.vectors.roll(1, 0)
            logged["environment/share_shuffled"], _ = share(model.predict_from_motion(seen, batch.motion, shuffled))
        return total, logged
    return _ego_loss(model, batch, seen, share, weights, quantised, usage)


def _ego_loss(
    model: Codebook,
    batch: TransitionBatch,
    seen: Observation,
    share: "Share",
    weights: CodebookLossWeights,
    quantised: bool,
    usage: CodeUsage | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    environment, relearned = None, seen.features.new_zeros(())
    if model.environment_slots:
        if model.environment_source == "relearned":
            read = model.read_environment(seen)
            environment, relearned = read.vectors, model.environment_book.commitment * read.commitment
        else:
            environment = model.environment_book.look_up(model.environment_codes(seen, batch.motion))
    code = model.encode_ego(seen, environment, quantised=quantised)
    loss, _ = share(model.predict_from_codes(seen, environment, code.vectors))
    total = loss + model.ego_book.commitment * code.commitment + relearned
    logged = {"ego/share_of_copy": loss.detach(), "ego/commitment": code.commitment.detach()}
    if model.motion_head is not None:
        known = batch.motion_known & in_share(batch.clip, weights.regression_share)
        scaled = (batch.motion / model.motion_scale)[..., :3]
        regression = losses.motion_regression(model.motion_head(code.vectors.flatten(2)), scaled, known.float())
        total = total + weights.regression * regression
        logged["ego/regression"] = regression.detach()
    if usage is not None:
        usage.add("ego", code.codes)
        logged["ego/share_shuffled"], _ = share(model.predict_from_codes(seen, environment, code.vectors.roll(1, 0)))
    return total, logged


def in_share(clip: Int64[Tensor, "B"], share: float) -> Bool[Tensor, "B"]:
    """A fixed choice of this share of the clips. Multiples of the golden section are spread evenly over any stretch of a list,
    so every type of road in a sorted list is chosen as often."""
    return clip.double() * GOLDEN_SECTION % 1 < share


class Share:
    """Error of a prediction of every transition in a window, as a share of the error of copying."""

    def __init__(
        self, seen: Observation, patch_weights: Float[Tensor, "N h w"] | None, weights: CodebookLossWeights
    ) -> None:
        # Targets carry no gradient: trained features would make themselves easy to predict.
        features, pixels = seen.features.detach(), seen.pixels
        self.first = (features[:, :-1].flatten(0, 1), pixels[:, :-1].flatten(0, 1))
        self.second = (features[:, 1:].flatten(0, 1), pixels[:, 1:].flatten(0, 1))
        self.patch_weights, self.weights = patch_weights, weights

    def __call__(self, prediction: Prediction) -> tuple[Float[Tensor, ""], Float[Tensor, "N 2"]]:
        """The loss, and error and copy error of each transition."""
        loss, each, copied = losses.copy_share(
            prediction, self.first, self.second, weights=self.patch_weights,
            features_weight=self.weights.features, pixels_weight=self.weights.pixels,
        )  # fmt: skip
        return loss, torch.stack([each, copied], -1)


def moving_weights(batch: TransitionBatch, moving: float, grid: tuple[int, int]) -> Float[Tensor, "N h w"] | None:
    """1 + moving x (share of the patch that agents cover), over all transitions; None without truth or weight."""
    if batch.moving is None or not moving:
        return None
    return 1 + moving * F.interpolate(batch.moving.flatten(0, 1)[:, None], grid, mode="area")[:, 0]
