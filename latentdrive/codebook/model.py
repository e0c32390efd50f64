"""The codebook: from frames to environment codes and ego codes, and from codes to the next frame.

LatentVLA's two stages (arXiv:2601.05611), completed where the paper is silent:
1. Environment: inverse dynamics sees both frames *and the ego's motion*, and forward dynamics gets the same
   motion, so that a code only has to say what the environment did. Then book and encoder are frozen.
   A reader learns to give the same environment codes from the frames alone.
2. Ego: inverse dynamics sees both frames and the reader's environment codes, but never motion: its codes
   must carry the ego's motion.
With `environment_slots: 0` there is only the second stage (LAPO, arXiv:2312.10812).
"""

from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from latentdrive.backbones import FrameFeatures
from latentdrive.checkpoint_parts import SpeaksCodes, checkpoint_part
from latentdrive.codebook.forward_dynamics import PlainForwardDynamics, Prediction, WarpForwardDynamics
from latentdrive.codebook.inverse_dynamics import InverseDynamics
from latentdrive.codebook.quantizer import Quantized, Quantizer
from latentdrive.errors import ConfigError, WrongShape
from latentdrive.types import LatentActions, LatentFeatures, Origin

MOTION = 4  # dx, dy, dyaw over the transition, speed at its start


class Observation(NamedTuple):
    """Frames as the networks see them. pictures: of full size, in [-1, 1]. pixels: the small pictures to predict."""

    features: Float[Tensor, "B F C h w"]
    pictures: Float[Tensor, "B F 3 H W"]
    pixels: Float[Tensor, "B F 3 ph pw"]

    @property
    def transitions(self) -> int:
        """Number of transitions between neighbouring frames."""
        return self.features.shape[1] - 1


@checkpoint_part
class Codebook(SpeaksCodes, nn.Module):
    """Both stages of the codebook, for frames of one size and one transition length.

    height, width_px: frame size in pixels. transition_s: seconds between neighbouring frames.
    transitions: of a label. codes: entries of each book. environment_slots, ego_slots: codes a
    transition. environment_sectors: one environment code for each vertical sector of the picture.
    environment_source: gives the environment codes of stage 2 and of labels: the `reader` (frames
    only), the frozen `encoder` (needs motion), or a reader `relearned` in stage 2, as in UniVLA. reach:
    how far inverse dynamics looks for a patch's new place, in patches each way. patch_pixels: side of a
    patch in the small picture that forward dynamics predicts. motion_scale: metres, metres, radians and
    metres a second that count as 1. regress_motion: adds a head that reads the ego's motion from the
    ego codes.
    """

    def __init__(
        self,
        *,
        features: FrameFeatures,
        forward_dynamics: Literal["warp", "plain"],
        height: int,
        width_px: int,
        transition_s: float,
        transitions: int,
        codes: int,
        code_width: int,
        environment_slots: int,
        environment_sectors: bool,
        ego_slots: int,
        environment_source: Literal["reader", "encoder", "relearned"],
        width: int,
        layers: int,
        heads: int,
        pool: int,
        reach: int,
        patch_pixels: int,
        flow_cells: int,
        commitment: float,
        decay: float,
        dead_below: float,
        motion_scale: tuple[float, float, float, float],
        regress_motion: bool,
    ) -> None:
        super().__init__()
        if height % (features.stride * pool) or width_px % (features.stride * pool):
            raise ConfigError(
                f"model.height x width_px ({height} x {width_px}) must be multiples of {features.stride * pool}: the "
                f"features' stride ({features.stride}) times model.pool ({pool})"
            )
        self.features, self.environment_source = features, environment_source
        self.height, self.width_px, self.transition_s, self.transitions = height, width_px, transition_s, transitions
        self.codes, self.code_width, self.codes_per_transition = codes, code_width, ego_slots
        self.environment_slots, self.patch_pixels = environment_slots, patch_pixels
        self.grid = (height // features.stride, width_px // features.stride)
        self.register_buffer("motion_scale", torch.tensor(motion_scale), persistent=False)
        trunk = {"grid": self.grid, "pool": pool, "width": width, "layers": layers, "heads": heads}
        inverse = trunk | {"stride": features.stride, "reach": reach}
        forward = trunk | {"sectors": environment_slots if environment_sectors else 0}
        kind = PlainForwardDynamics
        if forward_dynamics == "warp":
            kind, forward = WarpForwardDynamics, forward | {"flow_cells": flow_cells}
        book = {"commitment": commitment, "decay": decay, "dead_below": dead_below}
        if environment_slots:
            self.motion = nn.Sequential(nn.Linear(MOTION, width), nn.GELU(), nn.Linear(width, code_width))
            slots = {"slots": environment_slots, "sectors": environment_sectors}
            self.environment_inverse = self._inverse(**slots, pictures=3, context_width=code_width, **inverse)
            self.environment_book = Quantizer(codes=codes, width=code_width, **book)
            self.environment_forward = self._forward(kind, conditions=environment_slots + 1, **forward)
            self.reader = self._inverse(**slots, pictures=2, context_width=0, **inverse)
        context_width = code_width if environment_slots else 0
        slots = {"slots": ego_slots, "sectors": False}
        self.ego_inverse = self._inverse(**slots, pictures=2, context_width=context_width, **inverse)
        self.ego_book = Quantizer(codes=codes, width=code_width, **book)
        self.ego_forward = self._forward(kind, conditions=environment_slots + ego_slots, **forward)
        self.motion_head = nn.Linear(ego_slots * code_width, MOTION - 1) if regress_motion else None

    def _inverse(self, **sizes: Any) -> InverseDynamics:
        return InverseDynamics(feature_channels=self.features.channels, code_width=self.code_width, **sizes)

    def _forward(self, kind: type[PlainForwardDynamics], **sizes: Any) -> PlainForwardDynamics:
        return kind(
            feature_channels=self.features.channels,
            condition_width=self.code_width,
            patch_pixels=self.patch_pixels,
            **sizes,
        )

    @property
    def books(self) -> dict[str, Quantizer]:
        """The books by the phase that learns them: `ego`, and `environment` in two-stage training."""
        if not self.environment_slots:
            return {"ego": self.ego_book}
        return {"environment": self.environment_book, "ego": self.ego_book}

    # ---- what the networks see ----

    def observe(
        self, frames: UInt8[Tensor, "B F 3 H W"], maps: Float[Tensor, "B F C h w"] | None = None
    ) -> Observation:
        """Features and pictures of a window of frames. maps: the backbone's features, where a cache holds them.

        Raises WrongShape for frames of another size.
        """
        if tuple(frames.shape[-2:]) != (self.height, self.width_px):
            raise WrongShape(
                f"the frames have {frames.shape[-2]} x {frames.shape[-1]} pixels, this codebook takes {self.height} x "
                f"{self.width_px}: set data.height and data.width"
            )
        flat = frames.flatten(0, 1)
        pictures = flat.float() / 127.5 - 1
        pixels = F.interpolate(
            pictures, (self.grid[0] * self.patch_pixels, self.grid[1] * self.patch_pixels), mode="area"
        )
        features = self.features(flat) if maps is None else self.features.standardise(maps.flatten(0, 1))
        lead = frames.shape[:2]
        return Observation(*(part.unflatten(0, lead) for part in (features, pictures, pixels)))

    def motion_token(self, motion: Float[Tensor, "B T 4"]) -> Float[Tensor, "B T 1 Dk"]:
        """The recorded motion as a condition token."""
        return self.motion(motion / self.motion_scale)[:, :, None]

    # ---- stage 1 ----

    def predict_from_motion(
        self, seen: Observation, motion: Float[Tensor, "B T 4"], environment: Float[Tensor, "B T E Dk"] | None
    ) -> Prediction:
        """Next frames from environment codes and motion, or from motion alone (None). Leading axis B·T."""
        token = self.motion_token(motion)
        if environment is None:
            environment = token.new_zeros(*token.shape[:2], self.environment_slots, self.code_width)
        return self._predict(self.environment_forward, seen, torch.cat([environment, token], 2))

    def encode_environment(
        self, seen: Observation, motion: Float[Tensor, "B T 4"], *, quantised: bool = True
    ) -> Quantized:
        """Environment codes of stage 1.

        The encoder compares the second frame with the prediction from motion alone: the difference is
        what the environment did. An encoder that compared it with the first frame alone coded the ego's
        motion.
        """
        lead = seen.pictures[:, 1:].shape[:2]
        with torch.no_grad():
            expected = self.predict_from_motion(seen, motion, None)
            picture = F.interpolate(
                expected.pixels.float(), (self.height, self.width_px), mode="bilinear", align_corners=False
            )
        pictures = torch.cat([picture.unflatten(0, lead), seen.pictures[:, 1:], seen.pictures[:, :-1]], 2)
        latents = self.environment_inverse(
            expected.features.unflatten(0, lead), seen.features[:, 1:], pictures, self.motion_token(motion)
        )
        return self.environment_book(latents, quantised=quantised)

    def read_environment(self, seen: Observation) -> Quantized:
        """Environment codes from the frames alone, in the frozen book of stage 1, which stands still here."""
        latents = self.reader(*_pair(seen.features), _stack(seen.pictures), None)
        training = self.environment_book.training
        self.environment_book.train(False)
        quantized = self.environment_book(latents)
        self.environment_book.train(training)
        return quantized

    # ---- stage 2 ----

    def environment_codes(self, seen: Observation, motion: Float[Tensor, "B T 4"] | None) -> Int64[Tensor, "B T E"]:
        """The environment codes of stage 2 and of labels, by `environment_source`; without gradient."""
        with torch.no_grad():
            if self.environment_source == "encoder":
                if motion is None:
                    raise ConfigError(
                        "model.environment_source=encoder needs the poses of every clip; use reader for clips without"
                    )
                return self.encode_environment(seen, motion).codes
            return self.read_environment(seen).codes

    def encode_ego(
        self, seen: Observation, environment: Float[Tensor, "B T E Dk"] | None, *, quantised: bool = True
    ) -> Quantized:
        """Ego codes from both frames and the environment codes, which get no gradient; never from motion."""
        context = None if environment is None else environment.detach()
        latents = self.ego_inverse(*_pair(seen.features), _stack(seen.pictures), context)
        return self.ego_book(latents, quantised=quantised)

    def predict_from_codes(
        self, seen: Observation, environment: Float[Tensor, "B T E Dk"] | None, ego: Float[Tensor, "B T A Dk"]
    ) -> Prediction:
        """Next frames from both kinds of codes. Leading axis B·T."""
        conditions = ego if environment is None else torch.cat([environment, ego], 2)
        return self._predict(self.ego_forward, seen, conditions)

    def _predict(self, network: nn.Module, seen: Observation, conditions: Float[Tensor, "B T n Dk"]) -> Prediction:
        return network(seen.features[:, :-1].flatten(0, 1), seen.pixels[:, :-1].flatten(0, 1), conditions.flatten(0, 1))

    # ---- using it ----

    @torch.no_grad()
    def encode(
        self,
        frames: UInt8[Tensor, "B F 3 H W"],
        motion: Float[Tensor, "B T 4"] | None,
        maps: Float[Tensor, "B F C h w"] | None = None,
    ) -> LatentActions:
        """Latent actions of windows of frames that start at t0; flattened, transition first, then code.

        maps: as in `observe`.
        """
        seen = self.observe(frames, maps)
        environment = vectors = None
        if self.environment_slots:
            environment = self.environment_codes(seen, motion)
            vectors = self.environment_book.look_up(environment)
        ego = self.encode_ego(seen, vectors)
        return LatentActions(
            codes=ego.codes.flatten(1),
            environment=None if environment is None else environment.flatten(1),
            logits=ego.logits.flatten(1, 2),
            features=LatentFeatures(
                visual=seen.features[:, 0].mean((-2, -1))[:, None],
                action=self.ego_book.look_up(ego.codes).flatten(1, 2),
            ),
            codebook_id=self.codebook_id,
            origin=Origin.INVERSE_DYNAMICS,
        )


def _pair(features: Float[Tensor, "B F C h w"]) -> tuple[Tensor, Tensor]:
    return features[:, :-1], features[:, 1:]


def _stack(pictures: Float[Tensor, "B F 3 H W"]) -> Float[Tensor, "B T 6 H W"]:
    return torch.cat([pictures[:, :-1], pictures[:, 1:]], 2)
