"""What is in a file or a folder of pictures, wherever it lies: labels are compared with data by this.

A latent store notes the content of every clip's files. The digest covers the bytes, so a data set that
was moved, copied or extended is still the same. The stamp covers path, size and times: where it is
unchanged, the bytes are not read again.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentdrive.types import FROZEN

DIGITS = 32  # hexadecimal digits of a digest: 128 bits, so that no two files have the same one


@dataclass(**FROZEN)
class FileContent:
    """The content of one file or folder. name: without the folders above it. stamp, digest: empty
    where there was no such file.
    """

    name: str
    stamp: str
    digest: str

    def is_in(self, path: Path) -> bool:
        """Whether a file or folder still has this content. Reads it only where its stamp differs. Raises OSError."""
        if not path.exists():
            return not self.digest
        return self.stamp == _stamp(path) or self.digest == _digest(path)

    def plain(self) -> list[str]:
        """Name, stamp and digest, for JSON."""
        return [self.name, self.stamp, self.digest]


def contents_of(files: Iterable[Path]) -> list[FileContent]:
    """The content of every file, by reading it. Raises OSError."""
    return [
        FileContent(name=file.name, stamp=_stamp(file), digest=_digest(file))
        if file.exists()
        else FileContent(name=file.name, stamp="", digest="")
        for file in files
    ]


def from_plain(rows: Any) -> list[FileContent]:
    """The contents from lists of JSON. Raises ValueError for anything else."""
    if not isinstance(rows, list) or any(
        not isinstance(row, list) or len(row) != 3 or any(not isinstance(value, str) for value in row) for row in rows
    ):
        raise ValueError("contents of files are lists of name, stamp and digest")
    return [FileContent(name=name, stamp=stamp, digest=digest) for name, stamp, digest in rows]


def changed_files(noted: Sequence[FileContent], files: Sequence[Path]) -> list[str]:
    """Names of the files whose content is another one than was noted. Raises OSError.

    The first file of both must have the same name. The others are compared by name, where both name
    them: other versions and other readers may look at other files.
    """
    paths = {file.name: file for file in files}
    renamed = [content.name for content in noted[:1] if content.name not in paths]
    there = [content for content in noted if content.name in paths]
    return renamed + [content.name for content in there if not content.is_in(paths[content.name])]


def differ(first: Sequence[FileContent], second: Sequence[FileContent]) -> bool:
    """Whether two notes of a clip's files tell of different contents of one file."""
    digests = {content.name: content.digest for content in first}
    return any(digests.get(content.name, content.digest) != content.digest for content in second)


def _stamp(path: Path) -> str:
    """16 hexadecimal digits over path, size and times; of a folder, over those of its files."""
    entries = sorted(_files_in(path)) if path.is_dir() else [path]
    facts = [os.path.realpath(path)]
    for entry in entries:
        stat = entry.stat()
        facts.append([entry.name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns])
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _digest(path: Path) -> str:
    if not path.is_dir():
        return _digest_of_file(path)
    whole = hashlib.sha256()
    for file in sorted(_files_in(path)):
        whole.update(os.fsencode(file.name) + b"\0" + _digest_of_file(file).encode())
    return whole.hexdigest()[:DIGITS]


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]


def _files_in(folder: Path) -> list[Path]:
    """The files of a folder, without hidden ones: programs that show pictures leave such files behind."""
    with os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if not entry.name.startswith(".") and entry.is_file()]
