"""Tiny codebooks, and clips of a camera that passes a wall: motion is known, and the next frame is the
present one, shifted.
"""

import torch
import torch.nn.functional as F

from latentdrive.backbones import PixelFeatures
from latentdrive.codebook.losses import CodebookLoss
from latentdrive.codebook.model import Codebook
from latentdrive.codebook.phase_outputs import run_phase
from latentdrive.data.batches.transitions import TransitionBatch

HEIGHT, WIDTH, STRIDE = 32, 64, 8
GRID = (HEIGHT // STRIDE, WIDTH // STRIDE)
METRES_PER_PIXEL = 0.5
SIZES = {
    "height": HEIGHT,
    "width_px": WIDTH,
    "transition_s": 0.5,
    "transitions": 3,
    "codes": 4,
    "code_width": 8,
    "environment_slots": 2,
    "environment_sectors": True,
    "ego_slots": 2,
    "environment_source": "reader",
    "forward_dynamics": "warp",
    "width": 32,
    "layers": 1,
    "heads": 2,
    "pool": 2,
    "reach": 2,
    "patch_pixels": 4,
    "flow_cells": 2,
    "commitment": 0.25,
    "decay": 0.9,
    "dead_below": 0.1,
    "motion_scale": (5.0, 1.0, 0.2, 10.0),
    "regress_motion": False,
}


def make_model(*, seed: int = 0, **changed) -> Codebook:
    """A codebook of a few thousand weights, in training mode."""
    torch.manual_seed(seed)
    features = changed.pop("features", None) or PixelFeatures(channels=8, stride=STRIDE)
    return Codebook(features=features, **SIZES | changed)


def wake(model: Codebook, *, seed: int = 0) -> Codebook:
    """Give every zero-initialised output some weight, so that inputs show at the outputs."""
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        if weight.requires_grad and not weight.any():
            weight.data += 0.05 * torch.randn(weight.shape, generator=generator)
    return model


def passing(shifts: torch.Tensor, *, seed: int = 0) -> torch.Tensor:
    """Frames uint8 [B, T+1, 3, H, W] of walls passed by `shifts` [B, T] pixels each transition."""
    generator = torch.Generator().manual_seed(seed)
    length = WIDTH + int(shifts.sum(1).max()) + 1
    coarse = torch.rand(len(shifts), 3, HEIGHT // 4, length // 4 + 2, generator=generator)
    walls = (F.interpolate(coarse, (HEIGHT, length), mode="bicubic").clamp(0, 1) * 255).to(torch.uint8)
    places = F.pad(shifts.cumsum(1), (1, 0)).long()
    return torch.stack([torch.stack([wall[:, :, p : p + WIDTH] for p in row]) for wall, row in zip(walls, places)])


def make_batch(
    *, clips: int = 4, transitions: int = 2, seed: int = 0, known: bool = True, moving: bool = False
) -> TransitionBatch:
    """Windows of as many clips, each with a speed of its own."""
    generator = torch.Generator().manual_seed(seed)
    shifts = torch.randint(0, 13, (clips, transitions), generator=generator)
    motion = torch.zeros(clips, transitions, 4)
    motion[..., 0] = METRES_PER_PIXEL * shifts
    motion[..., 3] = 2 * motion[..., 0]
    return TransitionBatch(
        frames=passing(shifts, seed=seed),
        features=None,
        motion=motion if known else torch.zeros_like(motion),
        motion_known=torch.full((clips,), known),
        moving=torch.rand(clips, transitions, *GRID, generator=generator) if moving else None,
        clip=torch.arange(clips),
        start=torch.zeros(clips, dtype=torch.long),
    )


def phase_loss(
    model: Codebook, batch: TransitionBatch, phase: str, loss: CodebookLoss, *, quantised: bool = True
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loss of one phase on one batch, and its parts for the log, as in a training step."""
    return loss(run_phase(model, batch, phase, quantised=quantised))


def settle(model: Codebook, *, seed: int = 0) -> Codebook:
    """Run every book and every running statistic on a batch once, as training does, then switch to evaluation."""
    batch = make_batch(clips=16, seed=seed)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # one pass stands for the many that training takes
    with torch.no_grad():
        model.train()
        seen = model.observe(batch.frames)
        if model.environment_slots:
            model.encode_environment(seen, batch.motion)
            environment = model.read_environment(seen.__class__(*seen))
            model.encode_ego(seen, environment.vectors)
        else:
            model.encode_ego(seen, None)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    return model.eval()
