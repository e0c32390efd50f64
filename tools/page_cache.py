"""Files put out of the memory that the system keeps them in, so that the next read is a first one: for measurements.

Without root it can be asked for and checked, not forced. Names, sizes and places of files on the disk stay known to the
system, and a virtual disk may have a cache of its own below: a cold rate is an upper bound of a truly first one.
"""

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

CHECKED = 200  # files of which is asked whether they are in memory


def drop_pages(folders: Iterable[Path], *, written: Iterable[Path] = ()) -> float:
    """Ask for all files below the folders to leave memory. Returns which share of their pages did (of about CHECKED files).

    written: folders that were filled just now: what is not on the disk yet stays in memory, so they are written out first.
    0.0 where the system has no such call.
    """
    if not hasattr(os, "posix_fadvise"):
        return 0.0
    fresh = _files(written)
    files = list(_files(folders) | fresh)
    for file in files:
        number = os.open(file, os.O_RDONLY)
        try:
            if file in fresh:
                os.fsync(number)  # of all files it would take minutes
            os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(number)
    checked = files[:: max(1, len(files) // CHECKED)]
    pages = [pages_in_memory(file) for file in checked]
    return 1.0 - sum(there for there, _ in pages) / max(1, sum(count for _, count in pages))


def _files(folders: Iterable[Path]) -> dict[Path, None]:
    return dict.fromkeys(one for folder in folders for one in sorted(folder.rglob("*")) if one.is_file())


def pages_in_memory(file: Path) -> tuple[int, int]:
    """How many pages of a file are in memory, and how many it has. Raises OSError."""
    size = file.stat().st_size
    if not size:
        return 0, 0
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
        found = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
        start = ctypes.c_char.from_buffer(mapped)
        address = ctypes.c_void_p(ctypes.addressof(start))
        failed = ctypes.CDLL(None, use_errno=True).mincore(address, ctypes.c_size_t(size), found)
        del start  # the map can't be closed before
        if failed:
            raise OSError(ctypes.get_errno(), "mincore", str(file))
        return sum(page & 1 for page in found), len(found)
