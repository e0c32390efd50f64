"""Inputs and targets of scenes on disk: every scene is opened and made small once, then read as rows of arrays.

After sensors.py and targets.py, before scene_data.py. Decoding four cameras takes ten times as long as a training step of a small
planner. A folder a content: `FIELD.npy` (one row a scene, mapped from disk) and `state.npy` (which rows are there). An interrupted filling goes
on where it stopped; what could not be opened is tried again.
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
MISSING, THERE, UNREADABLE = 0, 1, 2  # values of STATE
CHUNK = 256  # scenes between two savings of STATE
Make = Callable[[str], Arrays]  # token → arrays of the scene


class SceneCache:
    """Arrays of `tokens`, in this order, below `folder`. make: opens a scene; content: everything that decides what it gives.

    reasons: why a scene could not be opened, by token, once `fill` is done.
    """

    def __init__(self, folder: str | Path, tokens: Sequence[str], make: Make, *, content: str) -> None:
        digest = hashlib.sha256(json.dumps([FORMAT, content, *tokens]).encode()).hexdigest()[:16]
        self.folder, self.tokens, self.make = Path(folder) / digest, tuple(tokens), make
        self.reasons: dict[str, str] = {}
        self._arrays: dict[str, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes: files are mapped anew there."""
        return self.__dict__ | {"_arrays": {}}

    def bytes(self) -> int:
        """What all scenes take on disk; opens one scene, the first that can be."""
        for token in self.tokens:
            try:
                return len(self.tokens) * sum(np.asarray(array).nbytes for array in self.make(token).values())
            except (UnreadableClip, MapError):
                continue
        return 0

    def fill(self, *, workers: int, progress: Progress) -> None:
        """Open what is not there yet, in `workers` processes (0: in this one). Another process that fills the same waits for this one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with alone(self.folder / LOCK):
            state = self._state()
            todo = np.flatnonzero(state != THERE)  # what could not be opened may have been repaired
            loader = DataLoader(_Opened(self, todo), batch_size=None, num_workers=workers, collate_fn=_as_it_is)
            opened = progress(loader, what="scenes, once", total=len(todo)) if len(todo) else ()
            for number, (row, arrays, reason) in enumerate(opened, start=1):
                if arrays is None:
                    self.reasons[self.tokens[row]] = reason
                else:
                    self._write(row, arrays)
                state[row] = UNREADABLE if arrays is None else THERE
                if number % CHUNK == 0 or number == len(todo):
                    self._save(state)
        self._arrays = {}

    def rows(self) -> list[int]:
        """Rows that are there."""
        return np.flatnonzero(self._state() == THERE).tolist()

    def read(self, rows: Sequence[int], names: Container[str] | None = None) -> Arrays:
        """Arrays of several scenes, by row, stacked. names: only these; None: all."""
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
            found = np.load(path, mmap_mode="r+")
            if (found.shape, found.dtype) == (shape, first.dtype):
                return found
        return np.lib.format.open_memmap(path, mode="w+", dtype=first.dtype, shape=shape)

    def _state(self) -> np.ndarray:
        path = self.folder / STATE
        return np.load(path) if path.exists() else np.full(len(self.tokens), MISSING, np.uint8)

    def _save(self, state: np.ndarray) -> None:
        """Rows first, then that they are there: a killed process leaves none that is half written and counted."""
        for array in self._arrays.values():
            array.flush()
        write_atomic(self.folder / STATE, lambda path: _save_array(path, state))


class _Opened(Dataset):
    """Row, arrays and reason of the scenes that are to be opened; a scene that can't be is a reason, not an error."""

    def __init__(self, cache: SceneCache, rows: np.ndarray) -> None:
        self.cache, self.rows_ = cache, rows

    def __len__(self) -> int:
        return len(self.rows_)

    def __getitem__(self, number: int) -> tuple[int, Arrays | None, str]:
        row = int(self.rows_[number])
        token = self.cache.tokens[row]
        try:
            return row, self.cache.make(token), ""
        except UnreadableScene as error:  # of the scene itself, or of a file of its sensors
            return row, None, error.reason if error.path == token and error.reason else str(error)
        except (UnreadableClip, MapError) as error:
            return row, None, str(error)


def _as_it_is(one: Any) -> Any:
    return one


def _save_array(path: Path, state: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, state, allow_pickle=False)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """One process at a time, by a lock on the file `path`."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
