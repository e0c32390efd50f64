"""A video appears whole, with its pictures at their times, or not at all."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from latentdrive.drawing.video_file import VideoFile


def picture(shade: int) -> np.ndarray:
    return np.full((32, 48, 3), shade, np.uint8)


def test_pictures_come_back_at_their_times(tmp_path: Path):
    times = [0.0, 0.1, 0.25, 1.0]
    with VideoFile(tmp_path / "made" / "v.mp4", crf=10) as video:
        for number, time_s in enumerate(times):
            video.add(picture(60 * number), time_s)
    with av.open(str(tmp_path / "made" / "v.mp4")) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24").mean()) for frame in container.decode(video=0)]
    np.testing.assert_allclose([time_s for time_s, _ in frames], times, atol=2e-3)
    np.testing.assert_allclose([shade for _, shade in frames], [0, 60, 120, 180], atol=6)


def test_an_error_leaves_the_former_video_and_no_draft(tmp_path: Path):
    (tmp_path / "v.mp4").write_bytes(b"former")
    with pytest.raises(RuntimeError, match="stop"), VideoFile(tmp_path / "v.mp4", crf=20) as video:
        video.add(picture(1), 0.0)
        raise RuntimeError("stop")
    assert (tmp_path / "v.mp4").read_bytes() == b"former" and len(list(tmp_path.iterdir())) == 1


def test_no_picture_makes_no_file(tmp_path: Path):
    with VideoFile(tmp_path / "v.mp4", crf=20):
        pass
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_sentence(tmp_path: Path):
    """A limit on the size of files stands for a full disk; both are errors of a write."""
    program = f"""
import resource, signal, numpy as np
from pathlib import Path
from latentdrive.drawing.video_file import VideoFile
from latentdrive.errors import NotWritable
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
rng = np.random.default_rng(0)
try:
    with VideoFile(Path({str(tmp_path / "v.mp4")!r}), crf=0) as video:
        for number in range(60):
            video.add(rng.integers(0, 255, (128, 128, 3), dtype=np.uint8), number / 10)
except NotWritable as error:
    print("told:", error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("told:") and "v.mp4 can't be written" in done.stdout, done.stdout + done.stderr
    assert not (tmp_path / "v.mp4").exists() and not list(tmp_path.iterdir())
