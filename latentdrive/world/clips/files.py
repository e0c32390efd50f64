"""The files of a drive: DRIVE.mp4, DRIVE.poses.csv, DRIVE.camera.json, DRIVE.truth.npz.

Ordinary formats: data/clips/video.py reads a world clip as it reads anybody's. The video takes its name last and so marks a
finished drive; a run that was stopped goes on behind the last one.
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
from latentdrive.world.traffic.recording import Drive


def video_bytes(frames: UInt8[np.ndarray, "T H W 3"], *, rate_hz: float, crf: int) -> bytes:
    """An h264 mp4 of constant frame rate, frame k at k / rate_hz seconds. One thread: the same frames give the same bytes."""
    rate = Fraction(rate_hz).limit_denominator(1000)
    memory = io.BytesIO()  # a full disk then shows at the write, where it is understood
    with av.open(memory, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.time_base = 1 / rate
        stream.codec_context.thread_count = 1
        # Without cpu-independent, x264's faster routines give other bytes for other alignments of memory: run to run.
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
    """The video of a drive, atomically; written last, it marks a finished drive. DiskFull leaves what was complete."""
    if frames.shape[1:] != (spec.height, spec.width, 3):
        raise ConfigError(f"{name}: frames of {frames.shape[1:]}, the camera has {spec.height} x {spec.width}")
    write_atomic(folder / f"{name}.mp4", lambda path: path.write_bytes(video_bytes(frames, rate_hz=rate_hz, crf=crf)))


def write_sidecars(folder: Path, name: str, *, drive: Drive, truth: ClipTruth, spec: CameraSpec) -> None:
    """Poses, camera and truth beside the video of a drive, each atomically."""
    table = np.concatenate([drive.times_s[:, None], drive.ego, drive.ego_speed_mps[:, None]], 1)
    rows = ["time_s,x_m,y_m,heading_rad,speed_mps", *(",".join(f"{value:.9g}" for value in row) for row in table)]
    camera = {"intrinsics": spec.intrinsics.tolist(), "camera_to_ego": spec.camera_to_ego.tolist()}
    write_atomic(folder / f"{name}.poses.csv", lambda path: path.write_text("\n".join(rows) + "\n", encoding="utf-8"))
    write_atomic(
        folder / f"{name}.camera.json", lambda path: path.write_text(json.dumps(camera) + "\n", encoding="utf-8")
    )
    write_atomic(folder / f"{name}.truth.npz", lambda path: write_truth(path, truth))


def write_truth(path: Path, truth: ClipTruth) -> None:
    """ClipTruth as plain arrays, which load without pickle."""
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
