"""Clips that can't be used: counted, listed in a file, and bounded.

Clips that are intact but too short are counted apart. Sources raise UnreadableClip. Loaders
(data/batches) hand it to an UnreadableLog and go on with another clip, until the bound is reached.
"""

import csv
import io
from contextlib import suppress
from pathlib import Path

from latentdrive.counting import counted
from latentdrive.csv_cells import cell, text_of
from latentdrive.errors import TooManyUnreadable, TooShort, UnreadableClip
from latentdrive.writing import append_line

HEADER = ("path", "reason")


class UnreadableLog:
    """Clips that were left out, by index. max_unreadable: share of clips that may be unreadable.

    file: unreadable*.csv, or None to keep the list in memory; clips that are too short go to
    too_short*.csv beside it. Worker processes append to the same file, which may then name a clip
    several times; `read_unreadable` drops repetitions.
    """

    def __init__(self, *, clips: int, max_unreadable: float, file: str | Path | None) -> None:
        self.clips, self.max_unreadable = clips, max_unreadable
        self.file = None if file is None else Path(file)
        self._failed: dict[int, UnreadableClip] = {}
        self._short: dict[int, TooShort] = {}

    def __len__(self) -> int:
        """Number of unreadable clips that this process met."""
        return len(self._failed)

    def __contains__(self, index: int) -> bool:
        return index in self._failed or index in self._short

    def add(self, index: int, error: UnreadableClip) -> None:
        """Count one clip. Raises TooManyUnreadable, with the last reason, once there are more than the bound allows."""
        if index in self:
            return
        if isinstance(error, TooShort):
            self._short[index] = error
            _append(self._short_file, error)
            return
        self._failed[index] = error
        _append(self.file, error)
        if len(self._failed) > self.max_unreadable * self.clips:
            listed = f"; all of them: {self.file}" if self.file is not None else ""
            raise TooManyUnreadable(
                f"{len(self._failed)} of {counted(self.clips, 'clip')} can't be used, data.max_unreadable allows "
                f"{self.max_unreadable:.2%}. The last one: {error}{listed}. Repair or remove them, or raise "
                "data.max_unreadable"
            )

    @property
    def last(self) -> UnreadableClip | None:
        """The last clip that this process found too short, or if there is none, the last unreadable one."""
        return next(reversed((self._failed | self._short).values()), None)

    def unreadable(self) -> int:
        """Number of unreadable clips; with a file, those of all processes and of the run before a resume as well."""
        return len(self._failed) if self.file is None else len(read_unreadable(self.file))

    def too_short(self) -> int:
        """Number of clips that are too short for a window, counted as `unreadable` does."""
        return len(self._short) if self._short_file is None else len(read_unreadable(self._short_file))

    def summary(self) -> str:
        """Both counts in one line, for the end of a run."""
        failed, short = self.unreadable(), self.too_short()
        share = failed / max(1, self.clips)
        text = f"{failed} of {counted(self.clips, 'clip')} unreadable ({share:.2%}, limit {self.max_unreadable:.2%})"
        text += f": {self.file}" if failed and self.file is not None else ""
        text += f"; {short} too short for a window" if short else ""
        return text + (f": {self._short_file}" if short and self.file is not None else "")

    @property
    def _short_file(self) -> Path | None:
        return None if self.file is None else self.file.with_name(self.file.name.replace("unreadable", "too_short"))


def read_unreadable(file: str | Path) -> list[tuple[str, str]]:
    """(path, reason) of every clip in a file of UnreadableLog, without repetitions; empty if there is no such file.

    What can't be read in a damaged file is left out.
    """
    if not Path(file).is_file():
        return []
    rows = []
    with open(file, newline="", encoding="utf-8", errors="replace") as opened, suppress(csv.Error):
        for row in csv.reader(opened):
            rows.append(tuple(map(text_of, row)))
    return [row for row in dict.fromkeys(rows) if len(row) == 2 and row != HEADER]


def _append(file: Path | None, error: UnreadableClip) -> None:
    if file is None:
        return
    rows = [] if file.exists() else [HEADER]
    for row in [*rows, (cell(error.path), cell(error.reason))]:
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(row)
        append_line(file, text.getvalue())
