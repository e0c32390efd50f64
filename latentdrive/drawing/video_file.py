"""Writes a video picture by picture; the file appears whole at the end, or not at all."""

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from jaxtyping import UInt8

from latentdrive.writing import writing

FINEST = 1000  # times are kept to a millisecond


class VideoFile:
    """An h264 mp4 with pictures at any times.

    crf: x264's quality, from 0 (lossless) to 51. `with VideoFile(...) as video:` writes the file when the block ends,
    and removes what was written if it ends with an error. Raises DiskFull or NotWritable.
    """

    def __init__(self, path: Path, *, crf: int) -> None:
        self.path, self.crf, self.pictures = path, crf, 0
        self._draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
        self._container: av.container.OutputContainer | None = None
        self._stream: av.VideoStream | None = None

    def add(self, picture: UInt8[np.ndarray, "H W 3"], time_s: float) -> None:
        """Add a picture; times must grow. The first one decides the size, which must be even."""
        with writing(self.path):
            if self._container is None:
                self._open(picture.shape[0], picture.shape[1])
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = round(time_s * FINEST), Fraction(1, FINEST)
            self._container.mux(self._stream.encode(frame))
        self.pictures += 1

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._container is not None:
                with writing(self.path):
                    if kind is None:
                        self._container.mux(self._stream.encode())
                    self._container.close()
                    if kind is None:
                        os.replace(self._draft, self.path)
        finally:
            self._draft.unlink(missing_ok=True)

    def _open(self, height: int, width: int) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._draft), "w", format="mp4")
        self._stream = self._container.add_stream("libx264", rate=FINEST)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        self._stream.time_base = Fraction(1, FINEST)
        self._stream.options = {"crf": str(self.crf), "preset": "veryfast"}
