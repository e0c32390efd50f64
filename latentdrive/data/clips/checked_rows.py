"""A file of rows (frames, or features of them) that is mapped when it is read, with a checksum of every row.

The file is numpy's .npy, which other programs read as well. Behind the array stand the checksums of its rows,
and END.
"""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from latentdrive.files import write_atomic

SUM = np.dtype("<u4")  # type of a checksum in the file
END = struct.Struct("<III")  # number of rows, bytes of the header, checksum of header, rows' checksums and these two


def write_rows(path: Path, array: np.ndarray) -> int:
    """Write an array as a whole; returns the file's size in bytes. Raises DiskFull or NotWritable."""
    array = np.ascontiguousarray(array)
    sums = np.array([zlib.crc32(row) for row in array], SUM)

    def write(draft: Path) -> None:
        with open(draft, "w+b") as file:
            # Written by hand: np.save hides the error number of a full disk.
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            file.seek(0)
            header = file.read()
            file.write(memoryview(array).cast("B") if array.size else b"")
            file.write(sums.tobytes() + _end(header, sums.tobytes(), len(array)))
            file.flush()
            os.fsync(file.fileno())

    write_atomic(path, write)
    return path.stat().st_size


def map_rows(path: Path, make_anew: Callable[[], np.ndarray]) -> "CheckedRows":
    """The rows of a file, mapped. make_anew: gives all rows again, if one of them was altered.

    Raises OSError if the file can't be opened, ValueError if it is cut short, or altered in its header.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - END.size))
        end = file.read()
        count, start, _ = END.unpack(end) if len(end) == END.size else (0, 0, 0)
        sums_at = size - END.size - count * SUM.itemsize
        if not 0 < start <= sums_at:
            raise ValueError(f"{path} is cut short, altered, or of an earlier version")
        file.seek(0)
        header = file.read(start)
        file.seek(sums_at)
        sums = file.read(count * SUM.itemsize)
    if end != _end(header, sums, count):
        raise ValueError(f"{path} is cut short, altered, or of an earlier version")
    rows = np.load(path, mmap_mode="r", allow_pickle=False)  # only now, because it stumbles over a damaged header
    return CheckedRows.of(_Rows(rows, np.frombuffer(sums, SUM), make_anew))


def checked(array: np.ndarray) -> np.ndarray:
    """An array all of whose rows were checked, without a copy where they are what was written."""
    return array.whole() if isinstance(array, CheckedRows) else np.asarray(array)


def _end(header: bytes, sums: bytes, count: int) -> bytes:
    numbers = (count, len(header))
    return END.pack(*numbers, zlib.crc32(header + sums + END.pack(*numbers, 0)))


class _Rows:
    """Mapped rows, and which of them were looked at."""

    def __init__(self, rows: np.ndarray, sums: np.ndarray, make_anew: Callable[[], np.ndarray]) -> None:
        self.rows, self._sums, self._make_anew = np.asarray(rows), sums, make_anew
        self._seen = np.zeros(len(rows), bool)

    def sound(self, numbers: np.ndarray) -> np.ndarray:
        """All rows, of which those with these numbers are what was written."""
        for number in np.unique(numbers[~self._seen[numbers]]).tolist():
            if zlib.crc32(np.ascontiguousarray(self.rows[number])) != self._sums[number]:
                self.rows = np.asarray(self._make_anew())
                self._seen[:] = True
                break
            self._seen[number] = True
        return self.rows


class CheckedRows(np.ndarray):
    """Mapped rows, each of which is compared with its checksum when it is first taken (a millisecond a megabyte).

    A slice of consecutive rows is CheckedRows again, and reads nothing. Every other index gives a plain
    array. Whoever needs all rows at once calls `checked`.
    """

    _source: _Rows | None
    _first: int

    @classmethod
    def of(cls, source: _Rows) -> "CheckedRows":
        """All rows of the source."""
        return cls._cut(source, 0, len(source.rows))

    def __array_finalize__(self, parent: Any) -> None:
        self._source, self._first = None, 0

    def __getitem__(self, index: Any) -> Any:
        if self._source is None:
            return np.asarray(self)[index]
        if isinstance(index, slice) and index.step in (None, 1):
            start, stop, _ = index.indices(len(self))
            return self._cut(self._source, self._first + start, self._first + max(start, stop))
        rows = index[0] if isinstance(index, tuple) and index else index
        if (not isinstance(rows, slice) and np.ndim(rows) > 1) or rows is None or rows is Ellipsis:
            return self.whole()[index]
        rows = np.arange(len(self))[rows]
        return self._plain(self._first + np.atleast_1d(rows).ravel())[index]

    def whole(self) -> np.ndarray:
        """All these rows, checked."""
        return np.asarray(self) if self._source is None else self._plain(self._first + np.arange(len(self)))

    @classmethod
    def _cut(cls, source: _Rows, start: int, stop: int) -> "CheckedRows":
        rows = source.rows[start:stop].view(cls)
        rows._source, rows._first = source, start
        return rows

    def _plain(self, numbers: np.ndarray) -> np.ndarray:
        return self._source.sound(numbers)[self._first : self._first + len(self)]
