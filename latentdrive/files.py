"""Files on disk: atomic writes, which lose nothing if the disk is full, and archives of arrays (.npz)."""

import errno
import glob
import os
import shutil
import struct
import tempfile
import time
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

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
        give_usual_permissions(self.new)
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


def give_usual_permissions(path: Path) -> None:
    """Give a file, or a folder with all in it, the permissions of any new file of this user.

    Temporary folders and safetensors' files can be read by their owner alone, and colleagues are to read
    what is finished.
    """
    mask = _umask()
    for entry in (path, *path.rglob("*")) if path.is_dir() else (path,):
        if entry.is_symlink():
            continue
        with suppress(OSError):  # some network drives have no permissions
            os.chmod(entry, (0o777 if entry.is_dir() else 0o666) & ~mask)


def _umask() -> int:
    """The process's umask. Where the system does not say it, it is asked for by setting it, twice."""
    with suppress(OSError, StopIteration), open("/proc/self/status", encoding="ascii") as status:
        return int(next(line for line in status if line.startswith("Umask:")).split()[1], 8)
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


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
        give_usual_permissions(new)
        os.replace(new, path)
    except OSError as error:
        new.unlink(missing_ok=True)
        if error.errno in NO_SPACE:
            raise DiskFull(f"the disk is full while writing {path}: free space and repeat the same command") from error
        raise


# Errors that numpy and zipfile raise for a damaged array or archive. OSError: a seek before the start of the
# file. TokenError: an array's header that numpy takes for one of Python 2.
DAMAGE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    EOFError,
    OSError,
    RuntimeError,
    MemoryError,
    tokenize.TokenError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
# A compressed file may hold this many times its bytes, and some more. Deflate reaches 1,000 times, our
# own arrays some 30 times.
INFLATED, SPARE_BYTES = 200, 64_000_000


def most_inflated(compressed: int) -> int:
    """How many bytes this many compressed ones may stand for."""
    return INFLATED * compressed + SPARE_BYTES


def inflate(content: bytes) -> bytes:
    """What zlib compressed. Raises ValueError if it is cut short, or far larger than anything that we write."""
    inflater = zlib.decompressobj()
    most = most_inflated(len(content))
    inflated = inflater.decompress(content, most)
    if inflater.unconsumed_tail:
        raise ValueError(f"{len(content):,} compressed bytes stand for more than {most:,}")
    if not inflater.eof:
        raise ValueError("compressed data are cut short")
    return inflated


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Every array of an archive by its name; nothing is unpickled.

    Raises OSError if the file can't be opened, ValueError if it is no archive, cut short, altered, or
    far larger than its compressed bytes.
    """
    with open(path, "rb") as file:
        try:
            _check_size(file)
            with np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except DAMAGE as error:
            raise ValueError(f"no intact archive of arrays: {error or type(error).__name__}") from error
    if strange := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
        raise ValueError(f"no intact archive of arrays: {strange[0]} is none")
    return arrays


def read_array(path: str | Path, *, mmap_mode: str | None = None) -> np.ndarray:
    """The array of a file (.npy). mmap_mode: as for numpy.load.

    Raises OSError if the file can't be opened, ValueError if it is no such array, cut short or altered.
    """
    with open(path, "rb") as file:  # np.load hands a closed file's error over as damage
        magic = file.read(len(np.lib.format.MAGIC_PREFIX))
    if magic != np.lib.format.MAGIC_PREFIX:
        raise ValueError("no array in npy form")
    try:
        return np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except DAMAGE as error:
        raise ValueError(f"no intact array: {error or type(error).__name__}") from error


def _check_size(file: BinaryIO) -> None:
    """Raises ValueError if an archive names more bytes than it can hold. Its end is read, and no content."""
    with zipfile.ZipFile(file) as archive:
        held = sum(entry.file_size for entry in archive.infolist())
    most = most_inflated(os.fstat(file.fileno()).st_size)
    if held > most:
        raise ValueError(f"its arrays need {held:,} bytes, and a file of its size holds at most {most:,}")
    file.seek(0)
