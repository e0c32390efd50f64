"""Published weight files as they lie on disk: whether a file is whole, before anything loads it.

A download may leave a note of Git LFS in place of a file, a web page, or a part of it. Altered bytes inside
a file of the right length can't be seen here: publishers keep checksums elsewhere.
"""

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from latentdrive.errors import CheckpointError

LFS_NOTE = b"version https://git-lfs.github.com/spec/"
PAGES = (b"<!doctype html", b"<html")


def require_file(file: Path, *, again: str) -> None:
    """Raise CheckpointError if a file is missing or empty, or if something else was downloaded in its place.

    again: what to do then, for the message.
    """
    if not file.is_file():
        raise CheckpointError(f"{file} is missing: {again}")
    with file.open("rb") as opened:
        start = opened.read(200)
    if not start:
        raise CheckpointError(f"{file} is empty: {again}")
    if start.startswith(LFS_NOTE):
        raise CheckpointError(
            f"{file} is a note of Git LFS that stands for the file, not the file itself: run `git lfs pull` in its "
            f"folder, or {again}"
        )
    if start.lstrip().lower().startswith(PAGES):
        raise CheckpointError(f"{file} is a web page, not a file of weights: {again}")


def weight_shapes(file: Path, *, again: str) -> dict[str, Sequence[int]]:
    """Names and shapes of the weights in a .safetensors file, of which only the header is read.

    Raises CheckpointError as `require_file` does, and for a file that is cut short or damaged.
    """
    require_file(file, again=again)
    try:
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118 - no dictionary
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{file} is cut short or damaged ({file.stat().st_size:,} bytes; {str(error).splitlines()[0]}): {again}"
        ) from None
