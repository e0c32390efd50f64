"""One writer at a time in a folder: a lock that the system lets go when its process ends, however it ends."""

import errno
import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from latentdrive.errors import InUse

LOCK = ".lock"  # the file in a folder that its writer holds; it stays, because removing it would let two writers in
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)  # some network drives have none


@contextmanager
def one_writer(folder: str | Path) -> Iterator[None]:
    """Hold the folder for writing as long as the block runs. The folder is made where it is missing.

    Raises InUse, which names the other process, where somebody else writes there. A process that holds
    the folder and asks again is refused too. On a file system without locks nobody is refused.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(
                f"{folder} is being written by {_writer(file)}: wait until it has ended, or name another folder"
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        with suppress(OSError):  # a full disk: the lock holds without its note
            _sign(file)
        yield
    finally:
        os.close(file)


def _sign(file: int) -> None:
    note = {"process": os.getpid(), "machine": socket.gethostname(), "command": " ".join(sys.argv[1:])[:200]}
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(note).encode(), 0)


def _writer(file: int) -> str:
    """The process that holds the lock, in words, as far as its note can be read."""
    try:
        note = json.loads(os.pread(file, 4096, 0))
        return f"another process ({int(note['process'])} on {note['machine']}, `{note['command']}`)"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"
