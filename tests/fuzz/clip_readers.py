"""Readers of clips: video, numbered images, comma2k19, the world's truth, and the cache of frames."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from latentdrive.data.clips.checked_rows import checked
from latentdrive.data.clips.clip_truth import read_truth
from latentdrive.data.clips.comma2k19 import read_poses
from latentdrive.data.clips.frame_cache import CachedClips
from tests.fuzz.formats import npy
from tests.fuzz.harness import Reader
from tests.support.comma import write_segment
from tests.support.data import folder as video_folder
from tests.support.data import passing, write_video

SIZE = (32, 48)  # of the stored pictures: smaller ones would be enlarged


BYTES = {".npz": None, ".npy": None, ".json": None}  # nobody writes a cache by hand


def _clip(clip: Any) -> Any:
    return checked(clip.frames), clip.times_s, clip.shots, clip.ego_poses, clip.intrinsics


def _video(name: str):
    def make(folder: Path, variant: int) -> None:
        write_video(folder / name, passing(variant, np.arange(6) * 4.0, SIZE), np.arange(6) / 10)

    return make


def _read_video(folder: Path) -> Any:
    (path,) = [path for path in folder.iterdir() if not path.name.startswith(".")]
    source = video_folder(path, height=16, width=24)
    return source.header_duration_s(0), _clip(source[0])


def _images(folder: Path, variant: int) -> None:
    (folder / "drive").mkdir()
    for k, frame in enumerate(passing(variant, np.arange(3) * 4.0, SIZE)):
        suffix = ("png", "jpg", "bmp")[k]
        cv2.imwrite(str(folder / "drive" / f"{k:04d}.{suffix}"), frame)
    (folder / "drive" / "times.txt").write_text("0.0\n0.1\n0.2\n")


def _read_images(folder: Path) -> Any:
    return _clip(video_folder(folder / "drive", height=16, width=24)[0])


def _truth(folder: Path, variant: int) -> None:
    arrays = {
        "times_s": np.arange(3) / 10,
        "agent_poses": np.zeros((3, 2, 3), np.float32),
        "agent_sizes": np.ones((2, 3), np.float32),
        "boxes": np.zeros((3, 2, 4), np.float32),
        "image_motion": np.zeros((3, 2, 2), np.float32) + variant,
    }
    with open(folder / "a.truth.npz", "wb") as file:
        np.savez(file, transition_s=0.5, key="a.mp4", **arrays)


def _cached(folder: Path) -> CachedClips:
    source = video_folder(folder / "clips", height=16, width=24)
    return CachedClips(
        source=source, folder=folder / "cache", cache="features", cache_gb=1.0, features=_features, features_id="made"
    )


def _features(frames: np.ndarray) -> np.ndarray:
    return frames.reshape(len(frames), -1)[:, :5].astype(np.float16)


def _cache(folder: Path, variant: int) -> None:
    write_video(folder / "clips/a.mp4", passing(variant, np.arange(6) * 4.0, SIZE), np.arange(6) / 10)
    _read_cache(folder)


def _read_cache(folder: Path) -> Any:
    clips = _cached(folder)
    clip, facts = clips.read(0)
    return _clip(clip), facts, checked(clips.features(0))


CLIP_READERS = (
    Reader(name="video, mp4", make=_video("a.mp4"), read=_read_video),
    Reader(name="video, mkv", make=_video("a.mkv"), read=_read_video),
    Reader(name="images", make=_images, read=_read_images),
    Reader(name="truth", make=_truth, read=lambda folder: read_truth(folder / "a.truth.npz")),
    Reader(
        name="comma2k19",
        make=lambda folder, variant: write_segment(folder / "segment", count=6, speed_mps=10.0 + variant),
        read=lambda folder: read_poses(folder / "segment"),
        formats={"": npy},
    ),
    Reader(
        name="frame cache",
        make=_cache,
        read=_read_cache,
        files=("cache/*/*/*",),
        formats=BYTES,
        checked=True,
        writes=True,
    ),
)
