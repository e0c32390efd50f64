"""A cache on disk of the scenes' inputs and targets: each scene is opened and shrunk once, then read as rows of arrays.

Decoding four cameras takes ten times as long as a training step of a small planner. Each content has a
folder of its own (row_files.py). Filling can be interrupted and continued; scenes that could not be opened
are tried again, and a row that was altered on the disk is made anew when it is read.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from latentdrive.errors import MapError, NotWritable, UnreadableClip, UnreadableScene
from latentdrive.locks import one_writer
from latentdrive.planners.inputs.batch import Arrays
from latentdrive.planners.inputs.row_files import UNREADABLE, WHOLE, RowFiles
from latentdrive.progress import Progress

FORMAT = 2  # since 2, rows have checksums
CHUNK = 256  # scenes after which the state is saved
Make = Callable[[str], Arrays]  # from a token to the arrays of its scene


class SceneCache:
    """The arrays of the scenes `tokens`, in this order, in a folder below `folder`.

    make: opens a scene. content: everything that decides what `make` returns; it names the folder.
    reasons: after `fill`, why scenes could not be opened, by token. Processes may share a cache.
    """

    def __init__(self, folder: str | Path, tokens: Sequence[str], make: Make, *, content: str) -> None:
        digest = hashlib.sha256(json.dumps([FORMAT, content, *tokens]).encode()).hexdigest()[:16]
        self.folder, self.tokens, self.make = Path(folder) / digest, tuple(tokens), make
        self.reasons: dict[str, str] = {}
        self._opened: RowFiles | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Worker processes get the cache without its open files and map them again."""
        return self.__dict__ | {"_opened": None}

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

        A second process that fills the same cache waits for this one. Raises DiskFull or NotWritable.
        """
        with one_writer(self.folder, waiting=print):
            files = RowFiles(self.folder, len(self.tokens))
            todo = np.flatnonzero(files.state != WHOLE)  # unreadable scenes, too: they may have been repaired
            loader = DataLoader(_Opened(self, todo), batch_size=None, num_workers=workers, collate_fn=_unchanged)
            opened = progress(loader, what="opening scenes, once", total=len(todo)) if len(todo) else ()
            for number, (row, arrays, reason) in enumerate(opened, start=1):
                if arrays is None:
                    self.reasons[self.tokens[row]] = reason
                    files.state[row] = UNREADABLE
                else:
                    files.write(row, arrays)
                if number % CHUNK == 0 or number == len(todo):
                    files.save()
        self._opened = None

    def rows(self) -> list[int]:
        """Numbers of the filled rows."""
        return np.flatnonzero(self._files.state == WHOLE).tolist()

    def read(self, rows: Sequence[int], names: Container[str] | None = None) -> Arrays:
        """The stacked arrays of these rows. names: which arrays; None for all.

        Raises UnreadableScene for a row that was altered, where its scene can't be opened any more.
        """
        arrays, damaged = self._files.read(rows, names)
        made = {place: self._made_anew(rows[place]) for place in damaged}
        if made and len(made) == len(rows):  # perhaps nothing at all could be read
            wanted = [name for name in made[0] if names is None or name in names]
            return {name: np.stack([made[place][name] for place in range(len(rows))]) for name in wanted}
        for place, scene in made.items():
            for name in arrays:
                arrays[name][place] = scene[name]
        return arrays

    @property
    def _files(self) -> RowFiles:
        if self._opened is None:
            self._opened = RowFiles(self.folder, len(self.tokens))
        return self._opened

    def _made_anew(self, row: int) -> Arrays:
        """A row that was altered, from its scene again; it is written as well, where the cache can be written."""
        print(f"{self.folder}: scene {self.tokens[row]} was altered on the disk, and is made anew", file=sys.stderr)
        arrays = self.make(self.tokens[row])
        with suppress(NotWritable), one_writer(self.folder, waiting=print):
            self._opened = RowFiles(self.folder, len(self.tokens))
            self._opened.write(row, arrays)
            self._opened.save()
        return arrays


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
