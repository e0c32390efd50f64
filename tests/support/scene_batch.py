"""Random batches of scenes, for the tests of teacher and student."""

import torch

from latentdrive.types import SceneBatch


def make_scenes(count: int, *, seed: int = 0, times: int = 1, known: float = 0.5) -> SceneBatch:
    """`count` scenes with `times` pictures each. known: the share of values of the ego state that are known."""
    generator = torch.Generator().manual_seed(seed)

    def flags() -> torch.Tensor:
        return torch.rand(count, generator=generator) < known

    return SceneBatch(
        images=torch.randint(0, 256, (count, times, 3, 32, 64), dtype=torch.uint8, generator=generator),
        velocity=10 * torch.randn(count, 2, generator=generator),
        velocity_known=flags(),
        acceleration=torch.randn(count, 2, generator=generator),
        acceleration_known=flags(),
        command=torch.randint(0, 3, (count,), generator=generator),
        command_known=flags(),
    )
