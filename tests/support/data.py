"""Clips made on the spot: a textured wall that the camera passes, with poses that say so."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from latentdrive.data.clips.clip_source import ClipOptions, Part
from latentdrive.data.clips.clip_truth import SidecarTruth
from latentdrive.data.clips.video import VideoFolder
from tests.support.paths import SHARED

REAL = SHARED / "realdata"


def panorama(seed: int, width: int = 4000, height: int = 96) -> np.ndarray:
    """A wide picture, uint8 [height, width, 3], with structure at several scales."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cell in (48, 16, 6):
        coarse = rng.uniform(0, 255, (height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        picture += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) / 3
    return np.clip(picture, 0, 255).astype(np.uint8)


def passing(seed: int, offsets: np.ndarray, size: tuple[int, int] = (96, 160)) -> list[np.ndarray]:
    """Frames of a camera whose view starts at these columns of a panorama."""
    picture = panorama(seed, width=int(max(offsets)) + size[1] + 1, height=size[0])
    return [picture[:, int(column) : int(column) + size[1]] for column in offsets]


def write_video(
    path: Path,
    frames: list[np.ndarray],
    times_s: np.ndarray,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    faststart: bool = False,
) -> Path:
    """A video whose frames have exactly these presentation times (to a millisecond)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": "+faststart"} if faststart else {}) as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000 if codec != "gif" else 100)
        if codec == "libx264":
            stream.options = {"crf": "12", "preset": "ultrafast"}
        if codec == "libx265":
            stream.options = {"preset": "ultrafast", "x265-params": "log-level=none:pools=1"}
        unit = stream.codec_context.time_base
        for frame, time_s in zip(frames, times_s):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts, picture.time_base = round(time_s / unit), unit
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def write_poses(path: Path, times_s: np.ndarray, poses: np.ndarray, speed_mps: np.ndarray) -> Path:
    """NAME.poses.csv as latentdrive reads it."""
    rows = np.column_stack([times_s, poses, speed_mps])
    np.savetxt(path, rows, delimiter=",", header="time_s,x_m,y_m,heading_rad,speed_mps", comments="")
    return path


OPTIONS = {
    "rate_hz": 10.0,
    "height": 48,
    "width": 80,
    "fit": "crop",
    "images_hz": None,
    "poses": "recorded",
    "odometry": None,
    "field_of_view_deg": 90.0,
    "video_hz": None,
}
PART = {"times": "all", "train_share": 0.7, "gap_s": 0.5, "split": None}


def reading(path: Path | str, **changed) -> dict[str, ClipOptions | Part]:
    """Arguments of a clip source: options and part with the values of these tests. changed: fields of either."""
    options = {name: changed.get(name, value) for name, value in OPTIONS.items()}
    part = {name: changed.get(name, value) for name, value in PART.items()}
    assert not changed.keys() - options.keys() - part.keys(), changed
    return {"options": ClipOptions(**options), "part": Part(path=str(path), **part)}


def folder(path: Path | str, *, drives: str = "file", **changed) -> VideoFolder:
    """A VideoFolder with the options of these tests."""
    return VideoFolder(**reading(path, **changed), truth=SidecarTruth(), drives=drives)
