"""Files on disk: atomic writes, which lose nothing if the disk is full, and archives of arrays (.npz)."""

import glob
import os
import secrets
import shutil
import struct
import tempfile
import time
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from latentdrive.locks import turn
from latentdrive.writing import writing

DRAFT = ".new"  # suffix of a file or folder that is being written
ABANDONED_S = 3600  # age at which a draft counts as left behind by a killed process


class atomic_folder:
    """A folder that appears whole or not at all. `with atomic_folder(path) as draft:` fill `draft`,
    which is renamed at the end.

    Raises DiskFull or NotWritable if it can't be filled; an older folder of that name then stays. If
    several processes write the same folder, the last one counts. Drafts that killed processes left behind
    are removed. `reading` gives readers a folder that no writer exchanges meanwhile.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __enter__(self) -> Path:
        with writing(self.folder):
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with turn(self.folder.parent):
                _put_back(self.folder)
            remove_abandoned(self.folder)
            self.new = _draft_folder(self.folder)
        return self.new

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            try:
                with writing(self.folder):
                    give_usual_permissions(self.new)
                    _exchange(self.new, self.folder)
            finally:
                shutil.rmtree(self.new, ignore_errors=True)  # what stood there before, or the draft that was refused
            return
        shutil.rmtree(self.new, ignore_errors=True)
        with writing(self.folder):
            raise error


def _exchange(new: Path, folder: Path) -> None:
    """Put the folder `new` in the place of `folder`, and the other way round if there is one.

    No portable call does that at once. A process that is killed between the two renames leaves the folder
    under its name of `_aside`, where `reading` and the next writer find it.
    """
    aside = _aside(folder)
    with turn(folder.parent):
        _put_back(folder)
        shutil.rmtree(aside, ignore_errors=True)
        if folder.exists():
            os.replace(folder, aside)
        try:
            os.replace(new, folder)
        finally:
            if aside.exists():
                os.replace(aside, new if folder.exists() else folder)


def _put_back(folder: Path) -> None:
    """Give a folder its name back if its writer was killed between the two renames. Only within `turn`."""
    if not folder.exists() and _aside(folder).is_dir():
        os.replace(_aside(folder), folder)


@contextmanager
def reading(folder: str | Path) -> Iterator[Path]:
    """The folder as `atomic_folder` left it. No writer exchanges it while the block runs.

    It has another name where its writer was killed at the wrong moment. Nothing is repaired here: that is
    for the next writer.
    """
    folder = Path(folder)
    if not folder.parent.is_dir():
        yield folder
        return
    with turn(folder.parent, shared=True):
        yield _aside(folder) if not folder.exists() and _aside(folder).is_dir() else folder


def _draft_folder(folder: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=DRAFT, dir=folder.parent))


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def remove_abandoned(path: Path) -> None:
    """Remove drafts of this file or folder that killed processes left behind; another process may still be
    writing younger ones.
    """
    for draft in path.parent.glob(f".{glob.escape(path.name)}.????????{DRAFT}"):
        with suppress(OSError):  # another process renamed or removed it
            if time.time() - draft.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(draft, ignore_errors=True) if draft.is_dir() else draft.unlink()


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


def write_atomic(path: str | Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then rename it. Whatever goes wrong, the old file
    stays and no other is left. Raises DiskFull or NotWritable for what the system refuses.
    """
    path = Path(path)
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}{DRAFT}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(new)
            give_usual_permissions(new)
            os.replace(new, path)
        except BaseException:
            with suppress(OSError):
                new.unlink(missing_ok=True)
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
