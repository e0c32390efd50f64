"""Clips without files for tests of windows and batches, and a log of unreadable ones."""

from pathlib import Path

import numpy as np

from latentdrive.data.batches.transitions import WindowSpec
from latentdrive.data.clips.clip_source import ClipFacts, Part
from latentdrive.data.unreadable import UnreadableLog
from latentdrive.errors import UnreadableClip
from latentdrive.types import ClipTruth, DrivingClip, PoseSource

SPEC = WindowSpec(transitions=2, transition_s=0.5, rate_hz=10.0)


class FakeSource:
    """Clips in memory; frame t of clip i is filled with the number t, and the car drives a left circle at 10 m/s."""

    rate_hz, height, width = 10.0, 4, 6
    part = Part(path="", times="all", train_share=0.7, gap_s=0.5)

    def __init__(self, clips: int = 7, frames: int = 40, bad: tuple[int, ...] = (), cut: int | None = None) -> None:
        self.clips, self.frames, self.bad, self.cut = clips, frames, bad, cut
        self.opened: list[int] = []

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, index: int) -> DrivingClip:
        self.opened.append(index)
        if index in self.bad:
            raise UnreadableClip(self.location(index), "made unreadable")
        time = np.arange(self.frames) / self.rate_hz
        frames = np.zeros((self.frames, 3, self.height, self.width), np.uint8)
        frames += np.arange(self.frames, dtype=np.uint8)[:, None, None, None]
        frames[..., 0] = (200 + index) % 256  # the left edge tells the clip, and which way round it is
        angle = 0.1 * time
        poses = np.stack([100 * np.sin(angle), 100 * (1 - np.cos(angle)), angle], -1).astype(np.float32)
        shots = np.zeros(self.frames, np.int64)
        if self.cut is not None:
            shots[self.cut :] = 1
        return DrivingClip(
            frames=frames,
            times_s=time,
            shots=shots,
            ego_poses=poses,
            ego_speed_mps=np.full(self.frames, 10.0, np.float32),
            pose_source=PoseSource.RECORDED,
            intrinsics=None,
            key=str(index),
            drive=str(index),
        )

    def location(self, index: int) -> Path:
        return Path(f"clip_{index}.mp4")

    def key(self, index: int) -> str:
        return str(index)

    def drive(self, index: int) -> str:
        return str(index)

    def files(self, index: int) -> list[Path]:
        return []

    def is_piece(self, index: int) -> bool:
        return False

    def identity(self, index: int) -> dict:
        return {"made up": index}

    def header_duration_s(self, index: int) -> float | None:
        return self.frames / self.rate_hz

    def read(self, index: int) -> tuple[DrivingClip, ClipFacts]:
        facts = ClipFacts(
            frames_read=self.frames,
            repeated=0,
            cuts=0,
            holes=0,
            standstill_s=0.0,
            duration_s=4.0,
            source_hz=10.0,
            source_height=8,
            source_width=12,
            view=(0.0, 0.0, 1.0, 1.0),
            camera_to_ego=None,
            pose_note="",
        )
        return self[index], facts

    def truth(self, index: int) -> ClipTruth | None:
        boxes = np.full((self.frames, 2, 4), np.nan, np.float32)
        boxes[10:, 0] = [0.0, 0.0, 0.5, 0.5]  # from frame 10 on an agent covers the upper left quarter
        return ClipTruth(
            times_s=np.arange(self.frames) / self.rate_hz,
            agent_poses=np.zeros((self.frames, 2, 3), np.float32),
            agent_sizes=np.ones((2, 3), np.float32),
            boxes=boxes,
            image_motion=np.zeros((self.frames, 2, 2), np.float32),
            transition_s=0.5,
            key=str(index),
        )


def log(clips: int = 7, share: float = 0.5, file=None) -> UnreadableLog:
    return UnreadableLog(clips=clips, max_unreadable=share, file=file)


class DamagedTruth(FakeSource):
    """Clip 2 can be read, what the world knows of it can't."""

    def truth(self, index: int) -> ClipTruth | None:
        if index == 2:
            raise UnreadableClip("clip_2.truth.npz", "made unreadable")
        return super().truth(index)
