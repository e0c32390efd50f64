"""Camera images of recorded scenes: JPEG by Pillow, as the NAVSIM devkit decodes them, whole or at a fraction of their size.

Beside lidar.py, below navsim_scenes.py. A damaged file is named; half a picture never passes for a whole one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from latentdrive.data.unreadable import raise_if_out_of_files
from latentdrive.errors import UnreadableScene

Size = tuple[int, int]  # height, width in pixels


def read_image(path: str | Path, at_least: Size | None) -> tuple[UInt8[np.ndarray, "H W 3"], Size]:
    """The picture as RGB, and the size that is stored.

    at_least: decode at 1/2, 1/4 or 1/8 of the size where height and width stay at or above these (many times faster);
    None: as stored. Raises UnreadableScene that names the file: absent, cut short, no image.
    """
    with _opened(path) as image:
        stored = (image.height, image.width)
        if at_least is not None:
            image.draft("RGB", (at_least[1], at_least[0]))
        return np.asarray(image.convert("RGB")), stored


def image_size(path: str | Path) -> Size:
    """The size that is stored, from the file's header alone. Raises UnreadableScene as `read_image` does."""
    with _opened(path) as image:
        return image.height, image.width


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError as error:
        raise UnreadableScene(
            path, "the image is not there: download this sensor, or ask for fewer cameras (data.scenes.cameras)"
        ) from error
    # What Pillow raises at a damaged file, of whatever kind it takes it to be.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise_if_out_of_files(error)
        raise UnreadableScene(path, f"the image is damaged ({_first_words(error)}): copy it again") from error


def _first_words(error: Exception) -> str:
    # Pillow repeats the path, which stands before the reason already.
    return str(error).split(" '/")[0].split("\n")[0] or type(error).__name__
