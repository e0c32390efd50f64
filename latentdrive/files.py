"""Atomic writes: a file or folder appears whole or not at all, and a full disk loses nothing that was there before."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from latentdrive.errors import DiskFull


class atomic_folder:
    """A folder that appears whole or not at all: `with atomic_folder(path) as new:` fill `new`, then it takes the name."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __enter__(self) -> Path:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.new = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}.", dir=self.folder.parent))
        return self.new

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if kind is not None:
            shutil.rmtree(self.new, ignore_errors=True)
            if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "No space left" in str(error):
                raise DiskFull(
                    f"the disk is full while writing {self.folder}; what was there before is intact"
                ) from error
            return
        os.chmod(self.new, 0o755)
        old = self.folder.with_name(f".{self.folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if self.folder.exists():
            os.replace(self.folder, old)
        os.replace(self.new, self.folder)
        shutil.rmtree(old, ignore_errors=True)


def write_atomic(path: str | Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it; DiskFull leaves the old file as it was."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        write(new)
        os.replace(new, path)
    except OSError as error:
        new.unlink(missing_ok=True)
        if error.errno == errno.ENOSPC:
            raise DiskFull(f"the disk is full while writing {path}; free space and repeat the same command") from error
        raise
