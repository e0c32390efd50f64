"""Opening a picture's file with Pillow: formats that cameras write, within a bound, whatever a header says."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

from PIL import Image

# Pillow knows more formats, and for one of them (EPS) it starts another program.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "PPM")
LARGEST_PIXELS = 50_000_000  # latentdrive default; the largest cameras of cars have 10,000,000
# What Pillow raises at damaged files, depending on the format that it takes them for.
PICTURE_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@contextmanager
def opened_picture(file: str | Path | BufferedIOBase) -> Iterator[Image.Image]:
    """The picture, of which only the header is read. Raises one of PICTURE_DAMAGE if it is none, or too large."""
    with Image.open(file, formats=FORMATS) as image:
        if image.width * image.height > LARGEST_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels, more than {LARGEST_PIXELS:,}")
        yield image
