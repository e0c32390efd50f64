"""A small student, and a made-up teacher's latent actions."""

from pathlib import Path

import torch

from latentdrive import checkpoint
from latentdrive.build import build
from latentdrive.checkpoint import Card
from latentdrive.config import compose
from latentdrive.data.batches.scene_cutting import SceneSpec
from latentdrive.student.model import ImageEncoder, Student
from latentdrive.types import LatentActions, LatentFeatures, Origin

SHOWN = {"height": 48, "width": 80, "fit": "crop", "commands": True, "transition_s": 0.5}
NOW = SceneSpec(history_frames=0, history_step_s=0.5, ego_frames=4, ego_hz=2.0)


def make_student(**changes) -> Student:
    torch.manual_seed(0)
    images = ImageEncoder(backbone="test_convnext", stages=[2], stride=16, grid=(2, 4), weights="none")
    arguments = {
        "images": images,
        "scene": NOW,
        "codes": 16,
        "transitions": 3,
        "codes_per_transition": 4,
        "width": 32,
        "layers": 2,
        "heads": 2,
        "visual_grid": (1, 2),
        "visual_width": 6,
        "action_width": 5,
        "look": "camera",
    }
    return Student(**arguments | changes).eval()


def make_latents(count: int, *, seed: int = 0, sharp: float = 3.0) -> LatentActions:
    generator = torch.Generator().manual_seed(seed)
    logits = sharp * torch.randn(count, 12, 16, generator=generator)
    return LatentActions(
        codes=logits.argmax(-1),
        environment=None,
        logits=logits,
        features=LatentFeatures(
            visual=torch.randn(count, 2, 6, generator=generator), action=torch.randn(count, 12, 5, generator=generator)
        ),
        codebook_id="b",
        origin=Origin.TEACHER,
    )


def write_student(folder: Path, *changes: str, codebook: str = "book-a", shown: dict | None = None) -> Path:
    """A tiny student with random weights. shown: what its card says that it was trained on."""
    torch.manual_seed(0)
    config = compose("distill", ["latents=none", *changes]).model.plain()
    card = Card(kind=config["_target_"], parents={"codebook": codebook}, data=SHOWN if shown is None else shown)
    checkpoint.save(folder, build(config), config=config, card=card)
    return folder
