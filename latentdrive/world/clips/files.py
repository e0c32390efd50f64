"""Writes the files of a drive: DRIVE.mp4, DRIVE.poses.csv, DRIVE.camera.json and DRIVE.truth.npz.

These are ordinary formats; data/clips/video.py reads a clip of the world like any other video. The
video is written last and marks a finished drive.
"""

import io
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from latentdrive.errors import ConfigError
from latentdrive.files import write_atomic
from latentdrive.types import ClipTruth
from latentdrive.world.rendering.cameras import CameraSpec
from latentdrive.world.traffic.recording import SimulatedDrive


def video_bytes(frames: UInt8[np.ndarray, "T H W 3"], *, rate_hz: float, crf: int) -> bytes:
    """Encode an h264 mp4 with frame k at k / rate_hz seconds. The same frames give the same bytes.

    crf: x264's quality, from 0 (lossless) to 51.
    """
    rate = Fraction(rate_hz).limit_denominator(1000)
    memory = io.BytesIO()  # a full disk then shows as an OSError of the write, not as an error of the encoder
    with av.open(memory, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.time_base = 1 / rate
        stream.codec_context.thread_count = 1
        # Without cpu-independent, x264's routines give bytes that depend on the alignment of memory, and so on the run.
        stream.options = {"crf": str(crf), "preset": "veryfast", "threads": "1", "x264-params": "cpu-independent=1"}
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return memory.getvalue()


def write_video(
    folder: Path, name: str, *, frames: UInt8[np.ndarray, "T H W 3"], spec: CameraSpec, rate_hz: float, crf: int
) -> None:
    """Write the video of a drive, atomically. Raises DiskFull, which leaves finished files intact."""
    if frames.shape[1:] != (spec.height, spec.width, 3):
        raise ConfigError(
            f"{name}: frames have the shape {frames.shape[1:]}, but the camera gives {(spec.height, spec.width, 3)}"
        )
    write_atomic(folder / f"{name}.mp4", lambda path: path.write_bytes(video_bytes(frames, rate_hz=rate_hz, crf=crf)))


def write_sidecars(folder: Path, name: str, *, drive: SimulatedDrive, truth: ClipTruth, spec: CameraSpec) -> None:
    """Write poses, camera and truth beside the video of a drive, each file atomically."""
    table = np.concatenate([drive.times_s[:, None], drive.ego, drive.ego_speed_mps[:, None]], 1)
    rows = ["time_s,x_m,y_m,heading_rad,speed_mps", *(",".join(f"{value:.9g}" for value in row) for row in table)]
    camera = {"intrinsics": spec.intrinsics.tolist(), "camera_to_ego": spec.camera_to_ego.tolist()}
    write_atomic(folder / f"{name}.poses.csv", lambda path: path.write_text("\n".join(rows) + "\n", encoding="utf-8"))
    write_atomic(
        folder / f"{name}.camera.json", lambda path: path.write_text(json.dumps(camera) + "\n", encoding="utf-8")
    )
    write_atomic(folder / f"{name}.truth.npz", lambda path: write_truth(path, truth))


def write_truth(path: Path, truth: ClipTruth) -> None:
    """Write a ClipTruth as plain arrays, which can be read without pickle."""
    with open(path, "wb") as file:
        np.savez_compressed(
            file,
            times_s=truth.times_s,
            agent_poses=truth.agent_poses,
            agent_sizes=truth.agent_sizes,
            boxes=truth.boxes,
            image_motion=truth.image_motion,
            transition_s=np.float64(truth.transition_s),
            key=np.array(truth.key),
        )
