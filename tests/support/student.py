"""A small student, random scenes, and a made-up teacher's latent actions."""

import torch

from latentdrive.data.batches.scene_cutting import SceneSpec
from latentdrive.student.model import ImageEncoder, Student
from latentdrive.types import LatentActions, LatentFeatures, Origin, SceneBatch

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


def make_scenes(count: int, *, seed: int = 0, times: int = 1) -> SceneBatch:
    generator = torch.Generator().manual_seed(seed)

    def flags() -> torch.Tensor:
        return torch.rand(count, generator=generator) < 0.5

    return SceneBatch(
        images=torch.randint(0, 256, (count, times, 3, 32, 64), dtype=torch.uint8, generator=generator),
        velocity=10 * torch.randn(count, 2, generator=generator),
        velocity_known=flags(),
        acceleration=torch.randn(count, 2, generator=generator),
        acceleration_known=flags(),
        command=torch.randint(0, 3, (count,), generator=generator),
        command_known=flags(),
    )


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
