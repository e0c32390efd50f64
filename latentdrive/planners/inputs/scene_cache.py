"""A cache on disk of the scenes' inputs and targets: each scene is opened and shrunk once, then read as rows of arrays.

Decoding four cameras takes ten times as long as a training step of a small planner. Each content has a
folder of its own with `FIELD.npy` (a row for each scene, memory-mapped) and `state.npy` (which rows are
filled). Filling can be interrupted and continued; scenes that could not be opened are tried again.
"""

import fcntl
import hashlib
import json
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from latentdrive.errors import MapError, UnreadableClip, UnreadableScene
from latentdrive.files import write_atomic
from latentdrive.planners.inputs.batch import Arrays
from latentdrive.progress import Progress

FORMAT = 1
STATE, LOCK = "state.npy", "lock"
MISSING, FILLED, UNREADABLE = 0, 1, 2  # states of a row
CHUNK = 256  # scenes after which STATE is saved
Make = Callable[[str], Arrays]  # from a token to the arrays of its scene


class SceneCache:
    """The arrays of the scenes `tokens`, in this order, in a folder below `folder`.

    make: opens a scene. content: everything that decides what `make` returns; it names the folder.
    reasons: after `fill`, why scenes could not be opened, by token.
    """

    def __init__(self, folder: str | Path, tokens: Sequence[str], make: Make, *, content: str) -> None:
        digest = hashlib.sha256(json.dumps([FORMAT, content, *tokens]).encode()).hexdigest()[:16]
        self.folder, self.tokens, self.make = Path(folder) / digest, tuple(tokens), make
        self.reasons: dict[str, str] = {}
        self._arrays: dict[str, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Worker processes get the cache without its open files and map them again."""
        return self.__dict__ | {"_arrays": {}}

    def bytes(self) -> int:
        """Size of all scenes on disk, from the first scene that can be opened; 0 where none can."""
        for token in self.tokens:
            try:
                return len(self.tokens) * sum(np.asarray(array).nbytes for array in self.make(token).values())
            except (UnreadableClip, MapError):
                continue
        return 0

    def fill(self, *, workers: int, progress: Progress) -> None:
        """Open the scenes that are not filled yet, in `workers` processes (0: in this one).

        A second process that fills the same cache waits for this one.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with alone(self.folder / LOCK):
            state = self._state()
            todo = np.flatnonzero(state != FILLED)  # unreadable scenes, too: they may have been repaired
            loader = DataLoader(_Opened(self, todo), batch_size=None, num_workers=workers, collate_fn=_unchanged)
            opened = progress(loader, what="opening scenes, once", total=len(todo)) if len(todo) else ()
            for number, (row, arrays, reason) in enumerate(opened, start=1):
                if arrays is None:
                    self.reasons[self.tokens[row]] = reason
                else:
                    self._write(row, arrays)
                state[row] = UNREADABLE if arrays is None else FILLED
                if number % CHUNK == 0 or number == len(todo):
                    self._save(state)
        self._arrays = {}

    def rows(self) -> list[int]:
        """Numbers of the filled rows."""
        return np.flatnonzero(self._state() == FILLED).tolist()

    def read(self, rows: Sequence[int], names: Container[str] | None = None) -> Arrays:
        """The stacked arrays of these rows. names: which arrays; None for all."""
        if not self._arrays:
            files = [path for path in sorted(self.folder.glob("*.npy")) if path.name != STATE]
            self._arrays = {path.stem: np.load(path, mmap_mode="r") for path in files}
        return {name: array[rows] for name, array in self._arrays.items() if names is None or name in names}

    def _write(self, row: int, arrays: Arrays) -> None:
        for name, value in arrays.items():
            if name not in self._arrays:
                self._arrays[name] = self._open(name, np.asarray(value))
            self._arrays[name][row] = value

    def _open(self, name: str, first: np.ndarray) -> np.ndarray:
        path, shape = self.folder / f"{name}.npy", (len(self.tokens), *first.shape)
        if path.exists():
            array = np.load(path, mmap_mode="r+")
            if (array.shape, array.dtype) == (shape, first.dtype):
                return array
        return np.lib.format.open_memmap(path, mode="w+", dtype=first.dtype, shape=shape)

    def _state(self) -> np.ndarray:
        path = self.folder / STATE
        return np.load(path) if path.exists() else np.full(len(self.tokens), MISSING, np.uint8)

    def _save(self, state: np.ndarray) -> None:
        """Write the rows before their state, so that a killed process leaves no half-written row marked as filled."""
        for array in self._arrays.values():
            array.flush()
        write_atomic(self.folder / STATE, lambda path: _save_array(path, state))


class _Opened(Dataset):
    """Opens the scenes of `rows`: row, arrays, and for a scene that can't be opened None and the reason."""

    def __init__(self, cache: SceneCache, rows: np.ndarray) -> None:
        self.cache, self.rows = cache, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> tuple[int, Arrays | None, str]:
        row = int(self.rows[number])
        token = self.cache.tokens[row]
        try:
            return row, self.cache.make(token), ""
        except UnreadableScene as error:  # names the scene itself, or a file of its sensors
            return row, None, error.reason if error.path == token and error.reason else str(error)
        except (UnreadableClip, MapError) as error:
            return row, None, str(error)


def _unchanged(item: Any) -> Any:
    return item


def _save_array(path: Path, state: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, state, allow_pickle=False)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Only one process at a time, by a lock on the file `path`."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
