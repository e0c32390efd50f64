"""A toy teacher and its latent actions for the teacher's tests."""

import torch

from latentdrive.data.batches.scene_cutting import SceneSpec
from latentdrive.teacher import tiny
from latentdrive.teacher.model import Teacher
from latentdrive.types import LatentActions, Origin

SHAPE = {
    "rows": 192,
    "width": 32,
    "layers": 2,
    "heads": 2,
    "key_value_heads": 1,
    "feed_forward": 64,
    "vision_width": 16,
    "vision_layers": 2,
    "vision_heads": 2,
    "vision_feed_forward": 32,
    "patch": 8,
    "merge": 2,
    "spread": 0.1,
}
NOW = SceneSpec(history_frames=0, history_step_s=0.5, ego_frames=4, ego_hz=2.0)
PIXELS = {"min_pixels": 1024, "max_pixels": 32 * 64}


def make_teacher(folder, **changes) -> Teacher:
    parts = tiny.load_tiny_qwen(folder=str(folder), shape=SHAPE, seed=0, **PIXELS)
    arguments = {
        "parts": parts,
        "codes": 16,
        "transitions": 3,
        "codes_per_transition": 4,
        "scene": NOW,
        "images": "camera",
        "state": True,
        "decode": "autoregressive",
        "visual_grid": (1, 2),
        "frozen": [],
        "seed": 0,
    }
    return Teacher(**arguments | changes).eval()


def make_codes(count: int, *, seed: int = 0, slots: int = 12, codes: int = 16) -> torch.Tensor:
    return torch.randint(0, codes, (count, slots), generator=torch.Generator().manual_seed(seed))


def as_latents(codes: torch.Tensor) -> LatentActions:
    return LatentActions(
        codes=codes, environment=None, logits=None, features=None, codebook_id="b", origin=Origin.INVERSE_DYNAMICS
    )
