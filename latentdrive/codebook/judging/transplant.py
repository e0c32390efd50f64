"""Transplants: does an ego code of clip A, applied to a frame of clip B, move that frame as A moved?

A small motion reader says how the ego moved between two feature maps. It is trained on true pairs of frames,
never on predictions. If the meaning of a code depended on its clip, its readings would follow B, or neither.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor, nn

from latentdrive.codebook.judging.evaluation import other_clip, usable
from latentdrive.codebook.judging.probe import EGO_TARGETS, r2
from latentdrive.codebook.model import Codebook
from latentdrive.data.batches.transitions import TransitionBatch

READER_WIDTH, READER_RATE, READER_DECAY = 64, 2e-3, 1e-2
COLUMNS = list(EGO_TARGETS.values())


class MotionReader(nn.Module):
    """Features of two frames → forward displacement and yaw change. mean, std: of both over the training pairs."""

    def __init__(self, *, channels: int, grid: tuple[int, int]) -> None:
        super().__init__()
        width = READER_WIDTH
        cells = -(-grid[0] // 4) * -(-grid[1] // 4)
        self.layers = nn.Sequential(
            nn.Conv2d(2 * channels, width, 3, 2, 1),
            nn.GELU(),
            nn.Conv2d(width, width, 3, 2, 1),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(width * cells, 128),
            nn.GELU(),
            nn.Linear(128, len(COLUMNS)),
        )
        self.register_buffer("mean", torch.zeros(len(COLUMNS)))
        self.register_buffer("std", torch.ones(len(COLUMNS)))

    def forward(self, first: Float[Tensor, "N C h w"], second: Float[Tensor, "N C h w"]) -> Float[Tensor, "N 2"]:
        """Metres forward and radians to the left."""
        return self.layers(torch.cat([first, second - first], 1)) * self.std + self.mean


def train_reader(model: Codebook, batches: Iterable[TransitionBatch], *, steps: int, seed: int) -> MotionReader:
    """Fit a motion reader on the true pairs of frames in training windows. Draws from a generator of its own.

    batches: at least `steps` of them; if there are no more, they are iterated to their end.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        reader = MotionReader(channels=model.features.channels, grid=model.grid)
    optimizer = torch.optim.AdamW(reader.parameters(), READER_RATE, weight_decay=READER_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for batch, step in zip(batches, range(steps)):
        with torch.no_grad():
            seen = model.observe(batch.frames, batch.features)
        first, second = seen.features[:, :-1].flatten(0, 1), seen.features[:, 1:].flatten(0, 1)
        motion = batch.motion.flatten(0, 1)[:, COLUMNS]
        if step == 0:
            reader.mean.copy_(motion.mean(0))
            reader.std.copy_(motion.std(0).clamp_min(1e-6))
        loss = F.smooth_l1_loss((reader(first, second) - motion) / reader.std, torch.zeros_like(motion))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return reader.eval()


@dataclass(frozen=True, kw_only=True)
class Transplant:
    """Readings and motions of N transplants: metres forward and radians to the left.

    true: reading of B's own next frame. own: of the prediction with B's code. moved: of the prediction
    with A's code. motion_a, motion_b: the recorded motion of A and B.
    """

    true: Float64[np.ndarray, "N 2"]
    own: Float64[np.ndarray, "N 2"]
    moved: Float64[np.ndarray, "N 2"]
    motion_a: Float64[np.ndarray, "N 2"]
    motion_b: Float64[np.ndarray, "N 2"]

    def summary(self) -> dict[str, float]:
        """Numbers of each target.

        reader_r2, own_r2: R² of the reader on true pairs (the highest value to expect) and on
        predictions with own codes. correlation_with_code, correlation_with_frame: of a transplant's
        reading with the motion of A and of B.
        """
        numbers = {}
        for column, name in enumerate(EGO_TARGETS):
            a, b, moved = self.motion_a[:, column], self.motion_b[:, column], self.moved[:, column]
            numbers[f"transplant/{name}/reader_r2"] = r2(self.true[:, column], b)
            numbers[f"transplant/{name}/own_r2"] = r2(self.own[:, column], b)
            numbers[f"transplant/{name}/correlation_with_code"] = float(np.corrcoef(moved, a)[0, 1])
            numbers[f"transplant/{name}/correlation_with_frame"] = float(np.corrcoef(moved, b)[0, 1])
        return numbers


@torch.no_grad()
def transplant(model: Codebook, reader: MotionReader, batches: Iterable[TransitionBatch]) -> Transplant:
    """Apply every window's ego code to a window of another clip in its batch, and read how the prediction moves."""
    model.eval()
    parts: dict[str, list[Tensor]] = {name: [] for name in ("true", "own", "moved", "motion_a", "motion_b")}
    for batch in (usable(model, batch) for batch in batches):
        if not len(batch):
            continue
        seen = model.observe(batch.frames, batch.features)
        environment = None
        if model.environment_slots:
            environment = model.environment_book.look_up(model.environment_codes(seen, batch.motion))
        ego, other = model.encode_ego(seen, environment).vectors, other_clip(batch.clip)
        first = seen.features[:, :-1].flatten(0, 1)
        readings = {
            "true": seen.features[:, 1:].flatten(0, 1),
            "own": model.predict_from_codes(seen, environment, ego).features,
            "moved": model.predict_from_codes(seen, environment, ego[other]).features,
        }
        for name, second in readings.items():
            parts[name].append(reader(first.float(), second.float()))
        parts["motion_b"].append(batch.motion.flatten(0, 1)[:, COLUMNS])
        parts["motion_a"].append(batch.motion[other].flatten(0, 1)[:, COLUMNS])
    return Transplant(**{name: torch.cat(values).double().cpu().numpy() for name, values in parts.items()})
