"""Clips that can't be used: counted, named in `unreadable.csv`, and bounded.

Readers raise UnreadableClip; batches.py hands it here and goes on with another clip, until the bound is reached.
"""

import csv
from pathlib import Path

from latentdrive.errors import TooManyUnreadable, UnreadableClip

HEADER = ("path", "reason")


class UnreadableLog:
    """Remembers clips that failed, by index. file: unreadable.csv, or None for memory alone. max_unreadable: share of clips.

    Worker processes append to one file; a clip that several of them met stands there several times until it is read
    with `read_unreadable`.
    """

    def __init__(self, *, clips: int, max_unreadable: float, file: str | Path | None) -> None:
        self.clips, self.max_unreadable = clips, max_unreadable
        self.file = None if file is None else Path(file)
        self._failed: dict[int, UnreadableClip] = {}

    def __len__(self) -> int:
        return len(self._failed)

    def __contains__(self, index: int) -> bool:
        return index in self._failed

    def add(self, index: int, error: UnreadableClip) -> None:
        """Count one clip. Raises TooManyUnreadable beyond the bound, with the last reason in its text."""
        if index in self._failed:
            return
        self._failed[index] = error
        if self.file is not None:
            fresh = not self.file.exists()
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with open(self.file, "a", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                if fresh:
                    writer.writerow(HEADER)
                writer.writerow([error.path, error.reason])
        if len(self._failed) > self.max_unreadable * self.clips:
            where = f"; all of them: {self.file}" if self.file is not None else ""
            raise TooManyUnreadable(
                f"{len(self._failed)} of {self.clips} clips can't be used, data.max_unreadable allows "
                f"{self.max_unreadable:.2%}. The last one: {error}{where}. Repair or remove them, or raise data.max_unreadable"
            )

    def summary(self) -> str:
        """One line for the end of a run."""
        share = len(self._failed) / max(1, self.clips)
        text = f"{len(self._failed)} of {self.clips} clips unreadable ({share:.2%}, limit {self.max_unreadable:.2%})"
        return text + (f": {self.file}" if self._failed and self.file is not None else "")


def read_unreadable(file: str | Path) -> list[tuple[str, str]]:
    """(path, reason) of every clip named in an `unreadable.csv`, each once; empty where there is no such file."""
    if not Path(file).is_file():
        return []
    with open(file, newline="", encoding="utf-8") as opened:
        rows = [tuple(row) for row in csv.reader(opened) if len(row) == 2]
    return [row for row in dict.fromkeys(rows) if row != HEADER]
