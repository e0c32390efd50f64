"""Arrays of one length, each in a file, that are filled row by row and read in any order; every row has a checksum.

A row is written with ordinary writes and read by way of a memory map: a full disk is then an error of
one write, and never a signal that ends the process. `state.npz` says which rows are filled, and with which
checksums; it is written after them.
"""

import io
import json
import math
import os
import zlib
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latentdrive.errors import WrongShape
from latentdrive.files import read_arrays, write_atomic
from latentdrive.writing import writing

Arrays = dict[str, np.ndarray]
STATE, ARRAY = "state.npz", ".npy"
# Names in STATE: the state of every row; with the name of an array, its checksums, and the type and shape of a row.
FILLED, SUM, KIND = "filled", "sum_", "kind_"
MISSING, WHOLE, UNREADABLE = 0, 1, 2  # states of a row


class RowFiles:
    """The rows of a folder. rows: their number. state: of each row.

    Where a file is damaged or cut short, all rows count as missing.
    """

    def __init__(self, folder: Path, rows: int) -> None:
        self.folder, self.rows = folder, rows
        self.state = np.full(rows, MISSING, np.uint8)
        self._sums: Arrays = {}
        self._kinds: dict[str, str] = {}
        self._maps: Arrays = {}
        self._looked_at: Arrays = {}
        self._load()

    def write(self, row: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write one row of every array. It counts once `save` was called.

        Raises DiskFull or NotWritable, and WrongShape where rows of an array differ in type or shape.
        """
        for name, array in arrays.items():
            value = np.asarray(array)
            content, path = value.tobytes(), self._path(name)
            if name not in self._sums:  # other processes may have mapped a file of that name: theirs stays whole
                path.unlink(missing_ok=True)
            with writing(path), open(path, "r+b" if name in self._sums else "w+b") as file:
                if name not in self._sums:
                    self._lay_out(file, name, value)
                if self._kinds[name] != (kind := _kind(value.dtype, value.shape)):
                    raise WrongShape(f"{path}: row {row} is {kind}, rows before it are {self._kinds[name]}")
                file.seek(-(self.rows - row) * len(content), os.SEEK_END)
                file.write(content)
            self._sums[name][row] = zlib.crc32(content)
            self._looked_at.pop(name, None)
        self.state[row] = WHOLE

    def save(self) -> None:
        """Let what was written count: first the rows, then their state, lie on the disk."""
        for name in self._sums:
            with writing(self._path(name)), open(self._path(name), "rb") as file:
                os.fsync(file.fileno())
        arrays = {FILLED: self.state} | {SUM + name: sums for name, sums in self._sums.items()}
        arrays |= {KIND + name: np.array(kind) for name, kind in self._kinds.items()}

        def write(new: Path) -> None:
            with new.open("wb") as file:
                np.savez(file, **arrays)

        write_atomic(self.folder / STATE, write)

    def read(self, rows: Sequence[int], names: Container[str] | None = None) -> tuple[Arrays, list[int]]:
        """The stacked rows, and the places in `rows` whose content is not what was written.

        names: which arrays; None for all. A row is compared with its checksum when it is read for the
        first time, which takes a millisecond a megabyte.
        """
        arrays: Arrays = {}
        damaged = dict.fromkeys(place for place, row in enumerate(rows) if self.state[row] != WHOLE)
        for name in self._sums:
            if names is None or name in names:
                arrays[name] = self._map(name)[list(rows)]
                seen = self._looked_at.setdefault(name, np.zeros(self.rows, bool))
                for place in (place for place, row in enumerate(rows) if not seen[row]):
                    if zlib.crc32(arrays[name][place].tobytes()) == self._sums[name][rows[place]]:
                        seen[rows[place]] = True
                    else:
                        damaged[place] = None
        return arrays, list(damaged)

    def _load(self) -> None:
        try:
            stored = read_arrays(self.folder / STATE)
            state = stored.pop(FILLED)
            sums = {name.removeprefix(SUM): array for name, array in stored.items() if name.startswith(SUM)}
            kinds = {(state.shape, state.dtype == np.uint8), *((a.shape, a.dtype == np.uint32) for a in sums.values())}
            if kinds != {((self.rows,), True)}:
                return
            self._kinds = {name: str(stored[KIND + name]) for name in sums}
            self._sums = sums
            for name in sums:
                self._map(name)
            self.state = state
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # damaged, or cut short: everything is filled anew
            self._sums, self._kinds, self._maps = {}, {}, {}

    def _map(self, name: str) -> np.ndarray:
        if name not in self._maps:
            path, (dtype, shape) = self._path(name), json.loads(self._kinds[name])
            size = self.rows * np.dtype(dtype).itemsize * math.prod(shape)
            start = path.stat().st_size - size
            if start != len(self._header(dtype, shape)):
                raise ValueError(f"{path} is cut short")
            # The header may be damaged, and is not read.
            self._maps[name] = np.memmap(path, np.dtype(dtype), mode="r", offset=start, shape=(self.rows, *shape))
        return self._maps[name]

    def _lay_out(self, file: Any, name: str, first: np.ndarray) -> None:
        """Begin the file of an array, with room for all rows."""
        header = self._header(first.dtype.str, first.shape)
        file.write(header)
        file.flush()
        os.ftruncate(file.fileno(), len(header) + self.rows * first.nbytes)
        self._sums[name], self._kinds[name] = np.zeros(self.rows, np.uint32), _kind(first.dtype, first.shape)

    def _header(self, dtype: str, shape: Sequence[int]) -> bytes:
        """What an .npy file begins with."""
        header, file = {"descr": dtype, "fortran_order": False, "shape": (self.rows, *shape)}, io.BytesIO()
        np.lib.format.write_array_header_1_0(file, header)
        return file.getvalue()

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{ARRAY}"


def _kind(dtype: np.dtype, shape: tuple[int, ...]) -> str:
    """Type and shape of a row, as JSON."""
    return json.dumps([dtype.str, list(shape)])
