"""Clips in memory whose pictures say where they are from, and latent actions to go with them."""

import json
from pathlib import Path

import numpy as np
import torch

from latentdrive.counting import counted
from latentdrive.data.clips.clip_source import Part
from latentdrive.data.latent_store import StoreInfo, Windows
from latentdrive.errors import UnreadableClip
from latentdrive.types import DrivingClip, LatentActions, LatentFeatures, Origin, PoseSource

RATE_HZ, HEIGHT, WIDTH = 4.0, 8, 12


def make_clip(number: int, *, frames: int = 16, shots: list[int] | None = None) -> DrivingClip:
    """Clip `number`: the red channel of a frame is its clip, the green one its row; 10 m/s straight on."""
    pictures = np.zeros((frames, 3, HEIGHT, WIDTH), np.uint8)
    pictures[:, 0], pictures[:, 1] = number, np.arange(frames)[:, None, None]
    times = np.arange(frames) / RATE_HZ
    poses = np.stack([10 * times, 0 * times, 0 * times], -1).astype(np.float32)
    return DrivingClip(
        frames=pictures,
        times_s=times,
        shots=np.array(shots or [0] * frames, np.int64),
        ego_poses=poses,
        ego_speed_mps=np.full(frames, 10, np.float32),
        pose_source=PoseSource.RECORDED,
        intrinsics=None,
        key=f"clip{number}",
        drive=f"drive{number // 2}",
    )


class MemoryClips:
    """Clips in memory, with everything that batches and labelling ask of CachedClips.

    bad: numbers of clips that can't be read.
    """

    rate_hz, height, width = RATE_HZ, HEIGHT, WIDTH
    part = Part(path="", times="all", train_share=0.7, gap_s=0.5)

    def __init__(self, clips: list[DrivingClip], *, bad: tuple[int, ...] = ()) -> None:
        self.clips, self.bad, self.opened = clips, bad, []

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> DrivingClip:
        self.opened.append(index)
        if index in self.bad:
            raise UnreadableClip(self.location(index), "it is cut short")
        return self.clips[index]

    def key(self, index: int) -> str:
        return self.clips[index].key

    def location(self, index: int) -> Path:
        return Path("clips") / self.clips[index].key

    def files(self, index: int) -> list[Path]:
        return []

    def identity(self, index: int) -> dict:
        return {"key": self.clips[index].key}

    def read(self, index: int) -> tuple[DrivingClip, None]:
        return self[index], None

    def is_piece(self, index: int) -> bool:
        return False

    def drive(self, index: int) -> str:
        return self.clips[index].drive

    def features(self, index: int, whole: DrivingClip | None = None) -> None:
        return None

    def header_duration_s(self, index: int) -> None:
        return None

    def truth(self, index: int) -> None:
        return None


class MemoryData:
    """A DataSet in memory."""

    path, rate_hz, max_unreadable = Path("memory"), RATE_HZ, 0.5
    height, width, fit = 32, 64, "crop"

    def __init__(self, **parts: MemoryClips) -> None:
        self.parts = parts

    def open(self, part: str) -> MemoryClips:
        return self.parts[part]

    def estimate(self, parts) -> str:
        return " and ".join(f"{counted(len(self.parts[part]), 'clip')} of {part}" for part in parts)


def make_info(**changes) -> StoreInfo:
    fields = {
        "origin": Origin.TEACHER,
        "codebook_id": "book-a",
        "maker": "maker",
        "data": "data",
        "transition_s": 0.5,
        "transitions": 3,
        "codes_per_transition": 4,
        "codes": 16,
        "settings": {"stride_s": 0.5},
        "known": ("motion",),
    }
    return StoreInfo(**fields | changes)


def make_latents(
    count: int, *, seed: int = 0, codebook_id: str = "book-a", origin: Origin = Origin.TEACHER
) -> LatentActions:
    generator = torch.Generator().manual_seed(seed)
    return LatentActions(
        codes=torch.randint(0, 16, (count, 12), generator=generator),
        environment=torch.randint(0, 16, (count, 12), generator=generator),
        logits=torch.randn(count, 12, 16, generator=generator),
        features=LatentFeatures(
            visual=torch.randn(count, 2, 6, generator=generator).half().float(),
            action=torch.randn(count, 12, 6, generator=generator).half().float(),
        ),
        codebook_id=codebook_id,
        origin=origin,
    )


def make_windows(clips: list[int], *, each: int = 3, seed: int = 0, **kind) -> Windows:
    """`each` windows of every clip, half a second apart."""
    count = each * len(clips)
    return Windows(
        keys=[f"clip{i}" for i in clips],
        drives=[f"drive{i // 2}" for i in clips],
        clip=np.repeat(np.arange(len(clips)), each),
        t0_s=np.tile(np.arange(each) / 2, len(clips)),
        latents=make_latents(count, seed=seed, **kind),
        known=np.ones((count, 1), bool),
    )


def read_index(folder: Path) -> dict:
    return json.loads((folder / "index.json").read_text())
