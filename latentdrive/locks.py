"""One writer at a time in a folder: locks that the system lets go when their process ends, however it ends."""

import errno
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from latentdrive.errors import InUse
from latentdrive.writing import writing

LOCK = ".lock"  # the file in a folder that its writer holds; it stays, except in a folder that holds nothing else
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)  # some network drives have none
GRACE_S, STEP_S = 15.0, 0.1  # how long children of a killed writer may still hold its lock; time between two looks


@contextmanager
def one_writer(folder: str | Path, *, waiting: Callable[[str], Any] | None = None) -> Iterator[None]:
    """Hold the folder for writing as long as the block runs. The folder is made where it is missing, with
    those above it, and all that were made are removed again if the block has left them empty.

    Where somebody else writes there: `waiting`, if it is given, gets a sentence, and this process waits;
    without it, InUse names the other process. A process that holds the folder and asks again counts as
    another one. On a file system without locks nobody is refused. Raises NotWritable where the folder
    can't be written.
    """
    folder = Path(folder)
    with writing(folder):
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        file = _held(folder, waiting)
    try:
        with suppress(OSError):  # a full disk: the lock holds without its note
            _sign(file)
        yield
    finally:
        if made:
            _remove_if_empty(made)
        _let_go(file)


@contextmanager
def turn(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Wait until no other process is in such a block for this folder, and leave no file behind.

    For moments only. shared: bears others that are shared as well. Nobody waits for a folder that may not
    be listed.
    """
    try:
        file = os.open(folder, os.O_RDONLY)
    except PermissionError:
        yield
        return
    try:
        _lock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        _let_go(file)


def _held(folder: Path, waiting: Callable[[str], Any] | None) -> int:
    """The open lock file of the folder, locked."""
    started, told = time.monotonic(), False
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)  # it is written over
        except FileNotFoundError:  # the writer before has just removed the empty folder
            continue
        if _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
            if _still_there(file, folder / LOCK):
                return file
            _let_go(file)
            continue
        note = _note(file)
        os.close(file)
        if waiting is None and not (_has_ended(note) and time.monotonic() - started < GRACE_S):
            raise InUse(
                f"{folder} is being written by {_in_words(note)}: wait until it has ended, or name another folder"
            )
        if waiting is not None and not told:
            waiting(f"{folder} is being written by {_in_words(note)}: waiting until it has ended")
            told = True
        time.sleep(STEP_S)


def _lock(file: int, kind: int) -> bool:
    """Whether the lock was got. True on a file system without locks."""
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True


def _let_go(file: int) -> None:
    with suppress(OSError):  # without it, processes that were forked meanwhile would hold the lock on
        fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)


def _still_there(file: int, path: Path) -> bool:
    """Whether the open file is the one in the folder, and not one that was removed before it was locked."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file), path.stat())
    return False


def _remove_if_empty(folders: Sequence[Path]) -> None:
    """Remove a folder that holds nothing but its lock, and then those above it. folders: from below."""
    with suppress(OSError):  # something lies in one of them
        if os.listdir(folders[0]) == [LOCK]:
            (folders[0] / LOCK).unlink()
            for folder in folders:
                folder.rmdir()


def _sign(file: int) -> None:
    note = {"process": os.getpid(), "machine": socket.gethostname(), "command": " ".join(sys.argv[1:])[:200]}
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(note).encode(), 0)


def _note(file: int) -> dict[str, Any]:
    """What the writer has signed with; empty where it can't be read."""
    with suppress(OSError, ValueError, RecursionError):
        note = json.loads(os.pread(file, 4096, 0))
        if isinstance(note, dict) and isinstance(note.get("process"), int):
            return note
    return {}


def _in_words(note: dict[str, Any]) -> str:
    if not note:
        return "another process"
    return f"another process ({note['process']} on {note.get('machine')}, `{note.get('command')}`)"


def _has_ended(note: dict[str, Any]) -> bool:
    """Whether the process that signed was one of this machine and is gone; its children may hold the lock on."""
    if not note or note.get("machine") != socket.gethostname():
        return False
    try:
        os.kill(note["process"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False
