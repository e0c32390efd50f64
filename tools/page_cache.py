"""Removes files from the system's page cache, so that a benchmark reads them from the disk.

Without root this can be requested and checked, but not forced. The system still knows names, sizes
and places of the files, and a virtual disk may have a cache of its own: a rate that is measured
this way is an upper bound of a truly cold one.
"""

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

CHECKED = 200  # about how many files are checked for pages in memory


def drop_pages(folders: Iterable[Path], *, written: Iterable[Path] = ()) -> float:
    """Ask the system to drop all files below the folders from memory. Returns the share of pages
    that it dropped.

    The share is that of about CHECKED files, and 0.0 if the system has no such call. written:
    folders that were just filled; their files are flushed first, because pages that are not on the
    disk yet stay in memory.
    """
    if not hasattr(os, "posix_fadvise"):
        return 0.0
    fresh = _files(written)
    files = list(_files(folders) | fresh)
    for file in files:
        number = os.open(file, os.O_RDONLY)
        try:
            if file in fresh:
                os.fsync(number)  # for all files this would take minutes
            os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(number)
    checked = files[:: max(1, len(files) // CHECKED)]
    pages = [pages_in_memory(file) for file in checked]
    return 1.0 - sum(present for present, _ in pages) / max(1, sum(count for _, count in pages))


def _files(folders: Iterable[Path]) -> dict[Path, None]:
    return dict.fromkeys(file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file())


def pages_in_memory(file: Path) -> tuple[int, int]:
    """How many pages of a file are in memory, and how many pages it has. Raises OSError."""
    size = file.stat().st_size
    if not size:
        return 0, 0
    with open(file, "rb") as opened, mmap.mmap(opened.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
        resident = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
        start = ctypes.c_char.from_buffer(mapped)
        address = ctypes.c_void_p(ctypes.addressof(start))
        failed = ctypes.CDLL(None, use_errno=True).mincore(address, ctypes.c_size_t(size), resident)
        del start  # the map can't be closed while this exists
        if failed:
            raise OSError(ctypes.get_errno(), "mincore", str(file))
        return sum(page & 1 for page in resident), len(resident)
