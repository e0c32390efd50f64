"""What the system refuses, as one sentence with the place and what to do; above all while something is written."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentdrive.errors import DiskFull, LatentDriveError, NotWritable, out_of_files, raise_if_out_of_files

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
IN_TEXT = re.compile(r"\(os error (\d+)\)")  # as Rust libraries, such as safetensors, report an error of the system
REMEDIES = {
    errno.EACCES: "change its permissions, or name another folder",
    errno.EPERM: "change its permissions, or name another folder",
    errno.EROFS: "name a folder on another disk",
    errno.ENOTDIR: "a file stands where a folder is needed: move it, or name another folder",
    errno.EEXIST: "a file stands where a folder is needed: move it, or name another folder",
    errno.EISDIR: "a folder stands where a file is needed: move it, or name another folder",
    errno.ENOENT: "name one that exists",
    errno.ELOOP: "links lead in a circle, or a link stands where a file is needed: correct them, or name another place",
    errno.ENAMETOOLONG: "name a folder with a shorter path",
    errno.EFBIG: "raise the limit on the size of files (`ulimit -f`), or name a folder on another disk",
}


@contextmanager
def writing(place: str | Path) -> Iterator[None]:
    """Raise DiskFull or NotWritable, which name `place`, for whatever the system refuses within the block."""
    try:
        yield
    except LatentDriveError:
        raise
    except Exception as error:
        refusal = refusal_behind(error)
        if refusal is None:
            raise
        raise_if_out_of_files(refusal)
        raise not_written(place, refusal) from error


def not_written(place: str | Path, refusal: OSError) -> NotWritable:
    """The error for a `place` whose writing the system refused."""
    if refusal.errno in NO_SPACE:
        return DiskFull(
            f"the disk is full while writing {place}; what was there before is intact: free space and repeat the same "
            "command"
        )
    return NotWritable(_sentence(place, "written", refusal))


def told(refusal: OSError) -> str | None:
    """What to say about a refusal outside of `writing`; None where it names no file and is not the disk's."""
    if (named := out_of_files(refusal)) is not None:
        return str(named)
    if refusal.errno in NO_SPACE:
        return str(not_written("a file" if refusal.filename is None else os.fsdecode(refusal.filename), refusal))
    return None if refusal.filename is None else _sentence(os.fsdecode(refusal.filename), "opened", refusal)


def _sentence(place: str | Path, done: str, refusal: OSError) -> str:
    reason = refusal.strerror or str(refusal) or type(refusal).__name__
    if refusal.filename is not None and os.fsdecode(refusal.filename) != str(place):
        reason += f": {os.fsdecode(refusal.filename)}"
    remedy = REMEDIES.get(refusal.errno, "check the disk, or name another folder")
    return f"{place} can't be {done} ({reason}): {remedy}, and repeat the command"


def refusal_behind(error: BaseException) -> OSError | None:
    """The system's own error behind this one, or None.

    safetensors names it in its text alone. torch.save raises a RuntimeError while it handles it, and Lightning's
    logger a ValueError from it.
    """
    if (named := IN_TEXT.search(str(error))) is not None:
        return OSError(int(named[1]), os.strerror(int(named[1])))
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or (error.__context__ if isinstance(error, RuntimeError) else None)
    return error


def _no_link(file: str, flags: int) -> int:
    """Open a file that may have come with somebody's folder: a link would lead to any file of this user."""
    return os.open(file, flags | os.O_NOFOLLOW, 0o666)


def append_line(file: str | Path, line: str) -> None:
    """Append a line to a text file, which is made where it is missing. Raises DiskFull or NotWritable.

    Several processes may append at once. A line that an earlier writer could not finish stays a line of
    its own, and costs no other line.
    """
    file = Path(file)
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "a+b", buffering=0, opener=_no_link) as opened:
            end = opened.seek(0, os.SEEK_END)
            torn = end > 0 and os.pread(opened.fileno(), 1, end - 1) != b"\n"
            content = ("\n" if torn else "").encode() + line.encode("utf-8", "backslashreplace") + b"\n"
            while content:
                content = content[opened.write(content) :]
