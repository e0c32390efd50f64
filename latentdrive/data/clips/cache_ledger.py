"""The size of the frame cache: a text file with one line for everything stored, so that a million
folders need not be listed.

frame_cache.py keeps its bound with it.
"""

import re
from pathlib import Path

from latentdrive.writing import append_line

LEDGER = "ledger.txt"
# An entry, or a file of it, and its bytes. Anything else was torn by a full disk, and counts for nothing.
LINE = re.compile(r"^([0-9a-f]+(?:/[\w.-]+)?) (\d{1,18})$", re.MULTILINE | re.ASCII)


class CacheLedger:
    """Bytes stored so far in `folder`. Any process may append lines.

    An entry that was stored again has a line for each time; the last one counts.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LEDGER
        self._read, self._used = 0, 0
        self._sizes: dict[str, int] = {}

    def add(self, name: str, size: int) -> None:
        """Append that `name` was stored and takes `size` bytes."""
        append_line(self._path, f"{name} {size}")

    def used(self) -> int:
        """Bytes of everything stored."""
        self._update()
        return self._used

    def sizes(self) -> dict[str, int]:
        """Bytes by name: the folder of an entry, or ENTRY/FILE for features."""
        self._update()
        return self._sizes

    def _update(self) -> None:
        """Read the lines that were added since the last time."""
        if self._path.is_file():
            with open(self._path, "rb") as file:
                file.seek(self._read)
                new = file.read()
            new = new[: new.rfind(b"\n") + 1]
            self._read += len(new)
            for name, size in LINE.findall(new.decode("utf-8", "replace")):
                self._used += int(size) - self._sizes.get(name, 0)
                self._sizes[name] = int(size)
