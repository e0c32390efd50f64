"""Videos with chosen streams, key frames, pixel shapes and orientations, and damage in chosen packets."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.support.data import passing
from tests.support.paths import SHARED

CASES = SHARED / "cases"  # files that people have, drawn by a program


def encode(
    path: Path,
    *streams: Sequence[np.ndarray],
    hz: int = 20,
    codec: str = "libx264",
    key_every: int = 20,
    start: int = 0,
    pixels: Fraction | None = None,
    turned_deg: int = 0,
    mirrored: bool = False,
) -> Path:
    """A video of one or more streams of RGB frames; the first frame has number `start`."""
    with av.open(str(path), "w") as container:
        made = []
        for frames in streams:
            stream = container.add_stream(codec, rate=hz)
            stream.height, stream.width = frames[0].shape[:2]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.options = {"g": str(key_every), **({"preset": "veryfast"} if codec == "libx264" else {"q:v": "3"})}
            if pixels is not None:
                stream.codec_context.sample_aspect_ratio = pixels
            if turned_deg or mirrored:
                stream.set_display_rotation(turned_deg, hflip=mirrored)
            made.append((stream, frames))
        for stream, frames in made:
            for number, frame in enumerate(frames):
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
                picture.pts, picture.time_base = start + number, Fraction(1, hz)
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
    return path


def street(count: int = 100, size: tuple[int, int] = (96, 160)) -> list[np.ndarray]:
    """Frames of a camera that passes a wall."""
    return passing(0, np.arange(count) * 3.0, size=size)


def overwrite(path: Path, numbers: Iterable[int], *, offset: int = 0, most: int | None = None) -> Path:
    """Overwrite bytes of these packets (in the order of decoding) from `offset` on, with what no decoder accepts."""
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    for number in numbers:
        first, size = places[number]
        end = first + size if most is None else min(first + size, first + offset + most)
        content[first + offset : end] = b"\xff" * (end - first - offset)
    path.write_bytes(content)
    return path
