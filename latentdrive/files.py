"""Files on disk: atomic writes, which lose nothing if the disk is full, and archives of arrays (.npz)."""

import errno
import glob
import os
import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from latentdrive.errors import DiskFull

DRAFT = ".new"  # suffix of a file or folder that is being written
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
ABANDONED_S = 3600  # age at which a draft counts as left behind by a killed process


class atomic_folder:
    """A folder that appears whole or not at all. `with atomic_folder(path) as draft:` fill `draft`,
    which is renamed at the end.

    Raises DiskFull if it can't be filled; an older folder of that name then stays. If several
    processes write the same folder at once, one result is kept. Drafts that killed processes left
    behind are removed.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __enter__(self) -> Path:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        restore_folder(self.folder)
        _remove_abandoned(self.folder)
        self.new = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}.", suffix=DRAFT, dir=self.folder.parent))
        return self.new

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if kind is not None:
            shutil.rmtree(self.new, ignore_errors=True)
            if (isinstance(error, OSError) and error.errno in NO_SPACE) or "No space left" in str(error):
                raise DiskFull(
                    f"the disk is full while writing {self.folder}; what was there before is intact"
                ) from error
            return
        os.chmod(self.new, 0o755)
        old = _aside(self.folder)
        shutil.rmtree(old, ignore_errors=True)
        if self.folder.exists():
            os.replace(self.folder, old)  # no portable call swaps two folders; `restore_folder` undoes this
        try:
            os.replace(self.new, self.folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(self.new, ignore_errors=True)  # another process has just written the folder
        shutil.rmtree(old, ignore_errors=True)


def restore_folder(folder: Path) -> None:
    """Give a folder its name back if `atomic_folder` was killed after moving it aside and before
    renaming the new one.
    """
    if not folder.exists() and _aside(folder).is_dir():
        os.replace(_aside(folder), folder)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _remove_abandoned(folder: Path) -> None:
    """Remove drafts of this folder that killed processes left behind; another process may still be
    writing younger ones.
    """
    for draft in folder.parent.glob(f".{glob.escape(folder.name)}.????????{DRAFT}"):
        with suppress(FileNotFoundError):  # another process renamed or removed it
            if time.time() - draft.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(draft, ignore_errors=True)


def write_atomic(path: str | Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it. Raises DiskFull, and leaves
    the old file as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        write(new)
        os.replace(new, path)
    except OSError as error:
        new.unlink(missing_ok=True)
        if error.errno in NO_SPACE:
            raise DiskFull(f"the disk is full while writing {path}: free space and repeat the same command") from error
        raise


# Errors that numpy and zipfile raise for a damaged archive. OSError: a seek before the start of the
# file.
DAMAGE = (ValueError, KeyError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Every array of an archive by its name; nothing is unpickled.

    Raises OSError if the file can't be opened, ValueError if it is no archive, cut short or
    altered.
    """
    with open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except DAMAGE as error:
            raise ValueError(f"no intact archive of arrays: {error or type(error).__name__}") from error
